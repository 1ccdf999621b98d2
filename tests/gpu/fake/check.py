"""Runs steps and whole runs on the fake GPU and compares what they asked of it with bounds.toml.

Started by `check`, which fetches and builds what it needs. Python's standard library alone, 3.11 or later.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN_TOML = HERE.parent / "src/run.toml"
LIMIT_SECONDS = 600
# Columns of the table: name, count, divisor, digits. All but the last are bounded.
COLUMNS = (
    ("launches", "launches", 1, 0),
    ("waits", "waits", 1, 0),
    ("copies to device, pinned", "copies_to_device_pinned", 1, 0),
    ("pageable", "copies_to_device_pageable", 1, 0),
    ("to host, pinned", "copies_to_host_pinned", 1, 0),
    ("pageable", "copies_to_host_pageable", 1, 0),
    ("MB to device", "bytes_to_device", 1e6, 2),
    ("kB to host", "bytes_to_host", 1e3, 2),
    ("MB filled", "filled_bytes", 1e6, 1),
    ("copies on the device", "copies_on_device", 1, 0),
    ("TF32 products", "tf32_products", 1, 0),
    ("CPU ms", "cpu_microseconds", 1e3, 0),
)
BOUNDED = [count for _, count, *_ in COLUMNS[:-1]]
# Kernels of libtorch whose sums have no fixed order. The backward pass of adaptive_avg_pool2d takes the second unless its
# feature is channels-last.
UNORDERED = ("upsample_bilinear2d_backward_out_frame", "atomic_adaptive_average_gradinput", "indexing_backward_kernel_atomic")


class FakeGpu:
    def __init__(self, arguments, folder):
        self.programs = arguments.programs.resolve()
        self.folder = folder
        fakes = arguments.fakes.resolve()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ULDA_", "FAKE_CUDA_"))}
        libraries = [fakes, arguments.libtorch / "lib", arguments.libtorch.parent / "nvidia/cu13/lib"]
        self.environment = kept | {
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "LD_PRELOAD": ":".join(
                f"{fakes}/{name}" for name in ("libcudart.so.13", "libfake_libraries.so", "libfake_regressions.so")
            ),
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "NO_COLOR": "1",
        }

    def run(self, program, *arguments, **fake):
        """The process's end: exit code, stdout, stderr. `fake` are settings of the fake GPU, such as fault="malloc:9"."""
        settings = {f"FAKE_CUDA_{name.upper()}": str(value) for name, value in fake.items()}
        return subprocess.run(
            [self.programs / program, *map(str, arguments)],
            cwd=self.folder, env=self.environment | settings, capture_output=True, text=True, timeout=LIMIT_SECONDS,
        )

    def must(self, program, *arguments, **fake):
        ended = self.run(program, *arguments, **fake)
        if ended.returncode != 0:
            raise Failed(f"{program} ended with {ended.returncode}: {last_words(ended)}")
        return ended.stdout


class Failed(Exception):
    """A row does not hold."""


def last_words(ended):
    lines = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
    return " / ".join(lines[-4:])


def settings_of(row):
    """A row's settings as words: step, precision, domains at once."""
    words = [row["step"], row["precision"]]
    if "domains_at_once" in row:
        words.append(f"{row['domains_at_once']} at once")
    return ", ".join(words)


def count_step(gpu, row, **fake):
    """Counts and kernels of one warm step."""
    report = gpu.folder / "report.json"
    report.unlink(missing_ok=True)
    arguments = ["step", "case", row["step"], "--device", "cuda", "--precision", row["precision"], "--threads", 1]
    arguments += ["--warm-up", 2, "--repeats", 3]
    if "domains_at_once" in row:
        arguments += ["--domains-at-once", row["domains_at_once"]]
    gpu.must("bench", *arguments, report=report, **fake)
    steps = json.loads(report.read_text())["steps"]
    step = steps[-1]
    # Of the steps that count, the one with the least to do beside it.
    cpu = min(step["counts"]["cpu_microseconds"] for step in steps[-3:])
    counts = step["counts"] | {
        "cpu_microseconds": cpu,
        "unordered_kernels": sum(
            count for name, count in step["kernels"].items() if any(word in name for word in UNORDERED)
        ),
    }
    return counts, step["kernels"]


def above(counts, bounds):
    """Sentences about the counts that are larger than their bounds."""
    larger = {name: most for name, most in bounds.items() if counts.get(name, 0) > most}
    return [f"{name} is {counts[name]}, at most {most}" for name, most in larger.items()]


