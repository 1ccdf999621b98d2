"""What recovery.py starts under torchrun: a step of ddp.py, over and over, with a snapshot now and then.

Each process says a line of JSON per step: its process id, rank, the step, and the time. After a restart the processes go on
from the newest snapshot, as in torch's own example of elastic training. Of the optimiser nothing is kept, which favours it.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

from ddp import prepare


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=Path)
    parser.add_argument("snapshot", type=Path)
    parser.add_argument("--every", type=int, required=True, help="steps between snapshots")
    parser.add_argument("--batch", type=int, required=True)
    options = parser.parse_args()
    options.step, options.device = "pretrain", "cpu"
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.manual_seed(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    step, module = prepare(options, "cpu", rank, dist.get_world_size())
    number = 0
    if options.snapshot.exists():
        kept = torch.load(options.snapshot, weights_only=True)
        module.load_state_dict(kept["module"])
        number = kept["step"]
    while True:
        step()
        number += 1
        print(json.dumps({"process": os.getpid(), "rank": rank, "step": number, "at": time.time()}), flush=True)
        if rank == 0 and number % options.every == 0:
            beside = options.snapshot.with_suffix(".writing")
            torch.save({"step": number, "module": module.state_dict()}, beside)
            beside.rename(options.snapshot)


if __name__ == "__main__":
    main()
