"""Runs the experiment of docs/evidence.md with the programs of this repository, and compares its runs.

Usage: experiment.py BIN_FOLDER OUT_FOLDER --clip FILE [--setting city|game] [--seeds 1,2,3,4,5] [--methods source,poda,...]
Needs Python's standard library alone. A run that has its report is kept, so an interrupted experiment goes on where it was.

The learning rate of the styles and the weights of ULDA's losses are chosen first, by runs of seed 0 that end after simulate.
They read labelled source images and the prompts, and no target image (`choose`).
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROMPTS = {"fog": "driving in fog", "night": "driving at night", "rain": "driving under rain", "snow": "driving in snow"}

# The same for all methods and seeds. docs/evidence.md says how they were found.
SCENES = {"seed": 1, "size": "512x256", "train": 400, "val": 32, "per-condition": 32, "gta": 400}
PRETRAIN = {"steps": 1750, "batch": 4, "crop": 256, "head_channels": 64}
SIMULATE = {"batches": 48, "batch": 2, "crop": 128, "iterations": 60, "scene_pool": 32, "projector_hidden": 64}
ADAPT = {"steps": 200, "batch": 4, "crop": 256, "validate_every": 0}
WEIGHTS = ("lambda_pixel", "lambda_region", "lambda_seg", "lambda_intra", "lambda_cross")
SCENE_ALONE = dict.fromkeys(WEIGHTS, 0.0)
# Settings (1) and (2) of ULDA, as published.
SETTING_1 = {"lambda_pixel": 0.5, "lambda_region": 1.0, "lambda_seg": 1.0, "lambda_intra": 0.0, "lambda_cross": 20.0}
SETTING_2 = {"lambda_pixel": 0.1, "lambda_region": 0.5, "lambda_seg": 1.0, "lambda_intra": 10.0, "lambda_cross": 10.0}

# What is tried, and the rule. Of the rates, the largest whose styles are not warned of (docs/controls.md, style health), with
# the scene loss alone. Of the factors on setting (1)'s weights, the largest that leaves the scene loss at most MOST_LOSS times
# what it is without those losses.
RATES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
FACTORS = (1.0, 1 / 4, 1 / 16, 1 / 64)
CHOOSE = {"batches": 4}
MOST_OUT_OF_RANGE = 0.25
MOST_LOSS = 1.1

# Large blocks stay with the process (glibc): a worker on CPUs otherwise hands their pages back and forth. Changes no number.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "268435456"}

SETTINGS = {"city": "City scenes to weather", "game": "Game scenes to weather"}
METHODS = ("source", "poda", "joint", "rectified", "ulda", "ulda-1", "ulda-2", "content", "oracle")


def scaled(weights, factor):
    return {key: value * factor for key, value in weights.items()}


def keys_of(method, rate, factor):
    """Keys of [simulate] and [adapt] for a method, with the rate for four domains and the factor on ULDA's weights."""
    no_rectifier = {"rectifier": False}
    return {
        # Its loss is a mean over one domain instead of four: a quarter of the rate takes the same step.
        "poda": ({**SCENE_ALONE, "lr_pin": rate / len(PROMPTS)}, no_rectifier),
        # From PØDA to ULDA one thing at a time: one model for all domains, with the rectifier, with the losses.
        "joint": ({**SCENE_ALONE, "lr_pin": rate}, no_rectifier),
        "rectified": ({**SCENE_ALONE, "lr_pin": rate}, {}),
        "ulda": ({**scaled(SETTING_1, factor), "lr_pin": rate}, {}),
        "ulda-1": ({**SETTING_1, "lr_pin": rate}, {}),
        "ulda-2": ({**SETTING_2, "lr_pin": rate}, {}),
        "content": ({"styles": "content"}, no_rectifier),
        "oracle": ({"styles": "images"}, no_rectifier),
    }[method]