def check_step(gpu, row, everywhere):
    counts, kernels = count_step(gpu, row)
    over = above(counts, everywhere | row["most"])
    missing = [name for name in row.get("needs", []) if not any(name in kernel for kernel in kernels)]
    over += [f"no kernel `{name}` was launched" for name in missing]
    return counts, over


def regression(gpu, row, everywhere, count, **fake):
    """A step of `row` with something put back that was mended: `count` must be above its bound."""
    counts, _ = count_step(gpu, row, **fake)
    over = above(counts, everywhere | row["most"])
    said = next((text for text in over if text.startswith(f"{count} is ")), None)
    if said is None:
        raise Failed(f"the bounds do not notice: {count} is {counts.get(count, 0)}")
    return said


def regression_rows(gpu, bounds):
    """Name and check of each mended fault that is put back. The bounds must notice each one."""
    row = next(row for row in bounds["step"] if settings_of(row) == "pretrain, fp32")
    put_back = {
        "regression: convolutions without bias and ReLU": ("launches", {"fault": "fusion"}),
        "regression: uninitialised memory filled": ("filled_bytes", {"regression": "fill"}),
        "regression: TF32 in float32": ("tf32_products", {"regression": "tf32"}),
    }
    return {
        name: lambda count=count, fake=fake: regression(gpu, row, bounds["everywhere"], count, **fake)
        for name, (count, fake) in put_back.items()
    }


def whole_run(gpu, name, *sets, **fake):
    arguments = ["--set", f"run.name={name}", "--set", "compute.device=cuda"]
    for text in sets:
        arguments += ["--set", text]
    return gpu.run("coordinator", *arguments, **fake)


def check_run(gpu, row):
    """Counts of a worker over a whole run."""
    report = gpu.folder / "report.json"
    report.unlink(missing_ok=True)
    expect(whole_run(gpu, row["name"].replace(" ", "-"), *row["set"], report=report), 0)
    parts = json.loads(report.read_text())
    counts = {}
    for part in [*parts["steps"], parts["rest"]]:
        for name, count in part["counts"].items():
            counts[name] = counts.get(name, 0) + count
    return counts, above(counts, row["most"])


def expect(ended, code, *words):
    if ended.returncode != code:
        raise Failed(f"ended with {ended.returncode} instead of {code}: {last_words(ended)}")
    text = ended.stdout + ended.stderr
    for word in words:
        if word not in text:
            raise Failed(f"does not say `{word}`: {last_words(ended)}")
    said = next((line.strip() for line in text.splitlines() if words and words[0] in line), "")
    return f"{code}: {said[:300]}" if said else str(code)


def domains_at_once(gpu, name, gib, expected):
    """Trains a run of two domains that leaves domains_at_once open, on a GPU of so much memory."""
    short = ("pretrain.steps=2", "simulate.batches=1", "adapt.steps=2", "evaluate.examples=0")
    held = ("run.shards=1", "simulate.prompt_groups=1")
    expect(whole_run(gpu, name, *short, *held, gib=gib), 0)
    decided = tomllib.loads((gpu.folder / "runs" / name / "run.toml").read_text())["simulate"]["domains_at_once"]
    if decided != expected:
        raise Failed(f"domains_at_once is {decided} on {gib} GiB, expected {expected}")
    return f"{decided} on {gib} GiB"


def fault_rows(gpu):
    """Name and check of each row about whole programs."""
    return {
        "worker devices": lambda: expect(gpu.run("worker", "devices", "--require-gpu"), 0, "Fake GPU 0", "GiB free"),
        "domains at once, much memory": lambda: domains_at_once(gpu, "much", 80, 2),
        "domains at once, little memory": lambda: domains_at_once(gpu, "little", 3.3, 1),
        "old driver, worker devices": lambda: expect(
            gpu.run("worker", "devices", "--require-gpu", driver=12040), 78, "CUDA up to 12.4, and libtorch needs 13.0"
        ),
        "old driver, a run that wants a GPU": lambda: expect(
            whole_run(gpu, "old", driver=12040), 78, "compute.device is cuda, but the NVIDIA driver of this host knows CUDA up to 12.4"
        ),
        "out of memory at an allocation": lambda: expect(
            whole_run(gpu, "full", fault="malloc:12"), 78, "out of memory on cuda:0 in", "were asked for", "hint: "
        ),
        "slow events": lambda: expect(whole_run(gpu, "slow", fault="events:200"), 0),
        "illegal address at a launch": lambda: expect(
            whole_run(gpu, "illegal", fault="launch:2000"), 1, "an illegal memory access was encountered"
        ),
    }


