"""Reads what deploy/trackers/export.py wrote with the trackers' own packages and compares it with the run's report."""

import argparse
import json
import math
import pathlib
import struct
import sys
import zlib

import mlflow
from wandb.proto import wandb_internal_pb2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tensorboard"))
from compare import expected  # noqa: E402


def same(found, wanted):
    """Whether two curves have the same steps and values; NaN is NaN."""
    return len(found) == len(wanted) and all(
        a[0] == b[0] and (a[1] == b[1] or math.isnan(a[1]) and math.isnan(b[1])) for a, b in zip(found, wanted)
    )


def number(text):
    return float(text) if isinstance(text, (int, float)) else {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[text]


def records(path):
    """The records of an offline run, as W&B's own messages. Its file is a log of LevelDB: blocks of 32 KiB with fragments, each behind
    checksum, length and place (1 whole, 2 first, 3 middle, 4 last). The package has no reader of it in Python."""
    data, at, whole = path.read_bytes(), 7, b""
    require(data[:6] == b":W&B\xe1\xbe", f"{path} is no file of W&B: it begins with {data[:7]}")
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        checksum, length, place = struct.unpack_from("<IHB", data, at)
        fragment = data[at + 7 : at + 7 + length]
        require(zlib.crc32(bytes([place]) + fragment) == checksum, f"{path} is damaged at byte {at}")
        whole += fragment
        at += 7 + length
        if place in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def from_wandb(folder):
    """Curves, configuration, summary, exit code and saved files of an offline run."""
    found = {"curves": {}, "config": {}, "summary": {}, "files": set(), "pictures": set()}
    for record in records(next(folder.glob("run-*.wandb"))):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["id"] = record.run.run_id
            found["config"] |= {update.key: json.loads(update.value_json) for update in record.run.config.update}
        elif kind == "history":
            for item in record.history.item:
                # A picture is a table of its own, whose path, size and sum may come one by one.
                key, *inner = list(item.nested_key) or [item.key]
                value = json.loads(item.value_json)
                if inner or isinstance(value, dict):
                    found["pictures"].add(key)
                elif not key.startswith("_"):
                    found["curves"].setdefault(key, []).append((record.history.step.num, number(value)))
        elif kind == "summary":
            found["summary"] |= {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.summary.update}
        elif kind == "files":
            found["files"] |= {file.path for file in record.files.files}
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def from_mlflow(folder):
    client = mlflow.MlflowClient(tracking_uri=folder.resolve().as_uri())
    runs = client.search_runs([client.get_experiment_by_name("ulda").experiment_id])
    if len(runs) != 1:
        sys.exit(f"error: {folder} has {len(runs)} runs, although the second export replaces the first")
    (run,) = runs
    curves = {}
    for tag in run.data.metrics:
        curves[tag] = sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, tag))
    files = {entry.path for folder in ["", "report"] for entry in client.list_artifacts(run.info.run_id, folder)}
    pictures = {
        entry.path.removesuffix(".png")
        for example in client.list_artifacts(run.info.run_id, "examples")
        for entry in client.list_artifacts(run.info.run_id, example.path)
    }
    return {"curves": curves, "params": run.data.params, "tags": run.data.tags, "status": run.info.status, "files": files, "pictures": pictures}


def require(holds, text):
    if not holds:
        sys.exit(f"error: {text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["run", "wandb", "mlflow"]:
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    report = json.loads((arguments.run / "report/report.json").read_text())
    wanted = expected(report)
    pictures = {f"examples/{path.parent.name}/{path.stem}" for path in (arguments.run / "examples").rglob("*.png")}
    offline = [from_wandb(folder) for folder in sorted((arguments.wandb / "wandb").glob("offline-run-*"))]
    require(len(offline) == 2 and offline[0]["id"] == offline[1]["id"], "two exports of a run are one run to W&B, by its id")
    wandb, stored = offline[-1], from_mlflow(arguments.mlflow)
    for name, found in [("W&B", wandb), ("MLflow", stored)]:
        for tag, points in wanted.items():
            got = found["curves"].get(tag, [])
            require(same(got, points), f"{name} has {tag} as\n{got[:5]}…\nand the report as\n{points[:5]}…")
        require(found["pictures"] == pictures and pictures, f"{name} has the pictures {sorted(found['pictures'])}, not {sorted(pictures)}")
        require({"run.toml", "report.json"} <= {pathlib.Path(file).name for file in found["files"]}, f"{name} has only {found['files']}")
        require(not any("token" in file or ".key" in file for file in found["files"]), f"{name} has credentials: {found['files']}")
        print(f"{name}: {len(found['curves'])} curves with {sum(map(len, found['curves'].values()))} points, {len(pictures)} pictures, as in the report")
    digest = report["digests"]["final state"]
    require(wandb["config"]["adapt.steps"] == 60 and stored["params"]["adapt.steps"] == "60", "the configuration has adapt.steps")
    require(wandb["summary"]["digest.final state"] == digest == stored["tags"]["ulda.digest.final_state"], "the final state's digest")
    require(wandb["summary"]["state"] == "finished" and wandb["exit"] == 0 and stored["status"] == "FINISHED", "the run's end")


main()