def cpu_seconds():
    """Of all programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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

    def configuration(self, name, seed, keys, domains, checkpoint):
        """run.toml of a run; `keys` of [simulate] and [adapt], None for a source-only run, no [adapt] for one without it."""
        tables = [
            ("[run]", {"name": name, "directory": str(self.runs), "seed": seed, "shards": 2, "threads_per_shard": 1}),
            ("[clip]", {"checkpoint": str(self.clip)}),
            ("[source]", self.source_table()),
            ("[pretrain]", {**PRETRAIN, **({"checkpoint": str(checkpoint)} if checkpoint else {})}),
            ("[checkpoint]", {"every": 100_000}),
            ("[evaluate]", {"examples": 2}),
        ]
        if keys is None:
            tables[0][1]["end_after"] = "pretrain"
        else:
            simulate, adapt = keys
            tables.append(("[simulate]", {**SIMULATE, **simulate}))
            if adapt is None:
                tables[0][1]["end_after"] = "simulate"
            else:
                tables.append(("[adapt]", {**ADAPT, **adapt}))
            for domain in domains:
                table = {"name": domain, "prompt": PROMPTS[domain]}
                # Oracle styles; and what learned ones are compared with, which nothing is trained on.
                if adapt is not None and simulate.get("styles") != "content":
                    table["images"] = [str(self.scenes / "acdc/rgb_anon" / domain / "train")]
                tables.append(("[[domain]]", table))
        clear = {"name": "clear", "layout": "cityscapes", "root": str(self.scenes / "cityscapes")}
        tables.append(("[[evaluate.set]]", clear))
        width, height = map(int, SCENES["size"].split("x"))
        # Runs of seed 0 choose the settings, and see no target image.
        for domain in domains if seed > 0 else ():
            table = {"name": domain, "layout": "acdc", "root": str(self.scenes / "acdc"), "condition": domain}
            if domain == "fog":
                table["only_size"] = [width, height]
            tables.append(("[[evaluate.set]]", table))
        return "\n".join(
            f"{header}\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items()) for header, table in tables)

    def run(self, name, seed, keys=None, domains=tuple(PROMPTS), checkpoint=None):
        """Trains and scores one run; returns its folder."""
        folder = self.runs / name
        if (folder / "report/report.json").is_file():
            return folder
        path = self.runs / f"{name}.toml"
        path.write_text(self.configuration(name, seed, keys, domains, checkpoint))
        started, before = time.time(), cpu_seconds()
        with open(self.runs / f"{name}.log", "w") as log:
            command = [self.bin / "coordinator", "--workers", str(self.workers), "--config", path]
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **ALLOCATOR}).returncode
        print(f"{self.setting} {name}: {time.time() - started:.0f} s, {cpu_seconds() - before:.0f} CPU s", flush=True)
        if code != 0:
            sys.exit(f"{name} ended with exit code {code}; its output is in {log.name}")
        return folder

    def source(self, seed):
        """The source-only run of a seed, and its model."""
        folder = self.run(f"source-s{seed}", seed)
        return folder, folder / "checkpoints/final/source.safetensors"

    def choose(self):
        """(rate, factor) by the rule above, from simulate alone."""
        _, head = self.source(0)

        def means(name, weights, rate):
            folder = self.run(name, 0, ({**CHOOSE, **weights, "lr_pin": rate}, None), checkpoint=head)
            styles = json.loads((folder / "report/report.json").read_text())["style_health"]
            mean = {key: sum(style[key] for style in styles) / len(styles) for key in ("scene_loss", "near_zero", "negative", "shift")}
            values = " · ".join(f"{key} {value:.3f}" for key, value in mean.items())
            print(f"{self.setting} {name}: {values}", flush=True)
            return mean

        rates = {rate: means(f"rate-{rate:g}", SCENE_ALONE, rate) for rate in RATES}
        healthy = [rate for rate, mean in rates.items() if max(mean["near_zero"], mean["negative"]) <= MOST_OUT_OF_RANGE]
        rate = max(healthy, default=RATES[0])
        limit = MOST_LOSS * rates[rate]["scene_loss"]
        factors = {factor: means(f"factor-{factor:g}", scaled(SETTING_1, factor), rate) for factor in FACTORS}
        factor = max([factor for factor in FACTORS if factors[factor]["scene_loss"] <= limit], default=FACTORS[-1])
        print(f"{self.setting}: lr_pin {rate:g} for four domains, {factor:g} of setting (1)'s weights", flush=True)
        return rate, factor

    def train(self, seeds, methods):
        """{method: [folders]}; each seed has a source head of its own, which its other runs start from."""
        rate, factor = self.choose()
        made = {method: [] for method in methods}
        for seed in seeds:
            source, head = self.source(seed)
            for method in methods:
                if method == "source":
                    made[method].append(source)
                    continue
                keys = keys_of(method, rate, factor)
                if method == "poda":  # one model for each weather
                    made[method] += [self.run(f"poda-{d}-s{seed}", seed, keys, [d], head) for d in PROMPTS]
                else:
                    made[method].append(self.run(f"{method}-s{seed}", seed, keys, checkpoint=head))
        return made

    def compare(self, made):
        rows = [f"{method}={','.join(map(str, folders))}" for method, folders in made.items()]
        for kind in ("csv", "html", "text"):
            command = [self.bin / "coordinator", "compare", "--format", kind, "--out", self.runs / f"compare.{kind}", *rows]
            subprocess.run(command, check=True)
        print((self.runs / "compare.text").read_text())
        tables = [f"{title}={self.out / setting / 'compare.csv'}" for setting, title in SETTINGS.items()]
        tables = [table for table in tables if Path(table.split("=", 1)[1]).is_file()]
        plot = [sys.executable, Path(__file__).parent / "plot.py", self.out / "gains.svg", *tables]
        subprocess.run(plot, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bin")
    parser.add_argument("out")
    parser.add_argument("--clip", required=True)
    parser.add_argument("--setting", choices=tuple(SETTINGS), default="city")
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
