"""Our steps against the yardstick's, in turn, on the same weights and inputs: `compare.py BENCH CASE [options]`.

BENCH is the `bench` binary, CASE a folder from `bench prepare`. Each run is a process of its own. First both sides'
losses are compared (dropout off, relative 1e-4), then they take turns: ours, theirs, ours, theirs ... Prints medians
and ratios of wall time, of CPU time (which other programs on the machine disturb less) and of peak memory, the
process's on a CPU and the tensors' on a GPU.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

# Of a loss, relative.
LARGEST_DIFFERENCE = {"fp32": 1e-4, "tf32": 2e-2, "bf16": 2e-2}


def run(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench")
    parser.add_argument("case")
    parser.add_argument("--steps", nargs="+", default=["simulate", "adapt", "pretrain", "evaluate"])
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", default="1", help="timed steps of each process")
    parser.add_argument("--warm-up", default="1")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="bf16 is autocast there")
    parser.add_argument("--published", action="store_true", help="also stage 1 with text encoding in the loop, once")
    options = parser.parse_args()
    theirs_program = [sys.executable, str(Path(__file__).parent / "time_step.py")]
    timing = ["--threads", options.threads, "--repeats", options.repeats, "--warm-up", options.warm_up]
    timing += ["--device", options.device, "--precision", options.precision]

    def ours(step, *more):
        return run([options.bench, "step", options.case, step, *timing, *more])

    def theirs(step, *more):
        return run([*theirs_program, options.case, step, *timing, *more])

    print("| step | side | step s (range) | CPU s | peak GiB | largest relative difference of a loss |\n|--|--|--|--|--|--|", flush=True)
    for step in options.steps:
        mine, other = ours(step, "--agree"), theirs(step, "--agree")
        losses = dict(mine["losses"])
        apart = max(abs(losses[name] - value) / max(abs(value), 1e-12) for name, value in other["losses"].items())
        if apart > LARGEST_DIFFERENCE[options.precision]:
            sys.exit(f"{step}: losses differ by {apart:.1e}: {losses} and {other['losses']}")
        sides = {"ours": [], "plain PyTorch": []}
        for _ in range(options.rounds):
            sides["ours"].append(ours(step))
            sides["plain PyTorch"].append(theirs(step))
        if step == "simulate" and options.published:
            once = ["--threads", options.threads, "--repeats", "1", "--warm-up", "0", "--published"]
            once += ["--device", options.device, "--precision", options.precision]
            sides["as published"] = [run([*theirs_program, options.case, step, *once])]
        summary = {}
        for side, runs in sides.items():
            seconds = [s for r in runs for s in r["seconds"]]
            cpu = statistics.median(s for r in runs for s in r["cpu_seconds"])
            rss = statistics.median(r.get("peak_device_bytes") or r["peak_rss_bytes"] for r in runs) / 2**30
            summary[side] = statistics.median(seconds), cpu, rss
            print(f"| {step} | {side} | {summary[side][0]:.2f} ({min(seconds):.2f} to {max(seconds):.2f}) | {cpu:.2f} | {rss:.2f} | {apart:.0e} |")
            if side != "ours":
                wall, cpu, rss = (other / mine for other, mine in zip(summary[side], summary["ours"]))
                print(f"| {step} | {side} / ours | {wall:.2f}x | {cpu:.2f}x | {rss:.2f}x | |", flush=True)


if __name__ == "__main__":
    main()
