"""PNG decoding, ours against Pillow's, both on one thread: `decoding.py DECODE_BENCH [--json FILE]`.

DECODE_BENCH is the example of ulda-dataset. It reads the same files with both in turn, Pillow's side in this interpreter,
which needs Pillow and numpy. Prints images per second and ratios.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

# What ours calls a task, and what Pillow's side calls it.
TASKS = {"decode image": "decode image", "decode label": "decode label", "load 768x768 crop": "crop and normalise"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    environment = os.environ | {"PYTHON": sys.executable}
    printed = subprocess.run([options.program], env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    rates = {"ulda-dataset": {}, "pillow": {}}
    for side, task, rate in re.findall(r"^(ulda-dataset|pillow) +(.+?) +([\d.]+) images/s", printed, re.MULTILINE):
        rates[side][task] = float(rate)
    if not rates["pillow"]:
        raise SystemExit(f"{sys.executable} has no Pillow or no numpy")
    print(f"{printed.splitlines()[0]}\n\n| task | ours, images/s | Pillow, images/s | ratio |\n|--|--|--|--|")
    for task, other in TASKS.items():
        ours, pillow = rates["ulda-dataset"][task], rates["pillow"][other]
        print(f"| {task} | {ours:.1f} | {pillow:.1f} | {ours / pillow:.1f}x |")
    if options.json:
        options.json.write_text(json.dumps(rates))


if __name__ == "__main__":
    main()
