"""The collection's tarball, and an environment in which nothing but it and what it declares is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps import ROOT

SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
#: What a controller installs by pip, as README.md says.
PACKAGES = ("ansible-core", "squawk-cli")
#: Collections that a playbook may need without every user needing it: where their names may stand.
OPTIONAL = {"awx.awx": ("playbooks/awx.yml", "roles/awx/")}
#: What lies about in the checkout of somebody who develops and deploys from it.
LYING_ABOUT = (
    ".env",
    ".venv/bin/python",
    ".cache/logs/units.log",
    ".ansible/tmp/payload",
    "importer_result.json",
    "inventories/prod/group_vars/scheduler/vault.yml",
    "molecule/x/vault.yml",
    "playbooks/vault.yml",
    "plugins/modules/__pycache__/stage.cpython-311.pyc",
    "reports/deployment.html",
    "residency-scheduler-0.0.1.tar.gz",
    "tests/output/x.xml",
)
_OWN = r"ansible\.(?!builtin\b|legacy\b|module_utils\b|plugins\b)"
_COLLECTIONS = re.compile(rf"\b((?:{_OWN}|awx\.|community\.|containers\.|grafana\.)[a-z_0-9]+)\.[a-z_0-9]+\b")


def build(folder: Path, to: Path) -> Path:
    """Build the collection that lies in *folder*, and return the tarball."""
    words = [str(Path(sys.executable).parent / "ansible-galaxy"), "collection", "build", "--force", "--output-path", str(to), str(folder)]
    answer = subprocess.run(words, cwd=to, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (tarball,) = to.glob("*.tar.gz")
    return tarball


def files(tarball: Path) -> dict[str, str]:
    """Return the text of each file in a tarball by its name."""
    with tarfile.open(tarball) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        return {member.name: archive.extractfile(member).read().decode("utf-8", "replace") for member in members}  # type: ignore[union-attr]


def manifest(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what the tarball says of itself. Pure."""
    return dict(json.loads(texts["MANIFEST.json"])["collection_info"])


def used_collections(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the collections that tasks and plugins name, each with a file that does. Pure."""
    used: dict[str, str] = {}
    for name, text in texts.items():
        if not name.startswith(("playbooks/", "plugins/", "roles/")) or name.endswith(".md"):
            continue
        for collection in _COLLECTIONS.findall(text):
            if not name.startswith(OPTIONAL.get(collection, ("no file",))):
                used.setdefault(collection, name)
    return used


def copy_collections(names: Iterable[str], to: Path) -> None:
    """Copy collections, and what they depend on, from the development venv to where Ansible looks for collections."""
    needed = {*names}
    for name in names:
        needed |= set(json.loads((_installed(name) / "MANIFEST.json").read_text(encoding="utf-8"))["collection_info"]["dependencies"])
    for name in needed:
        shutil.copytree(_installed(name), to / "ansible_collections" / name.replace(".", "/"))


@dataclass(frozen=True)
class Answer:
    """Exit code, -1 where it took too long, and all that was printed."""

    returncode: int
    output: str


@dataclass(frozen=True)
class Installation:
    """A fresh folder with a venv of its own, the installed collection and its dependencies.

    :ivar collections: the only place in which Ansible looks for collections.
    """

    folder: Path
    collections: Path

    @classmethod
    def make(cls, folder: Path, tarball: Path, dependencies: Iterable[str]) -> Installation:
        """Install *tarball*, and copies of the development venv's collections in place of Galaxy's."""
        collections, venv = folder / "collections", folder / "venv"
        copy_collections(dependencies, collections)
        (folder / "empty").mkdir()
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin/pip"), "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--constraint", str(ROOT / "requirements/dev.txt"), *PACKAGES], check=True)
        installation = cls(folder, collections)
        # With --no-deps it would also install what lacks one.
        answer = installation.run("ansible-galaxy", "collection", "install", "--offline", "-p", str(collections), str(tarball))
        assert answer.returncode == 0, answer.output
        return installation

    def run(self, *words: str, timeout: float = 600, **variables: str) -> Answer:
        """Run a command of its venv in an empty folder, with no settings of anybody's."""
        environment = {name: os.environ[name] for name in ("LANG", "RESIDENCY_BED_GIT") if name in os.environ}
        environment |= {
            "PATH": f"{self.folder / 'venv/bin'}:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
            **variables,
        }
        command = [str(self.folder / "venv/bin" / words[0]), *words[1:]]
        folder = self.folder / "empty"
        with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
            # A file, not a pipe: what it printed is shown where it takes too long.
            running = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
            try:
                code = running.wait(timeout)
            except subprocess.TimeoutExpired:
                running.kill()
                code = -1
            told.seek(0)
            answer = Answer(code, told.read())
        assert not list(folder.iterdir()), "a run left something in the current folder"
        return answer


def _installed(name: str) -> Path:
    return SITE_PACKAGES / "ansible_collections" / name.replace(".", "/")
