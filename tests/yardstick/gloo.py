"""Median and best time of a Gloo all-reduce on loopback: `gloo.py [PROCESSES[,PROCESSES...]] [BYTES:REPEATS ...]`.

Prints rows of the same table as the `allreduce_bench` example of ulda-collective.
"""

import os
import statistics
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def work(rank, world, sizes, rendezvous):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    for size, repeats in sizes:
        tensor = torch.zeros(size // 4)
        seconds = []
        for _ in range(repeats + 2):
            dist.barrier()
            started = time.perf_counter()
            dist.all_reduce(tensor)
            seconds.append(time.perf_counter() - started)
        if rank == 0:
            timed = seconds[2:]
            print(f"| {world} | gloo | {size} | {statistics.median(timed) * 1e3:.3f} ms | {min(timed) * 1e3:.3f} ms |", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    worlds = sys.argv[1] if len(sys.argv) > 1 else "2,4,8"
    sizes = [tuple(map(int, text.split(":"))) for text in sys.argv[2:]] or [(1 << 10, 400), (1 << 20, 60), (64 << 20, 9)]
    for world in map(int, worlds.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(work, args=(world, sizes, f"{folder}/rendezvous"), nprocs=world)
