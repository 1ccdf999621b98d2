"""Scaling from one worker to two, each with one kernel thread: `scaling.py BIN_FOLDER [options]`.

BIN_FOLDER holds bench, coordinator, worker and streets. Trains small runs on a model of `bench prepare`, in turn:
one worker; two workers on the same batch, cut in two (strong); two workers with such a batch each (weak). In
simulate, strong scaling gives each worker one of the two domains, weak scaling a batch with both. A run that nobody
times goes first and fills caches: embeddings of the prompts, files. The machine has to have two idle cores; to see
what they give at all, two runs of one worker go side by side as well: t1 alone / t1 beside another is the most that
scaling can come to here.

Prints per stage the medians of a step (simulate: an iteration; evaluate: one of the first worker's images) and the
share of perfect scaling: t1 / (2 * t2) strong, t1 / t2 weak. `whole stage` is wall time with its begin, first step
and last checkpoint, which weigh more the fewer steps there are; `steps` is the sum of the phases of a worker.
The phases say where the difference is; `rest` is what of the wall time is in none of them.

With --python, plain PyTorch under DistributedDataParallel does the steps of pretrain and adapt at the same sizes in
turn with ours (tests/yardstick/ddp.py, which says what it leaves out). It has its batch in memory, where ours decodes
beside on the same cores; its first step is not counted, ours is.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

RUN = """
[run]
directory = "runs"
threads_per_shard = 1
[clip]
checkpoint = "case/clip.safetensors"
[source]
root = "streets-1/cityscapes"
[[domain]]
name = "fog"
prompt = "driving in fog"
[[domain]]
name = "night"
prompt = "driving at night"
[adapt]
validate_every = 0
[evaluate]
examples = 0
[[evaluate.set]]
name = "streets"
layout = "cityscapes"
root = "streets-1/cityscapes"
[checkpoint]
every = 1000000
[compute]
device = "cpu"
"""
STAGES = ["pretrain", "simulate", "adapt", "evaluate"]
PHASES = ["data", "forward", "backward", "reduce", "optimise"]
# Workers, and how many times the images of one worker's run.
KINDS = {"one": (1, 1), "strong": (2, 1), "weak": (2, 2), "beside": (1, 1)}
DDP = Path(__file__).parents[1] / "yardstick/ddp.py"


def checked(command, **more):
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def values(options, kind):
    """The keys of run.toml in which the runs differ."""
    workers, times = KINDS[kind]
    return {
        "run.shards": workers,
        "pretrain.steps": options.pretrain_steps,
        "simulate.iterations": options.iterations,
        "simulate.batch": options.batch,
        "simulate.batches": times,
        "simulate.data_shards": times,
        "simulate.prompt_groups": workers // times,
        "adapt.steps": options.adapt_steps,
        "pretrain.batch": times * options.batch,
        "adapt.batch": times * options.batch,
        "evaluate.set.0.root": f'"streets-{times}/cityscapes"',
    } | {f"{stage}.crop": options.crop for stage in STAGES[:3]}


def train(options, folder, kind, names):
    """Trains runs of a kind side by side; their reports' stages by name."""
    started = []
    for name in names:
        command = [options.programs / "coordinator", "--workers", str(KINDS[kind][0]), "--http", "off"]
        for key, value in (values(options, kind) | {"run.name": name}).items():
            command += ["--set", f"{key}={value}"]
        log = (folder / f"{name}.log").open("w")
        started.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=log))
    for process, name in zip(started, names):
        if process.wait() != 0:
            raise SystemExit(f"run {name} ended with {process.returncode}:\n{(folder / f'{name}.log').read_text()[-2000:]}")
    reports = [json.loads((folder / "runs" / name / "report/report.json").read_text()) for name in names]
    return [{stage["stage"]: stage for stage in report["stages"]} for report in reports]


def prepare(options, folder):
    (folder / "run.toml").write_text(RUN)
    case = [options.programs / "bench", "prepare", folder / "case", "--size", options.size]
    checked([*case, "--crop", options.crop, "--domains", "2", "--photo", "64"])
    size = f"{min(4 * options.crop, 2048)}x{min(2 * options.crop, 1024)}"
    for times in (1, 2):
        counts = ["--train", 4 * options.batch, "--val", times * options.images, "--per-condition", 0, "--gta", 0]
        checked([options.programs / "streets", folder / f"streets-{times}", "--size", size, *counts])


