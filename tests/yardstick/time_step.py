"""One process, one step of the yardstick, timed: `time_step.py CASE STEP [--repeats N] [--threads N] [--published]`.

CASE is a folder that `bench prepare` wrote (clip.safetensors, head.safetensors, case.safetensors), so both sides
work on the same weights and inputs. STEP is simulate, adapt, pretrain or evaluate. Prints one JSON object: seconds
of each repeat, CPU seconds, the first step's losses (dropout off with --agree), peak resident memory in bytes.

--published does what the authors' scripts do in stage 1: the prompts go through the text tower in every iteration,
for every image, domain and class, and the head's parameters collect gradients that nobody uses.
--device cuda computes on the first GPU; --precision tf32 lets its convolutions use TF32, bf16 runs the step under
autocast, which is how PyTorch's users ask for it.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

import network
import steps


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
    parser.add_argument("--agree", action="store_true", help="dropout off")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)

    torch.backends.cudnn.allow_tf32 = options.precision != "fp32"

    case = load_file(options.case / "case.safetensors", device=options.device)
    clip, backbone, text_tower = network.load(options.case / "clip.safetensors")
    head = network.load_head(options.case / "head.safetensors").train().to(options.device)
    clip, backbone, text_tower = clip.to(options.device), backbone.to(options.device), text_tower.to(options.device)
    if not options.published:
        del text_tower
    if options.agree:
        head.aspp.project[3].p = 0.0

    if options.step == "simulate":
        tokens, region = case["tokens"], case["region"]

        def texts(image, domain):
            classes = simulation.classes[image]
            if not options.published:
                return region[domain, classes]
            features = torch.stack([text_tower(tokens[domain, c]).mean(0) for c in classes])
            return torch.nn.functional.normalize(features, dim=1)

        if not options.published:
            head.requires_grad_(False)
        simulation = steps.Simulation(case, clip, backbone, head, texts)
        run = simulation.iterate
    elif options.step == "adapt":
        run = steps.Adaptation(case, backbone, head).step
    elif options.step == "pretrain":
        run = steps.Pretraining(case, backbone, head).step
    else:
        head.eval()

        def run():
            classes = steps.evaluate(case["photo"], backbone, head)
            return {"class_sum": classes.sum().item()}

    first, seconds, cpu_seconds = None, [], []
    for repeat in range(options.warm_up + options.repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            losses = run()
        if options.device == "cuda":
            torch.cuda.synchronize()
        if repeat >= options.warm_up:
            seconds.append(time.perf_counter() - started)
            cpu_seconds.append(time.process_time() - cpu_started)
        first = first or losses
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    device_peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else None
    print(json.dumps({"peak_device_bytes": device_peak, "seconds": seconds, "cpu_seconds": cpu_seconds, "losses": first, "peak_rss_bytes": peak}))


if __name__ == "__main__":
    main()
