"""All-reduces between processes of this machine, ours and Gloo's in turn: `allreduce.py ALLREDUCE_BENCH [options]`.

ALLREDUCE_BENCH is the example of ulda-collective; torch is this interpreter's. Each round times every number of
processes on both sides. Prints the median of the rounds' medians, the best of all, and the ratios of both.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

# Bytes, and how often ours times them.
SIZES = {1 << 10: 400, 32 << 10: 200, 1 << 20: 60, 16 << 20: 15, 64 << 20: 9}
UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def seconds(text):
    number = text.rstrip("nµms ")
    return float(number) * UNITS[text[len(number) :].strip()]


def rows(command):
    """(median, best) by bytes, from a table that ends with these three columns."""
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()]
    return {int(row[2]): (seconds(row[3]), seconds(row[4])) for row in cells if row[0].isdigit()}


def duration(value):
    return f"{value * 1e3:.2f} ms" if value >= 1e-3 else f"{value * 1e6:.0f} µs"


def size(number):
    return f"{number >> 20} MiB" if number >= 1 << 20 else f"{number >> 10} KiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--processes", default="2,4,8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for every round's numbers")
    options = parser.parse_args()
    gloo = [sys.executable, str(Path(__file__).parent / "gloo.py")]
    sizes = [f"{number}:{repeats}" for number, repeats in SIZES.items()]
    worlds = options.processes.split(",")
    found = {world: {"ours": [], "Gloo": []} for world in worlds}
    for _ in range(options.rounds):
        for world in worlds:
            found[world]["ours"].append(rows([options.program, world]))
            found[world]["Gloo"].append(rows([*gloo, world, *sizes]))
    print("| processes | bytes | ours (best) | Gloo (best) | ratio of medians | of bests |\n|--|--|--|--|--|--|")
    for world, sides in found.items():
        for number in SIZES:
            medians = [statistics.median(run[number][0] for run in side) for side in sides.values()]
            bests = [min(run[number][1] for run in side) for side in sides.values()]
            times = " | ".join(f"{duration(median)} ({duration(best)})" for median, best in zip(medians, bests))
            ratios = f"{medians[1] / medians[0]:.1f}x | {bests[1] / bests[0]:.1f}x"
            print(f"| {world} | {size(number)} | {times} | {ratios} |")
    if options.json:
        options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