def measure(options, folder):
    """Every run's stages by kind, and the peer's seconds by step and kind."""
    short = argparse.Namespace(**vars(options) | {"pretrain_steps": 1, "adapt_steps": 1, "iterations": 1})
    train(short, folder, "strong", ["first"])
    kinds = {kind: [] for kind in KINDS}
    peer = {step: {"one": [], "strong": [], "weak": []} for step in ("pretrain", "adapt")} if options.python else {}
    for turn in range(options.rounds):
        for kind in KINDS:
            names = [f"{kind}-{turn}"] + ([f"other-{turn}"] if kind == "beside" else [])
            kinds[kind] += train(options, folder, kind, names)
        for step, sides in peer.items():
            for kind, seconds in sides.items():
                workers, times = KINDS[kind]
                command = [options.python, DDP, folder / "case", step, "--processes", workers, "--json"]
                told = json.loads(checked([*command, "--batch", times * options.batch]))
                seconds += told["seconds"][str(workers)]
    return kinds, peer


class Medians:
    """Medians over the runs, per step."""

    def __init__(self, options, kinds):
        self.kinds = kinds
        self.steps = {
            "pretrain": options.pretrain_steps,
            "simulate": options.iterations,
            "adapt": options.adapt_steps,
            "evaluate": options.images,
        }

    def of(self, kind, stage, pick):
        return statistics.median(pick(run[stage]) for run in self.kinds[kind]) / self.steps[stage]

    def whole(self, kind, stage):
        return self.of(kind, stage, lambda found: found["seconds"])

    def phase(self, kind, stage, name):
        """Of one worker: the report sums over them."""
        seconds = lambda found: sum(phase["seconds"] for phase in found["phases"] if phase["name"] == name)
        return self.of(kind, stage, seconds) / KINDS[kind][0]

    def within_steps(self, kind, stage):
        return sum(self.phase(kind, stage, name) for name in PHASES)


def print_ours(medians):
    for kind, ideal, title in (("strong", 2, "same batch cut in two"), ("weak", 1, "same batch for each worker")):
        print(f"\nOurs, {kind} scaling: {title}\n")
        print("| stage | 1 worker s | 2 workers s | of perfect, whole stage | of perfect, steps | most the machine gives |")
        print("|--|--|--|--|--|--|")
        for stage in STAGES:
            one, two, beside = (medians.whole(which, stage) for which in ("one", kind, "beside"))
            steps = medians.within_steps("one", stage) / (ideal * medians.within_steps(kind, stage))
            print(f"| {stage} | {one:.3f} | {two:.3f} | {one / (ideal * two):.0%} | {steps:.0%} | {one / beside:.0%} |")
    print(f"\nOurs, a worker's seconds of a step\n\n| stage | run | {' | '.join(PHASES)} | rest |\n|{'--|' * (len(PHASES) + 3)}")
    for stage in STAGES:
        for kind in KINDS:
            phases = " | ".join(f"{medians.phase(kind, stage, name):.3f}" for name in PHASES)
            rest = medians.whole(kind, stage) - medians.within_steps(kind, stage)
            print(f"| {stage} | {kind} | {phases} | {rest:.3f} |")


def print_peer(peer):
    print("\nPlain PyTorch, DistributedDataParallel with Gloo\n")
    print("| step | 1 process s | 2 strong s | of perfect | 2 weak s | of perfect |\n|--|--|--|--|--|--|")
    for step, sides in peer.items():
        one, strong, weak = (statistics.median(seconds) for seconds in sides.values())
        print(f"| {step} | {one:.3f} | {strong:.3f} | {one / (2 * strong):.0%} | {weak:.3f} | {one / weak:.0%} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", type=lambda text: Path(text).resolve())
    parser.add_argument("--size", choices=["small", "rn50"], default="rn50", help="rn50: width 64, its depth")
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--batch", type=int, default=2, help="images of a step of one worker's run, even")
    parser.add_argument("--pretrain-steps", type=int, default=10)
    parser.add_argument("--adapt-steps", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=5, help="of simulate, on one batch")
    parser.add_argument("--images", type=int, default=2, help="of evaluate, even")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", help="an interpreter with torch and safetensors, for the peer")
    parser.add_argument("--json", type=Path, help="file for every run's numbers")
    options = parser.parse_args()
    if options.batch % 2 or options.images % 2:
        parser.error("--batch and --images have to divide over two workers")
    with tempfile.TemporaryDirectory() as name:
        prepare(options, Path(name))
        kinds, peer = measure(options, Path(name))
    print(f"{options.size}, crop {options.crop}, batch {options.batch}, 2 domains, {options.rounds} round(s)")
    print_ours(Medians(options, kinds))
    if peer:
        print_peer(peer)
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "ours": kinds, "peer": peer}, default=str))


if __name__ == "__main__":
    main()
