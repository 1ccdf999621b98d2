"""Our steps against the yardstick's, in turn, on the same weights and inputs: `compare.py BENCH CASE [options]`.

BENCH is the `bench` binary, CASE a folder from `bench prepare`. Each run is a process of its own. First both sides'
losses are compared (dropout off, relative 1e-4), then they take turns: ours, theirs, ours, theirs ... Prints medians
and ratios of wall time, of CPU time (which other programs on the machine disturb less) and of peak memory, the
process's on a CPU and the tensors' on a GPU; then our phases, and the share of the device's peak that each side
reaches. The peak is that of matrix products in the same precision, measured before each step; FLOPs are counted by
torch in the yardstick's step, so that a side that saves some gets a larger share. `data` is the reading of a batch,
which our trainer does ahead and which is in no step's time. A step that fails is told, and the next one goes on.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

# Of a loss, relative.
LARGEST_DIFFERENCE = {"fp32": 1e-4, "tf32": 2e-2, "bf16": 2e-2}
PHASES = ["data", "forward", "backward", "reduce", "optimise"]


class Failed(Exception):
    """A step that could not be compared."""


def output(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["said nothing"])[-1]
        raise Failed(f"`{' '.join(command)}` ended with {done.returncode}: {last}")
    return json.loads(done.stdout)


class Sides:
    """Both programs, on one case."""

    def __init__(self, options):
        self.options = options
        self.setting = ["--threads", options.threads, "--device", options.device, "--precision", options.precision]

    def ours(self, step, *more):
        return output([self.options.bench, "step", self.options.case, step, *self.setting, *more])

    def theirs(self, step, *more):
        program = str(Path(__file__).parent / "time_step.py")
        return output([sys.executable, program, self.options.case, step, *self.setting, *more])

    def compare(self, step):
        """Runs of each side by name, FLOPs of the step, FLOP/s of the device, and how far the losses are apart."""
        options = self.options
        peak = output([options.bench, "peak", *self.setting])
        once = ["--repeats", "1", "--warm-up", "0"]
        mine, other = self.ours(step, "--agree", *once), self.theirs(step, "--agree", *once)
        losses = dict(mine["losses"])
        apart = max(abs(losses[name] - value) / max(abs(value), 1e-12) for name, value in other["losses"].items())
        if apart > LARGEST_DIFFERENCE[options.precision]:
            raise Failed(f"losses differ by {apart:.1e}: {losses} and {other['losses']}")
        timing = ["--repeats", options.repeats, "--warm-up", options.warm_up]
        runs = {"ours": [], "plain PyTorch": []}
        for _ in range(options.rounds):
            runs["ours"].append(self.ours(step, *timing))
            runs["plain PyTorch"].append(self.theirs(step, *timing))
        if step == "simulate" and options.published:
            runs["as published"] = [self.theirs(step, "--published", *once)]
        return {"runs": runs, "images": other["images"], "flop": other["flop"], "peak": peak, "apart": apart}


def medians(runs):
    """Seconds, CPU seconds and GiB."""
    seconds = statistics.median(s for run in runs for s in run["seconds"])
    cpu = statistics.median(s for run in runs for s in run["cpu_seconds"])
    peak = statistics.median(run.get("peak_device_bytes") or run["peak_rss_bytes"] for run in runs)
    return seconds, cpu, peak / 2**30


def print_sides(step, found):
    mine = medians(found["runs"]["ours"])
    for side, runs in found["runs"].items():
        wall, cpu, memory = medians(runs)
        every = [s for run in runs for s in run["seconds"]]
        spread = f"{wall:.3f} ({min(every):.3f} to {max(every):.3f})"
        rate = found["images"] / wall
        print(f"| {step} | {side} | {spread} | {rate:.3f} | {cpu:.2f} | {memory:.2f} | {found['apart']:.0e} |")
        if side != "ours":
            wall, cpu, memory = (other / own for other, own in zip((wall, cpu, memory), mine))
            print(f"| {step} | {side} / ours | {wall:.2f}x | {1 / wall:.2f}x | {cpu:.2f}x | {memory:.2f}x | |", flush=True)


def print_shares(compared):
    print(f"\n| step | our {' | '.join(PHASES)} | GFLOP | peak GFLOP/s | ours, share of peak | plain PyTorch, share of peak |")
    print("|" + "--|" * (len(PHASES) + 5))
    for step, found in compared.items():
        phases = [statistics.median(run["phases"][at] for run in found["runs"]["ours"]) for at in range(len(PHASES))]
        row = [step, *(f"{seconds:.3f}" for seconds in phases), f"{found['flop'] / 1e9:.0f}", f"{found['peak'] / 1e9:.0f}"]
        for side in ("ours", "plain PyTorch"):
            row.append(f"{found['flop'] / medians(found['runs'][side])[0] / found['peak']:.0%}")
        print(f"| {' | '.join(row)} |")


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
    parser.add_argument("--json", type=Path, help="file for every run's numbers")
    options = parser.parse_args()
    sides = Sides(options)
    compared, failed = {}, {}
    print("| step | side | step s (range) | images/s | CPU s | peak GiB | largest relative difference of a loss |")
    print("|--|--|--|--|--|--|--|", flush=True)
    for step in options.steps:
        try:
            compared[step] = sides.compare(step)
        except Failed as error:
            failed[step] = str(error)
            print(f"{step}: {error}", file=sys.stderr)
            continue
        print_sides(step, compared[step])
    if compared:
        print_shares(compared)
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "steps": compared, "failed": failed}, default=str))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