def table_row(name, counts):
    cells = [name]
    for _, name, divisor, digits in COLUMNS:
        cells.append(f"{counts.get(name, 0) / divisor:.{digits}f}")
    return "| " + " | ".join(cells) + " |"


def write_bounds(text, found):
    """`text` of bounds.toml with the counts that were `found`, row by row."""
    lines = []
    rows = iter(found)
    for line in text.splitlines():
        if line.startswith("most = "):
            counts = next(rows)
            line = "most = { " + ", ".join(f"{name} = {counts.get(name, 0)}" for name in BOUNDED) + " }"
        lines.append(line)
    return "\n".join(lines) + "\n"


class Check:
    """Rows that are chosen by their name, what they came to, and the table of what they counted."""

    def __init__(self, gpu, bounds, only, learn):
        self.gpu, self.bounds, self.only, self.learn = gpu, bounds, only, learn
        self.failed, self.found = 0, []
        self.table = ["| step | " + " | ".join(name for name, *_ in COLUMNS) + " |", "|--" * (len(COLUMNS) + 1) + "|"]

    def chosen(self, rows, name_of):
        return [(name_of(row), row) for row in rows if self.only in name_of(row)]

    def fail(self, name, why):
        print(f"FAILED  {name}: {why}", flush=True)
        self.failed += 1

    def count(self, name, counting):
        """Keeps what `counting` gives: counts, and sentences about those above their bounds."""
        try:
            counts, over = counting()
        except (Failed, subprocess.TimeoutExpired) as error:
            self.fail(name, error)
            return
        self.found.append(counts)
        self.table.append(table_row(name, counts))
        print(self.table[-1], flush=True)
        for text in [] if self.learn else over:
            self.fail(name, text)

    def steps(self):
        rows = self.chosen(self.bounds["step"], settings_of)
        regressions = self.chosen(regression_rows(self.gpu, self.bounds).items(), lambda row: row[0])
        if rows or regressions:
            self.gpu.must("bench", "prepare", "case", *self.bounds["case"])
        for name, row in rows:
            self.count(name, lambda row=row: check_step(self.gpu, row, self.bounds["everywhere"]))
        # What was learned in this call is not in the bounds yet.
        if not self.learn:
            self.judge(regressions)

    def judge(self, rows):
        """Runs checks that say by themselves whether they hold."""
        for name, (_, check) in rows:
            try:
                print(f"ok      {name}: {check()}", flush=True)
            except (Failed, subprocess.TimeoutExpired) as error:
                self.fail(name, error)

    def programs(self):
        runs = self.chosen(self.bounds["run"], lambda row: row["name"])
        faults = self.chosen(fault_rows(self.gpu).items(), lambda row: row[0])
        if runs or faults:
            self.gpu.must("streets", "data", "--size", "256x128", "--train", 16, "--val", 4, "--per-condition", 4, "--gta", 0)
            self.gpu.must("worker", "miniature-clip", "clip.safetensors", "--resolution", 64)
            (self.gpu.folder / "run.toml").write_text(RUN_TOML.read_text())
        for name, row in runs:
            self.count(name, lambda row=row: check_run(self.gpu, row))
        self.judge(faults)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="folder of coordinator, worker, streets and bench")
    parser.add_argument("--fakes", type=Path, required=True, help="folder of the fake libraries")
    parser.add_argument("--libtorch", type=Path, required=True, help="folder `torch` of libtorch for CUDA")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    parser.add_argument("--write-bounds", action="store_true", help="make the counts of this run the bounds")
    arguments = parser.parse_args()
    if arguments.write_bounds and arguments.only:
        parser.error("--write-bounds needs all rows")
    text = (HERE / "bounds.toml").read_text()

    with tempfile.TemporaryDirectory() as folder:
        gpu = FakeGpu(arguments, Path(folder))
        check = Check(gpu, tomllib.loads(text), arguments.only, arguments.write_bounds)
        check.steps()
        check.programs()

    print("\n".join(["", *check.table]))
    if arguments.write_bounds and not check.failed:
        (HERE / "bounds.toml").write_text(write_bounds(text, check.found))
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(check.table) + "\n")
    print(f"{check.failed} failed", file=sys.stderr)
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
