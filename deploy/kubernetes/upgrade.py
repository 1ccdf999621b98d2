"""Renders an upgrade of the chart against an API server that has the workers' Job already: one whose pods stay as they are must
pass, one that would change them must be refused with a way out.

    upgrade.py HELM CHART RUN_TOML"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading

import yaml

helm, chart, config = sys.argv[1:]
JOBS = "/apis/batch/v1/namespaces/default/jobs/ulda-worker"
# What discovery tells of the kinds that the chart renders.
KINDS = {
    "v1": ["ConfigMap", "Secret", "Service"],
    "apps/v1": ["StatefulSet"],
    "batch/v1": ["Job"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
}


def plural(kind):
    return kind.lower().removesuffix("y") + ("ies" if kind.endswith("y") else "s")


def discovered(version, kinds):
    resources = [{"name": plural(kind), "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get"]} for kind in kinds]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def group(version):
    one = {"groupVersion": version, "version": version.split("/")[1]}
    return {"name": version.split("/")[0], "versions": [one], "preferredVersion": one}


ANSWERS = {
    "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(version) for version in KINDS if "/" in version]},
    **{f"/{'apis' if '/' in version else 'api'}/{version}": discovered(version, kinds) for version, kinds in KINDS.items()},
}


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = ANSWERS.get(self.path.split("?")[0])
        body = json.dumps(answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def render(*flags):
    command = [helm, "template", "ulda", chart, "--namespace", "default", "--set-file", f"config={config}", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


first = render()
assert first.returncode == 0, first.stderr
ANSWERS[JOBS] = next(item for item in yaml.safe_load_all(first.stdout) if item and item["kind"] == "Job")

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
context = {"cluster": "one", "user": "one"}
kubeconfig = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "one", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
    "users": [{"name": "one", "user": {}}],
    "contexts": [{"name": "one", "context": context}],
    "current-context": "one",
}
with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
    yaml.safe_dump(kubeconfig, file)
    file.flush()
    os.environ["KUBECONFIG"] = file.name
    server_side = ("--dry-run=server", "--is-upgrade", "--disable-openapi-validation")
    same = render(*server_side, "--set", "coordinator.memory=2Gi")
    assert same.returncode == 0, same.stderr
    changed = render(*server_side, "--set", "workers.memory=32Gi")
    assert changed.returncode != 0, "an upgrade that changes the Job's pods was rendered"
    wanted = "hint: `kubectl delete job ulda-worker -n default`, then upgrade again"
    assert wanted in changed.stderr, changed.stderr
    del ANSWERS[JOBS]
    assert render(*server_side, "--set", "workers.memory=32Gi").returncode == 0, "after its deletion the upgrade passes"
print("an upgrade that would change the pods of a Job is refused, with a way out; others pass")
