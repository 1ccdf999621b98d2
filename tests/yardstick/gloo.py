"""Median and best time of a Gloo all-reduce on loopback: `gloo.py [PROCESSES[,PROCESSES...]] [BYTES:REPEATS ...]`.

Prints rows of the same table as the `allreduce_bench` example of ulda-collective.
"""

import os
import statistics
import sys
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def work(rank, world, sizes, port):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group("gloo", rank=rank, world_size=world)
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
    for number, world in enumerate(map(int, worlds.split(","))):
        mp.spawn(work, args=(world, sizes, 29600 + number), nprocs=world)
