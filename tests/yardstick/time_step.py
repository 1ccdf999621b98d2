"""One process, one step of the yardstick, timed: `time_step.py CASE STEP [--repeats N] [--threads N] [--published]`.

CASE is a folder that `bench prepare` wrote (clip.safetensors, head.safetensors, case.safetensors), so both sides
work on the same weights and inputs. STEP is simulate, adapt, pretrain or evaluate. Prints one JSON object: seconds
of each repeat, CPU seconds, the first step's losses, peak resident memory in bytes. With --agree, dropout is off and
the last step's FLOPs are counted as torch counts them, two per multiply-add.

--published does what the authors' scripts do in stage 1: the prompts go through the text tower in every iteration,
for every image, domain and class, and the head's parameters collect gradients that nobody uses.
--device cuda computes on the first GPU; --precision tf32 lets its convolutions use TF32, bf16 runs the step under
autocast, which is how PyTorch's users ask for it.
"""

import argparse
import json
import resource
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file

import network
import steps


def prepare(options):
    """The step as a function that gives its losses, and how many images it takes."""
    case = load_file(options.case / "case.safetensors", device=options.device)
    clip, backbone, text_tower = network.load(options.case / "clip.safetensors")
    head = network.load_head(options.case / "head.safetensors").train()
    if options.agree:
        head.aspp.project[3].p = 0.0
    if options.step == "adapt":
        return steps.Adaptation(case, backbone, head).step, len(case["images"])
    if options.step == "pretrain":
        return steps.Pretraining(case, backbone, head).step, len(case["images"])
    if options.step == "evaluate":
        head.eval()
        return lambda: {"class_sum": steps.evaluate(case["photo"], backbone, head).sum().item()}, 1

    tokens, region = case["tokens"], case["region"]
    if not options.published:
        del text_tower
        head.requires_grad_(False)

    def texts(image, domain):
        classes = simulation.classes[image]
        if not options.published:
            return region[domain, classes]
        features = torch.stack([text_tower(tokens[domain, c]).mean(0) for c in classes])
        return torch.nn.functional.normalize(features, dim=1)

    simulation = steps.Simulation(case, clip, backbone, head, texts)
    return simulation.iterate, len(case["images"])


def flop_counter():
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=Path)
    parser.add_argument("step", choices=["simulate", "adapt", "pretrain", "evaluate"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32")
    parser.add_argument("--agree", action="store_true", help="dropout off, FLOPs counted")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)

    torch.backends.cudnn.allow_tf32 = options.precision != "fp32"

    with torch.device(options.device):
        run, images = prepare(options)
    counter = flop_counter() if options.agree else nullcontext()
    first, seconds, cpu_seconds = None, [], []
    for repeat in range(options.warm_up + options.repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        with counter, torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            losses = run()
        if options.device == "cuda":
            torch.cuda.synchronize()
        if repeat >= options.warm_up:
            seconds.append(time.perf_counter() - started)
            cpu_seconds.append(time.process_time() - cpu_started)
        first = first or losses
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    device_peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else None
    timing = {"seconds": seconds, "cpu_seconds": cpu_seconds, "losses": first, "images": images}
    timing |= {"peak_rss_bytes": peak, "peak_device_bytes": device_peak}
    if options.agree:
        timing["flop"] = counter.get_total_flops()
    print(json.dumps(timing))


if __name__ == "__main__":
    main()
