"""Build the execution environment of execution-environment.yml, and look whether every playbook is found in it.

Here its base image is the test bed's, and the collections come from the venv, where a user's build asks a registry and Galaxy.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from in_place import COLLECTION, Failure, call, clone, playbooks
from steps import ROOT

sys.path.insert(0, str(ROOT / "tests/package"))
from installation import build, copy_collections, files, manifest

IMAGE = "residency-scheduler-ee:local"
BASE = {"EE_BASE_IMAGE": "residency-bed/python:3.11", "PYCMD": "/usr/bin/python3"}


def offline(definition: dict[str, Any]) -> dict[str, Any]:
    """Return the definition with the collections of the folder ``dependencies`` in place of Galaxy's. Pure."""
    changed: dict[str, Any] = json.loads(json.dumps(definition))
    # Without the entry, the builder would not take over what that stage has installed.
    changed["dependencies"]["galaxy"] = {"collections": []}
    changed["additional_build_files"].append({"src": "dependencies", "dest": "dependencies"})
    copied = "COPY _build/dependencies/ansible_collections /usr/share/ansible/collections/ansible_collections"
    changed["additional_build_steps"]["append_galaxy"].insert(0, copied)
    return changed


def make(folder: Path) -> None:
    """Build the image."""
    with clone() as checkout:
        tarball = build(checkout, folder)
    names = manifest(files(tarball))["dependencies"]
    definition = yaml.safe_load((ROOT / "execution-environment.yml").read_text(encoding="utf-8"))
    wanted = yaml.safe_load((ROOT / definition["dependencies"]["galaxy"]).read_text(encoding="utf-8"))["collections"]
    if {entry["name"]: entry["version"] for entry in wanted} != names:
        raise Failure(f"{definition['dependencies']['galaxy']} asks for {wanted}, galaxy.yml for {names}")
    copy_collections(names, folder / "dependencies")
    (folder / "execution-environment.yml").write_text(yaml.safe_dump(offline(definition), width=1000), encoding="utf-8")
    call(["ansible-builder", "create", "-f", "execution-environment.yml", "-c", "context"], folder)
    arguments = [word for name, value in BASE.items() for word in ("--build-arg", f"{name}={value}")]
    call(["docker", "build", "--quiet", "--tag", IMAGE, *arguments, "context"], folder)
    shutil.rmtree(folder / "context")


def inside(*words: str) -> str:
    """Run a command in the image as AWX does: as a user without a name, in an empty folder, without a network."""
    run = ["docker", "run", "--rm", "--network", "none", "--user", "1000:0", "--workdir", "/tmp", IMAGE]
    answer = subprocess.run([*run, *words], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise Failure(f"in the image: {' '.join(words)}: exit code {answer.returncode}\n{answer.stdout}{answer.stderr}")
    return answer.stdout


def prove() -> None:
    """Raise Failure unless the image has all that a run needs."""
    names = [name for name in playbooks() if name != "awx"]  # its collection is not in the image
    told = inside("ansible-playbook", "--syntax-check", "-i", "localhost,", *(f"{COLLECTION}.{name}" for name in names))
    found = [Path(path).stem for path in re.findall(r"^playbook: (.*)", told, re.MULTILINE)]
    if found != names:
        raise Failure(f"the image finds {found}, not {names}")
    for words in (["git", "--version"], ["ssh", "-V"], ["squawk", "--version"], ["ansible-runner", "--version"]):
        inside(*words)
    try:
        inside("ansible-playbook", "--syntax-check", "-i", "localhost,", f"{COLLECTION}.no_such_playbook")
    except Failure:
        print(f"{IMAGE}: {len(names)} playbooks are found, and one that does not exist is not")
    else:
        raise Failure("a playbook that does not exist was found")


def main() -> int:
    """Build and prove; 1 if anything failed."""
    try:
        with tempfile.TemporaryDirectory(prefix="residency-image-") as name:
            make(Path(name))
        prove()
    except (Failure, AssertionError) as failure:
        print(f"FAILED  {failure}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
