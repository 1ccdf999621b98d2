"""Reads a run's event files with TensorBoard's own reader and compares them with the run's report."""

import argparse
import json
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

STAGES = ["pretrain", "simulate", "adapt", "evaluate"]
KINDS = {"loss": "loss", "lr": "learning_rate"}
EVERYTHING = {"scalars": 0, "images": 0, "tensors": 0}


def single(value):
    """A value as it is after being stored with 32 bits."""
    return math.nan if value is None else struct.unpack("f", struct.pack("f", value))[0]


def read(folder: pathlib.Path):
    events = EventAccumulator(str(folder), size_guidance=EVERYTHING)
    events.Reload()
    return events


def scalars(events):
    """Points by tag; a step that occurs twice in one tag is an error."""
    found = {}
    for tag in events.Tags()["scalars"]:
        points = [(event.step, event.value) for event in events.Scalars(tag)]
        steps = [step for step, _ in points]
        if "/phase_seconds/" not in tag and len(set(steps)) != len(steps):
            sys.exit(f"error: {tag} tells a step twice: {steps}")
        found[tag] = sorted(points)
    return found


def expected(report):
    """Curves and scores of a report as TensorBoard should show them."""
    found, before = {}, 0
    lengths = {entry["stage"]: entry["steps"] for entry in report["stages"]}
    for stage in STAGES:
        for name, points in report["curves"].get(stage, {}).items():
            kind, term = name.split(".", 1)
            if kind in KINDS and not term.startswith("validation"):
                curve = [(before + point["step"], single(point["value"])) for point in points]
                found[f"{stage}/{KINDS[kind]}/{term}"] = curve
        if stage == "evaluate":
            for index, entry in enumerate(report["sets"]):
                for model in entry["models"]:
                    score = single(model["scores"]["mean_iou"])
                    found[f"miou/{entry['set']}/{model['model']}"] = [(before + index + 1, score)]
        before += lengths.get(stage, 0)
    before = sum(lengths.get(stage, 0) for stage in STAGES[: STAGES.index("adapt")])
    found["miou/source/validation"] = [
        (before + entry["place"]["step"], single(entry["mean_iou"])) for entry in report["validation"]
    ]
    return found


def hyperparameters(events):
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--exported", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    report = json.loads((arguments.run / "report/report.json").read_text())
    wanted = expected(report)
    pictures = sorted((arguments.run / "examples").rglob("*.png"))
    files = sorted((arguments.run / "tensorboard").iterdir())
    for folder in [arguments.run / "tensorboard", arguments.exported]:
        events = read(folder)
        found = scalars(events)
        differing = [tag for tag, points in wanted.items() if found.get(tag) != points]
        if differing:
            tag = differing[0]
            sys.exit(f"error: {folder}: {tag} is\n{found.get(tag)}\nand should be\n{wanted[tag]}")
        images = {tag: events.Images(tag) for tag in events.Tags()["images"]}
        shown = {f"examples/{path.parent.name}/{path.stem}": path.read_bytes() for path in pictures}
        if {tag: image[-1].encoded_image_string for tag, image in images.items()} != shown or not shown:
            sys.exit(f"error: {folder}: images are {sorted(images)}, and should be {sorted(shown)}")
        told = hyperparameters(events)
        if told["adapt.steps"] != 300 or told["run.name"] != "shown":
            sys.exit(f"error: {folder}: hyper-parameters are {told}")
        text = events.Tensors("configuration/text_summary")[-1].tensor_proto.string_val[0].decode()
        if "[adapt]\nsteps = 300" not in text:
            sys.exit(f"error: {folder}: the configuration is\n{text}")
        points = sum(map(len, found.values()))
        print(f"{folder.name}: {len(found)} curves with {points} points, {len(images)} pictures, as in the report")
    if len(files) != 2:
        sys.exit(f"error: a run that was taken up again should have 2 event files, not {files}")
    steps = [step for step, _ in wanted["adapt/loss/seg"]]
    print(f"adapt/loss/seg: each of {len(steps)} steps once, after a loss of all workers")


if __name__ == "__main__":
    main()
