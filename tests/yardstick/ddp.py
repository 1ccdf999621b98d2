"""Steps of stages 0 and 2 under DistributedDataParallel: `ddp.py CASE STEP [--processes 1,2] [options]`.

CASE is a folder from `bench prepare`, STEP is pretrain or adapt. The case's images, repeated to --batch, are cut over
the processes, each with --threads kernel threads and Gloo, or a GPU of its own and NCCL (--device cuda). One process
goes without DDP. The numbers of processes take turns; prints the median seconds of a step, images/s and the share of
perfect scaling. A process ends with an error where its parameters differ from another's after the last step.

On GPUs BatchNorm is torch's SyncBatchNorm. Torch has none for a CPU: there each process normalises its own images,
which favours it over our trainer, whose layers exchange their statistics. Where that is one image, torch refuses
the batch statistics of the image-pooling branch, and this branch uses its running ones.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import network
import steps


def share(case, options, rank, world):
    """The case with one process's part of the batch."""
    images = torch.arange(options.batch) % len(case["images"])
    mine = images.tensor_split(world)[rank]
    cut = {name: case[name][mine] for name in ("images", "labels", "drawn.mean", "drawn.std", "drawn.domains")}
    return case | cut


def prepare(options, device, rank, world):
    """The step as a function, and the module it trains."""
    case = share(load_file(options.case / "case.safetensors", device=device), options, rank, world)
    _, backbone, _ = network.load(options.case / "clip.safetensors")
    head = network.load_head(options.case / "head.safetensors").train()
    if len(case["images"]) == 1 and options.device == "cpu":
        head.aspp.convs[-1].eval()

    def parallel(module):
        if world == 1:
            return module
        if options.device == "cpu":
            return DistributedDataParallel(module)
        return DistributedDataParallel(nn.SyncBatchNorm.convert_sync_batchnorm(module), device_ids=[rank])

    part = {"pretrain": steps.Pretraining, "adapt": steps.Adaptation}[options.step]
    part = part(case, backbone, head, parallel)
    return part.step, part.network


def insist_on_equal(module):
    mine = torch.stack([parameter.detach().double().sum() for parameter in module.parameters()])
    first = mine.clone()
    dist.broadcast(first, 0)
    if not torch.equal(mine, first):
        raise RuntimeError("processes hold different parameters after the last step")


def work(rank, world, options, rendezvous, results):
    torch.set_num_threads(options.threads)
    torch.manual_seed(1 + rank)
    torch.backends.cudnn.allow_tf32 = options.precision != "fp32"
    device = options.device
    if options.device == "cuda":
        torch.cuda.set_device(rank)
        device = f"cuda:{rank}"
    if world > 1:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        backend = {"cpu": "gloo", "cuda": "nccl"}[options.device]
        dist.init_process_group(backend, init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    with torch.device(device):
        step, module = prepare(options, device, rank, world)
    seconds = []
    for _ in range(options.warm_up + options.repeats):
        if world > 1:
            dist.barrier()
        started = time.perf_counter()
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            step()
        if options.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    slowest = torch.tensor(seconds[options.warm_up :], dtype=torch.float64, device=device)
    if world > 1:
        dist.all_reduce(slowest, dist.ReduceOp.MAX)
        insist_on_equal(module)
        dist.destroy_process_group()
    if rank == 0:
        results.put(slowest.tolist())


def measure(options, world):
    """Seconds of each repeat, of the slowest process."""
    results = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(world, options, f"{folder}/rendezvous", results), nprocs=world)
    return results.get()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=Path)
    parser.add_argument("step", choices=["pretrain", "adapt"])
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--batch", type=int, default=2, help="images of all processes together")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="bf16 is autocast")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    worlds = [int(number) for number in options.processes.split(",")]
    for world in worlds:
        if options.batch % world:
            parser.error(f"a batch of {options.batch} does not divide over {world} processes")
        if options.device == "cuda" and torch.cuda.device_count() < world:
            parser.error(f"{world} processes need as many GPUs, torch sees {torch.cuda.device_count()}")

    seconds = {world: [] for world in worlds}
    for _ in range(options.rounds):
        for world in worlds:
            seconds[world] += measure(options, world)
    if options.json:
        print(json.dumps({"step": options.step, "batch": options.batch, "seconds": seconds}))
        return
    print("| step | processes | images | step s (range) | images/s | of perfect scaling |\n|--|--|--|--|--|--|")
    first = statistics.median(seconds[worlds[0]]) * worlds[0]
    for world, all_seconds in seconds.items():
        step = statistics.median(all_seconds)
        spread = f"{step:.3f} ({min(all_seconds):.3f} to {max(all_seconds):.3f})"
        rate = options.batch / step
        print(f"| {options.step} | {world} | {options.batch} | {spread} | {rate:.3f} | {first / (world * step):.0%} |")


if __name__ == "__main__":
    main()
