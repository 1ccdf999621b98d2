"""Runs the experiment of docs/evidence.md with the programs of this repository, and compares its runs.

Usage: experiment.py BIN_FOLDER OUT_FOLDER --clip FILE [--setting city|game] [--seeds 1,2,3,4,5] [--methods source,poda,...]
Needs Python's standard library alone. A run that has its report is kept, so an interrupted experiment goes on where it was.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROMPTS = {"fog": "driving in fog", "night": "driving at night", "rain": "driving under rain", "snow": "driving in snow"}

# The same for all methods and seeds. docs/evidence.md says how they were found.
SCENES = {"seed": 1, "size": "512x256", "train": 400, "val": 32, "per-condition": 32, "gta": 400}
PRETRAIN = {"steps": 2000, "batch": 8, "crop": 128, "head_channels": 64}
SIMULATE = {"batches": 12, "batch": 2, "crop": 128, "iterations": 60, "lr_pin": 4.0, "scene_pool": 32, "projector_hidden": 64}
ADAPT = {"steps": 200, "batch": 8, "crop": 128, "validate_every": 0}
WEIGHTS = ("lambda_pixel", "lambda_region", "lambda_seg", "lambda_intra", "lambda_cross")
SCENE_ALONE = dict.fromkeys(WEIGHTS, 0.0)
# Weights of a fiftieth of setting (1)'s, as the demo has them.
GENTLE = {"lambda_pixel": 0.01, "lambda_region": 0.02, "lambda_seg": 0.02, "lambda_intra": 0.0, "lambda_cross": 0.4}

# Keys of [simulate] and [adapt] for each method; the published values are the program's defaults.
METHODS = {
    "source": None,
    # Its loss is a mean over one domain instead of four: a quarter of the rate takes the same step.
    "poda": ({**SCENE_ALONE, "lr_pin": 1.0}, {"rectifier": False}),
    "ulda-gentle": (GENTLE, {}),
    "ulda-1": ({}, {}),
    "ulda-2": ({"lambda_pixel": 0.1, "lambda_region": 0.5, "lambda_intra": 10.0, "lambda_cross": 10.0}, {}),
    "content": ({"styles": "content"}, {"rectifier": False}),
    "oracle": ({"styles": "images"}, {"rectifier": False}),
}


def toml(value):
    return json.dumps(value)  # the values used here are written alike in both languages


class Experiment:
    def __init__(self, options):
        self.bin, self.out = Path(options.bin).resolve(), Path(options.out).resolve()
        self.clip, self.setting, self.workers = Path(options.clip).resolve(), options.setting, options.workers
        self.scenes = self.out / "scenes"
        self.runs = self.out / self.setting
        self.runs.mkdir(parents=True, exist_ok=True)

    def generate(self):
        """The scenes of all runs. The CLIP was trained on scenes of other seeds."""
        if (self.scenes / "gta5").is_dir():
            return
        shutil.rmtree(self.scenes, ignore_errors=True)
        flags = [f"--{key}={value}" for key, value in SCENES.items()]
        subprocess.run([self.bin / "streets", self.scenes, *flags], check=True, stdout=subprocess.DEVNULL)

    def source_table(self):
        if self.setting == "game":
            return {"layout": "gta5", "root": str(self.scenes / "gta5"), "train": "train_list.txt", "validation": "val_list.txt"}
        return {"layout": "cityscapes", "root": str(self.scenes / "cityscapes")}

    def configuration(self, name, seed, method, domains, checkpoint):
        tables = [
            ("[run]", {"name": name, "directory": str(self.runs), "seed": seed, "shards": 2, "threads_per_shard": 1}),
            ("[clip]", {"checkpoint": str(self.clip)}),
            ("[source]", self.source_table()),
            ("[pretrain]", {**PRETRAIN, **({"checkpoint": str(checkpoint)} if checkpoint else {})}),
            ("[checkpoint]", {"every": 100_000}),
            ("[evaluate]", {"examples": 2}),
        ]
        if METHODS[method] is None:
            tables[0][1]["end_after"] = "pretrain"
        else:
            simulate, adapt = METHODS[method]
            tables += [("[simulate]", {**SIMULATE, **simulate}), ("[adapt]", {**ADAPT, **adapt})]
            for domain in domains:
                table = {"name": domain, "prompt": PROMPTS[domain]}
                if simulate.get("styles") == "images":
                    table["images"] = [str(self.scenes / "acdc/rgb_anon" / domain / "train")]
                tables.append(("[[domain]]", table))
        clear = {"name": "clear", "layout": "cityscapes", "root": str(self.scenes / "cityscapes")}
        tables.append(("[[evaluate.set]]", clear))
        width, height = map(int, SCENES["size"].split("x"))
        for domain in domains:
            table = {"name": domain, "layout": "acdc", "root": str(self.scenes / "acdc"), "condition": domain}
            if domain == "fog":
                table["only_size"] = [width, height]
            tables.append(("[[evaluate.set]]", table))
        return "\n".join(
            f"{header}\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items()) for header, table in tables)

    def run(self, name, seed, method, domains, checkpoint=None):
        """Trains and scores one run; returns its folder."""
        folder = self.runs / name
        if (folder / "report/report.json").is_file():
            return folder
        path = self.runs / f"{name}.toml"
        path.write_text(self.configuration(name, seed, method, domains, checkpoint))
        started = time.time()
        with open(self.runs / f"{name}.log", "w") as log:
            command = [self.bin / "coordinator", "--workers", str(self.workers), "--config", path]
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        print(f"{self.setting} {name}: {time.time() - started:.0f} s", flush=True)
        if code != 0:
            sys.exit(f"{name} ended with exit code {code}; its output is in {log.name}")
        return folder

    def train(self, seeds, methods):
        """{method: [folders]}; each seed has a source head of its own, which its other runs start from."""
        made = {method: [] for method in methods}
        for seed in seeds:
            source = self.run(f"source-s{seed}", seed, "source", list(PROMPTS))
            head = source / "checkpoints/final/source.safetensors"
            for method in methods:
                if method == "source":
                    made[method].append(source)
                elif method == "poda":  # one model for each weather
                    made[method] += [self.run(f"poda-{d}-s{seed}", seed, method, [d], head) for d in PROMPTS]
                else:
                    made[method].append(self.run(f"{method}-s{seed}", seed, method, list(PROMPTS), head))
        return made

    def compare(self, made):
        rows = [f"{method}={','.join(map(str, folders))}" for method, folders in made.items()]
        for kind in ("csv", "html", "text"):
            command = [self.bin / "coordinator", "compare", "--format", kind, "--out", self.runs / f"compare.{kind}", *rows]
            subprocess.run(command, check=True)
        print((self.runs / "compare.text").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bin")
    parser.add_argument("out")
    parser.add_argument("--clip", required=True)
    parser.add_argument("--setting", choices=("city", "game"), default="city")
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    methods = options.methods.split(",")
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        sys.exit(f"unknown method `{unknown[0]}`; hint: {', '.join(METHODS)}")
    experiment = Experiment(options)
    experiment.generate()
    experiment.compare(experiment.train([int(seed) for seed in options.seeds.split(",")], methods))


if __name__ == "__main__":
    main()
