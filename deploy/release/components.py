"""What the shipped programs consist of, from Cargo's own metadata and libtorch's wheels.

    components.py sbom OUT.json              a CycloneDX 1.6 list of components with versions, licences, sums and dependencies
    components.py licences OUT.txt           the licence texts of all of them
    components.py check SBOM.json            fails where a list is not valid, with CycloneDX's own schema

Reads Cargo.toml and Cargo.lock, the crates in cargo's cache, and the libtorch that LIBTORCH or .cargo/config.toml names. Only
normal dependencies of coordinator, worker and streets on Linux count: what only builds or tests them is not shipped."""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ["ulda-coordinator", "ulda-worker", "ulda-streets"]
TEXTS = re.compile(r"^(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)
# What libtorch's folder brings beside PyTorch, and under which licence.
LIBTORCH_LICENCES = {"torch": "BSD-3-Clause", "nvidia": "LicenseRef-NVIDIA-CUDA-Toolkit", "triton": "MIT"}
SHIPPED_WHEELS = re.compile(r"^(torch|nvidia_\w+)-([\w.]+)\.dist-info$")


def fail(text, hint):
    sys.exit(f"error: {text}\n  hint: {hint}")


@functools.cache
def metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


@functools.cache
def crates():
    """Packages that are shipped by id, and the ids that each depends on."""
    packages = {package["id"]: package for package in metadata()["packages"]}
    nodes = {node["id"]: node for node in metadata()["resolve"]["nodes"]}
    open_ids = [key for key, package in packages.items() if package["name"] in PROGRAMS]
    needs = {}
    while open_ids:
        key = open_ids.pop()
        if key in needs:
            continue
        needs[key] = [dep["pkg"] for dep in nodes[key]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        open_ids += needs[key]
    return {key: packages[key] for key in sorted(needs, key=lambda key: (packages[key]["name"], packages[key]["version"]))}, needs


def libtorch_folder():
    named = os.environ.get("LIBTORCH")
    if not named:
        named = tomllib.loads((ROOT / ".cargo/config.toml").read_text())["env"]["LIBTORCH"]
    return Path(named).resolve().parent


@functools.cache
def wheels():
    """Name, version and licence files of each wheel that libtorch's folder is made of."""
    folder, found = libtorch_folder(), []
    for info in sorted(folder.glob("*.dist-info")):
        if match := SHIPPED_WHEELS.match(info.name):
            texts = {path.name: path.read_text(errors="replace") for path in sorted((info / "licenses").glob("*")) if path.is_file()}
            found.append((match[1], match[2], texts))
    if found:
        return found
    # The subset for CPUs is taken out of three wheels, which the cache keeps.
    cache = folder.parents[1] / "wheels"
    for line in (ROOT / "deploy/libtorch/SHA256SUMS").read_text().splitlines():
        name = line.split()[1]
        if name.endswith(".whl"):
            if not (cache / name).is_file():
                fail(f"`{cache / name}` is not there, so that its licence cannot be read", f"remove `{folder}`, then `deploy/libtorch/fetch` fetches it again")
            with zipfile.ZipFile(cache / name) as wheel:
                members = [member for member in wheel.namelist() if ".dist-info/licenses/" in member and not member.endswith("/")]
                texts = {member.split("/licenses/")[1]: wheel.read(member).decode(errors="replace") for member in members}
            package, version = name.split("-")[:2]
            found.append((package, version, texts))
    return found


def licence_of(wheel):
    return LIBTORCH_LICENCES[wheel.split("_")[0]]


def sums():
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    return {(package["name"], package["version"]): package.get("checksum") for package in locked}


def expression(package):
    """A licence as SPDX has it today; older crates write `/` for OR."""
    return re.sub(r"\s*/\s*", " OR ", package["license"])


def sbom(out):
    packages, needs = crates()
    checksums = sums()
    version = next(package["version"] for package in packages.values() if package["name"] == "ulda-coordinator")

    def purl(package):
        return f"pkg:cargo/{package['name']}@{package['version']}"

    components, dependencies = [], []
    for key, package in packages.items():
        component = {"type": "library", "bom-ref": purl(package), "name": package["name"], "version": package["version"], "purl": purl(package)}
        component["licenses"] = [{"expression": expression(package)}]
        if package["name"] in PROGRAMS:
            component["type"] = "application"
        if checksum := checksums[package["name"], package["version"]]:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["repository"]:
            component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        components.append(component)
        dependencies.append({"ref": purl(package), "dependsOn": sorted(purl(packages[other]) for other in needs[key])})
    refs = []
    for name, wheel_version, _ in wheels():
        ref = f"pkg:pypi/{name.replace('_', '-')}@{wheel_version}"
        refs.append(ref)
        spdx = licence_of(name)
        licence = {"license": {"name": spdx.removeprefix("LicenseRef-")}} if spdx.startswith("LicenseRef-") else {"license": {"id": spdx}}
        components.append({"type": "library", "bom-ref": ref, "name": name, "version": wheel_version, "purl": ref, "licenses": [licence]})
        dependencies.append({"ref": ref, "dependsOn": []})
    worker = next(entry for entry in dependencies if entry["ref"].startswith("pkg:cargo/ulda-worker@"))
    worker["dependsOn"] = sorted(worker["dependsOn"] + refs)
    root = f"pkg:generic/ulda@{version}"
    dependencies.append({"ref": root, "dependsOn": sorted(component["bom-ref"] for component in components if component["type"] == "application")})
    content = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": root, "name": "ulda", "version": version, "licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": components,
        "dependencies": dependencies,
    }
    # The same components give the same list: its number is made from them.
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
    content["serialNumber"] = f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}"
    Path(out).write_text(json.dumps(content, indent=1) + "\n")
    print(f"{out}: {len(components)} components")


