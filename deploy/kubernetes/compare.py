"""Compares renderings of a run.

config FILE            prints the run.toml of a rendering
same [--but-config] A B    fails where two renderings differ in what matters
custom FILE...         checks custom resources: nothing may be lost on the way through their own models
options FILE VALUES    fails where the chart's rendering with the options of VALUES lacks one of them
settings VALUES        prints the chart's values that `coordinator submit` takes as pod settings
monitoring FILE        fails where a rendering's rules and dashboard are not those of the repository, or where there is anything else
"""

import json
import sys
from pathlib import Path

import yaml
from kubeflow_trainer_api import models

CUSTOM = {
    "JobSet": models.JobsetV1alpha2JobSet,
    "TrainJob": models.TrainerV1alpha1TrainJob,
    "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
}
# Who made an object, and which submission it was of, may differ.
OWN = ["app.kubernetes.io/managed-by", "app.kubernetes.io/part-of", "app.kubernetes.io/version", "helm.sh/chart", "ulda/submission", "ulda/rendered"]


def objects(path):
    with open(path) as file:
        return {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(file) if item}


def tidy(value):
    """What a cluster takes for the same is the same here."""
    if isinstance(value, dict):
        tidied = {key: tidy(inner) for key, inner in value.items() if key not in OWN}
        return {key: inner for key, inner in tidied.items() if inner is not None and not (key == "annotations" and not inner)}
    if isinstance(value, list):
        tidied = [tidy(inner) for inner in value]
        if tidied and all(isinstance(inner, dict) and "name" in inner for inner in tidied):
            return sorted(tidied, key=lambda inner: inner["name"])
        return tidied
    return value


def differences(at, one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(set(one) | set(other)):
            yield from differences(f"{at}.{key}", one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other)):
            yield from differences(f"{at}[{index}]", left, right)
    elif one != other:
        yield f"{at}: {one!r} and {other!r}"


def same(one, other, but_config):
    left, right = ({key: tidy(item) for key, item in objects(path).items()} for path in (one, other))
    for side in (left, right):
        # Only `submit` makes credentials and keeps a record of what it submitted; a chart is given its namespace from outside.
        for key in [key for key in side if key[1].endswith("-submitted") or key[0] == "Secret"]:
            del side[key]
        for item in side.values():
            item["metadata"].pop("namespace", None)
            if but_config and item["kind"] == "ConfigMap":
                item.pop("data")
    if but_config:
        # Threads stand in run.toml, or are left to the coordinator.
        for item in left.values():
            for container in containers(item):
                container["env"] = [each for each in container["env"] if not each["name"].endswith(("THREADS_PER_SHARD", "OMP_NUM_THREADS"))]
    found = [f"only in one: {key}" for key in sorted(set(left) ^ set(right))]
    for key in sorted(set(left) & set(right)):
        found += differences(f"{key[0]} {key[1]}", left[key], right[key])
    for line in found:
        print(f"{one} and {other} differ: {line}")
    return not found


def containers(value):
    if isinstance(value, dict):
        yield from value.get("containers", [])
        for inner in value.values():
            yield from containers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from containers(inner)


def custom(paths):
    seen, whole = set(), True
    for path in paths:
        for (kind, name), item in objects(path).items():
            if kind not in CUSTOM:
                continue
            seen.add(kind)
            kept = CUSTOM[kind].from_dict(item).to_dict()
            # A model may add a default; it may not lose or change anything.
            lost = [line for line in differences(kind, tidy(item), tidy(kept)) if ": None and " not in line]
            for line in lost:
                print(f"{path}: {kind} {name} does not survive its own model: {line}")
            whole = whole and not lost
    missing = set(CUSTOM) - seen
    if missing:
        print(f"not rendered: {sorted(missing)}")
    return whole and not missing


def pods(rendering):
    """The pod template and the values' section of each role."""
    return {"coordinator": rendering["StatefulSet", "ulda-coordinator"]["spec"]["template"], "workers": rendering["Job", "ulda-worker"]["spec"]["template"]}


