#!/usr/bin/env python3
"""Exports a run to Weights & Biases or MLflow, without a network and without this program.

    deploy/trackers/export.py RUN --wandb FOLDER      an offline run below FOLDER; `wandb sync` uploads it
    deploy/trackers/export.py RUN --mlflow FOLDER     a run in a file store, or with http://… or sqlite:///… on a server or in a database

RUN is a run directory. Curves and scores come from its event files (tensorboard/), configuration, state and sums from
report/report.json if there is one, else from run.toml; strips of examples, report and run.toml go along as files. A run may be exported
while it trains, and again later: the new export replaces the old one in MLflow, and is another offline run with the same id in W&B,
which `wandb sync` takes for the same run.

MLflow shows a file store only if MLFLOW_ALLOW_FILE_STORE=true, as it prefers databases: `mlflow migrate-filestore` makes one of it.

Needs Python 3.11 with tensorboard and the tracker: pip install -r deploy/trackers/requirements.txt
Exit codes: 0 exported; 2 wrong usage; 78 this is no run directory, or a package is missing.
"""

import argparse
import hashlib
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class Point(NamedTuple):
    """One value of a curve: the step of the whole run, and when it was written, in seconds since 1970."""

    step: int
    time: float
    value: float


class Run(NamedTuple):
    """What is exported: `curves` by tag with rising steps, `settings` by the key of run.toml, `facts` and `files` by name."""

    name: str
    id: str
    state: str
    curves: dict[str, list[Point]]
    settings: dict[str, object]
    facts: dict[str, str]
    files: dict[str, Path]
    pictures: dict[str, Path]


def stop(text, hint):
    print(f"error: {text}\n  hint: {hint}", file=sys.stderr)
    sys.exit(78)


def need(module):
    try:
        return __import__(module, fromlist=["_"])
    except ImportError:
        stop(f"Python has no module `{module}`", "pip install -r deploy/trackers/requirements.txt")


def flattened(value, prefix=""):
    """A table of run.toml as one value per key; tables in lists are numbered."""
    if isinstance(value, dict):
        return {key: leaf for name, inner in value.items() for key, leaf in flattened(inner, f"{prefix}{name}.").items()}
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return {key: leaf for at, inner in enumerate(value) for key, leaf in flattened(inner, f"{prefix}{at}.").items()}
    return {prefix[:-1]: value}


def curves_of(folder):
    accumulator = need("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    events = accumulator(str(folder), size_guidance={"scalars": 0, "images": 1, "tensors": 1})
    events.Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        # A step that was trained again after a fault counts as it was trained last.
        latest = {event.step: Point(event.step, event.wall_time, event.value) for event in events.Scalars(tag)}
        curves[tag] = [latest[step] for step in sorted(latest)]
    return curves


def read(directory):
    if not (directory / "run.toml").is_file() or not (directory / "tensorboard").is_dir():
        stop(
            f"`{directory}` is no run directory with event files",
            "name runs/NAME; a run with --tensorboard off gets them by `coordinator export-tensorboard RUN --out RUN/tensorboard`",
        )
    path = directory / "report/report.json"
    report = json.loads(path.read_text()) if path.is_file() else {}
    settings = flattened(tomllib.loads(report.get("config_toml") or (directory / "run.toml").read_text()))
    name = str(settings.get("run.name", directory.name))
    facts = {f"digest.{key}": value for key, value in report.get("digests", {}).items()}
    facts |= {f"version.{key}": value for key, value in report.get("versions", {}).items()}
    files = {path.name: path for path in [directory / "run.toml", *sorted((directory / "report").glob("*"))] if path.is_file()}
    examples = sorted((directory / "examples").rglob("*.png"))
    pictures = {f"examples/{path.parent.name}/{path.stem}": path for path in examples}
    # The same run has the same id wherever it lies and whenever it is exported: its first event file is named after its start.
    first = min((path.name for path in (directory / "tensorboard").iterdir()), default="")
    identity = hashlib.sha256(f"{name} {first}".encode()).hexdigest()[:16]
    state = report.get("standing", {}).get("state", "running")
    return Run(name, identity, state, curves_of(directory / "tensorboard"), settings, facts, files, pictures)


def to_wandb(run, folder, project):
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    wandb = need("wandb")
    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(mode="offline", console="off", disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True)
    exported = wandb.init(dir=folder, project=project, name=run.name, id=run.id, config=run.settings, tags=[run.state], settings=settings)
    by_step = {}
    for tag, points in run.curves.items():
        for point in points:
            by_step.setdefault(point.step, {})[tag] = point.value
    last = max(by_step, default=0)
    # Pictures belong to the end of the run.
    by_step.setdefault(last, {}).update({tag: wandb.Image(str(path)) for tag, path in run.pictures.items()})
    for step in sorted(by_step):
        exported.log(by_step[step], step=step)
    exported.summary.update(run.facts | {"state": run.state})
    for path in run.files.values():
        exported.save(str(path), base_path=str(path.parent), policy="now")
    where = Path(exported.dir).parent
    exported.finish(exit_code=1 if run.state == "failed" else 0)
    return where


def to_mlflow(run, store, experiment):
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = need("mlflow")
    entities = need("mlflow.entities")
    if "://" not in store:
        Path(store).mkdir(parents=True, exist_ok=True)
        store = Path(store).resolve().as_uri()
    client = mlflow.MlflowClient(tracking_uri=store)
    found = client.get_experiment_by_name(experiment)
    number = found.experiment_id if found else client.create_experiment(experiment)
    for old in client.search_runs([number], filter_string=f"tags.`ulda.id` = '{run.id}'"):
        client.delete_run(old.info.run_id)
    times = [point.time for points in run.curves.values() for point in points] or [0.0]
    tags = {"ulda.id": run.id, "ulda.state": run.state} | {f"ulda.{key.replace(' ', '_')}": value for key, value in run.facts.items()}
    exported = client.create_run(number, start_time=int(min(times) * 1000), run_name=run.name, tags=tags).info
    metrics = [
        entities.Metric(tag, point.value, int(point.time * 1000), point.step) for tag, points in run.curves.items() for point in points
    ]
    params = [entities.Param(key, str(value)[:6000]) for key, value in run.settings.items()]
    for at in range(0, len(metrics), 1000):
        client.log_batch(exported.run_id, metrics=metrics[at : at + 1000])
    for at in range(0, len(params), 100):
        client.log_batch(exported.run_id, params=params[at : at + 100])
    for path in run.files.values():
        client.log_artifact(exported.run_id, str(path), "report" if path.parent.name == "report" else None)
    for tag, path in run.pictures.items():
        client.log_artifact(exported.run_id, str(path), str(Path(tag).parent))
    if run.state in STATUS:
        client.set_terminated(exported.run_id, STATUS[run.state], int(max(times) * 1000))
    return f"{store}: experiment {number}, run {exported.run_id}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--wandb", type=Path, metavar="FOLDER", help="write an offline run of Weights & Biases below it")
    parser.add_argument("--mlflow", metavar="STORE", help="write a run into this MLflow file store, or by this tracking URI")
    parser.add_argument("--project", default="ulda", help="W&B project and MLflow experiment (default: ulda)")
    args = parser.parse_args()
    if not (args.wandb or args.mlflow):
        parser.error("name --wandb FOLDER, --mlflow STORE or both")
    run = read(args.run)
    if args.wandb:
        print(to_wandb(run, args.wandb, args.project))
    if args.mlflow:
        print(to_mlflow(run, args.mlflow, args.project))


if __name__ == "__main__":
    main()