def licences(out):
    packages, _ = crates()
    texts, without = {}, []
    for package in packages.values():
        if package["source"] is None:
            continue
        label = f"{package['name']} {package['version']} ({expression(package)})"
        files = sorted(path for path in Path(package["manifest_path"]).parent.iterdir() if TEXTS.match(path.name) and path.is_file())
        if not files:
            without.append(label)
        for path in files:
            texts.setdefault(path.read_text(errors="replace").strip(), []).append(label)
    for name, version, files in wheels():
        if not files:
            fail(f"{name} {version} has no licence text", "look into its wheel")
        for text in files.values():
            texts.setdefault(text.strip(), []).append(f"{name} {version} ({licence_of(name)})")
    parts = [
        "Third-party software in coordinator, worker and streets, and in the image `worker`.\n\n"
        "Each text is headed by what it applies to. The NVIDIA libraries are in the image only.\n"
    ]
    for text, labels in sorted(texts.items(), key=lambda item: item[1][0].lower()):
        parts.append("=" * 100 + "\n" + "\n".join(sorted(set(labels))) + "\n" + "-" * 100 + "\n" + text + "\n")
    if without:
        parts.append("=" * 100 + "\nTheir packages hold no text; the licence is the one in parentheses:\n" + "\n".join(without) + "\n")
    Path(out).write_text("\n".join(parts))
    print(f"{out}: {len(texts)} texts for {len(packages)} crates and {len(wheels())} libraries; {len(without)} crates have none in their package")


def check(path):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = Path(path).read_text()
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"error: {path} is not valid CycloneDX 1.6: {error}")
    content = json.loads(text)
    refs = {component["bom-ref"] for component in content["components"]} | {content["metadata"]["component"]["bom-ref"]}
    named = {ref for entry in content["dependencies"] for ref in [entry["ref"], *entry["dependsOn"]]}
    if refs != named:
        sys.exit(f"error: {path} names components that it does not list, or vice versa: {sorted(refs ^ named)[:5]}")
    print(f"{path}: valid CycloneDX 1.6 with {len(refs)} components")


match sys.argv[1:]:
    case ["sbom", out]:
        sbom(out)
    case ["licences", out]:
        licences(out)
    case ["check", path]:
        check(path)
    case _:
        sys.exit(__doc__)