def options(path, values_path):
    rendering, values = objects(path), yaml.safe_load(Path(values_path).read_text())
    lacking = []

    def need(what, holds):
        if not holds:
            lacking.append(what)

    for role, template in pods(rendering).items():
        given, spec = values[role], template["spec"]
        container = spec["containers"][0]
        for key in ["affinity", "topologySpreadConstraints", "priorityClassName", "nodeSelector"]:
            need(f"{role}.{key}", spec.get(key) == given[key])
        for key, place in [("tolerations", spec), ("volumes", spec), ("env", container), ("volumeMounts", container)]:
            need(f"{role}.{key}", all(one in place[key] for one in given[key]))
        for key in ["labels", "annotations"]:
            need(f"{role}.{key}", given[key].items() <= template["metadata"][key].items())
        image = given["image"] if given["image"].get("repository") else values["image"]
        whole = f"{image['repository']}@{image['digest']}" if image.get("digest") else f"{image['repository']}:{image['tag']}"
        need(f"{role}.image", container["image"] == whole and container.get("imagePullPolicy") == image.get("pullPolicy"))
        need("imagePullSecrets", spec["imagePullSecrets"] == values["imagePullSecrets"])
        need("user: null", not {"runAsUser", "runAsGroup", "fsGroup"} & set(spec["securityContext"]) and spec["securityContext"]["runAsNonRoot"])
        budget = rendering.get(("PodDisruptionBudget", f"ulda-{role.removesuffix('s')}"), {"spec": {}})["spec"]
        need(f"{role}.disruptionBudget", budget.get("maxUnavailable") == given["disruptionBudget"]["maxUnavailable"])
        need(f"{role}: its budget's selector", budget.get("selector", {}).get("matchLabels", {"": ""}).items() <= template["metadata"]["labels"].items())
        for key, name in [("cpu", "cpu"), ("memory", "memory"), ("ephemeralStorage", "ephemeral-storage")]:
            need(f"{role}.{key}", container["resources"]["requests"][name] == str(given[key]))
    shm = [one for one in rendering["Job", "ulda-worker"]["spec"]["template"]["spec"]["volumes"] if one["name"] == "shm"]
    need("workers.shm", shm[0]["emptyDir"]["sizeLimit"] == str(values["workers"]["shm"]))
    monitor = rendering["PodMonitor", "ulda-coordinator"]
    need("podMonitor.labels", values["monitoring"]["podMonitor"]["labels"].items() <= monitor["metadata"]["labels"].items())
    need("podMonitor.interval", all(one["interval"] == values["monitoring"]["podMonitor"]["interval"] for one in monitor["spec"]["podMetricsEndpoints"]))
    standard = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/part-of", "app.kubernetes.io/managed-by", "helm.sh/chart"}
    for key, item in rendering.items():
        need(f"standard labels of {key}", standard <= set(item["metadata"]["labels"]))
    for line in lacking:
        print(f"{path} lacks {line}")
    return not lacking


# What `submit` takes as arguments, or the chart alone has.
NO_SETTINGS = {"": ["user", "monitoring"], "image": ["repository", "tag"], "workers": ["cpu", "memory", "disruptionBudget"], "coordinator": ["disruptionBudget"]}


def settings(values_path):
    values = yaml.safe_load(Path(values_path).read_text())
    for section, keys in NO_SETTINGS.items():
        for key in keys:
            (values[section] if section else values).pop(key)
    return yaml.safe_dump(values)


def monitoring(path):
    rendering = objects(path)
    repository = Path(__file__).resolve().parents[1]
    good = set(rendering) == {("PrometheusRule", "ulda-rules"), ("ConfigMap", "ulda-dashboard")}
    good = good and rendering["PrometheusRule", "ulda-rules"]["spec"] == yaml.safe_load((repository / "prometheus/rules.yml").read_text())
    good = good and json.loads(rendering["ConfigMap", "ulda-dashboard"]["data"]["ulda.json"]) == json.loads((repository / "grafana/ulda.json").read_text())
    if not good:
        print(f"{path}: rules or dashboard are not those of the repository, or there is more: {sorted(rendering)}")
    return good


match sys.argv[1:]:
    case ["config", path]:
        print(next(item for key, item in objects(path).items() if key[1].endswith("-config"))["data"]["run.toml"], end="")
        good = True
    case ["same", "--but-config", one, other]:
        good = same(one, other, True)
    case ["same", one, other]:
        good = same(one, other, False)
    case ["options", path, values]:
        good = options(path, values)
    case ["settings", values]:
        print(settings(values), end="")
        good = True
    case ["monitoring", path]:
        good = monitoring(path)
    case ["custom", *paths]:
        good = custom(paths)
    case _:
        sys.exit(__doc__)
sys.exit(0 if good else 1)
