"""Scaling from one worker to two, each with one kernel thread: `scaling.py BIN_FOLDER [--rounds N] [--width W]`.

Trains the same small run (the same batches, cut into one shard or two) with one worker and with two, in turn, and
prints per stage the medians of its seconds and the share of perfect scaling, t1 / (2 * t2). BIN_FOLDER holds
coordinator, worker and streets. The machine has to have two idle cores; to see what they give at all, two runs of one
worker go side by side as well: t1 alone / t1 beside another is the most that scaling can come to here.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

RUN = """
[run]
name = "scaling"
directory = "runs"
threads_per_shard = 1
[clip]
checkpoint = "clip.safetensors"
[source]
root = "data/cityscapes"
[[domain]]
name = "fog"
prompt = "driving in fog"
[[domain]]
name = "night"
prompt = "driving at night"
[pretrain]
steps = 20
batch = 4
crop = 256
[simulate]
batches = 1
iterations = 6
crop = 256
scene_pool = 56
[adapt]
steps = 16
batch = 4
crop = 256
validate_every = 0
[evaluate]
examples = 0
[[evaluate.set]]
name = "night"
layout = "acdc"
root = "data/acdc"
condition = "night"
[checkpoint]
every = 1000000
"""
# No more styles are needed than one batch makes.
STYLES = ["--set", "simulate.batch=4"]
STAGES = ["pretrain", "simulate", "adapt", "evaluate"]


def command(programs, name, workers):
    shards = ["--set", f"run.shards={workers}", "--set", f"simulate.prompt_groups={workers}"]
    return [programs / "coordinator", "--workers", str(workers), "--set", f"run.name={name}", *shards, *STYLES]


def seconds(folder, name):
    report = json.loads((folder / "runs" / name / "report/report.json").read_text())
    return {stage["stage"]: stage["seconds"] for stage in report["stages"]}


def train(programs, folder, runs):
    """Trains the runs (name, workers) side by side; the seconds of each one's stages."""
    started = [
        subprocess.Popen(command(programs, *run), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for run in runs
    ]
    for process, run in zip(started, runs):
        if process.wait() != 0:
            raise SystemExit(f"run {run[0]} ended with {process.returncode}")
    return [seconds(folder, name) for name, _ in runs]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", default="32", help="channels of the image tower's stem; RN50 has 64")
    options = parser.parse_args()
    programs = options.programs.resolve()
    kinds = {"one": [], "two": [], "beside": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        streets = ["--seed", "1", "--size", "512x256", "--train", "16", "--val", "2", "--per-condition", "8"]
        subprocess.run([programs / "streets", folder / "data", *streets], check=True, capture_output=True)
        clip = [programs / "worker", "miniature-clip", folder / "clip.safetensors", "--width", options.width]
        subprocess.run(clip, check=True, capture_output=True)
        (folder / "run.toml").write_text(RUN)
        for turn in range(options.rounds):
            kinds["one"] += train(programs, folder, [(f"one-{turn}", 1)])
            kinds["two"] += train(programs, folder, [(f"two-{turn}", 2)])
            kinds["beside"] += train(programs, folder, [(f"left-{turn}", 1), (f"right-{turn}", 1)])
    print("| stage | 1 worker s | 2 workers s | of perfect scaling | most the machine gives |\n|--|--|--|--|--|")
    for stage in STAGES:
        one, two, beside = (statistics.median(run[stage] for run in kinds[kind]) for kind in kinds)
        print(f"| {stage} | {one:.2f} | {two:.2f} | {one / (2 * two):.0%} | {one / beside:.0%} |")


if __name__ == "__main__":
    main()
