"""The tarball holds what it needs and nothing else, Galaxy's importer takes it, and it deploys where nothing else is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from in_place import clone, playbooks
from installation import LYING_ABOUT, Installation, build, manifest, used_collections
from steps import CACHE, ROOT, tracked

#: What may lie at the root of the tarball, and below inventories.
ROOT_NAMES = {
    *("CHANGELOG.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md"),
    *("changelogs", "docs", "inventories", "meta", "playbooks", "plugins", "roles"),
}
COLLECTION = "residency.scheduler"


def test_it_holds_what_is_needed(texts: dict[str, str]) -> None:
    """Every file of plugins, roles and playbooks, the documents, and the example inventories."""
    folders = ("docs", "inventories/prod", "inventories/staging", "meta", "plugins", "roles", "playbooks")
    wanted = {str(path) for path in tracked(*folders) if not path.is_relative_to("playbooks/collections")}
    assert len(wanted) > 100
    assert wanted - set(texts) == set()


def test_it_holds_nothing_else(texts: dict[str, str]) -> None:
    """No tests, no tools, and nothing that lies about in a checkout."""
    assert {name.partition("/")[0] for name in texts} - ROOT_NAMES == set()
    assert set(texts) & set(LYING_ABOUT) == set()
    assert not [name for name, text in texts.items() if text == "canary\n"]
    assert not [name for name in texts if name.startswith("inventories/demo")], "it needs the test bed"


def test_dependencies_are_what_is_used(texts: dict[str, str]) -> None:
    """No collection is used that is not declared, and none is declared that is not used."""
    assert set(used_collections(texts)) == set(manifest(texts)["dependencies"])


@pytest.mark.parametrize(
    ("name", "line", "found"),
    [
        ("roles/server/tasks/host.yml", "  ansible.posix.mount: {}", {"ansible.posix"}),
        ("plugins/action/stage.py", "from ansible_collections.community.docker.plugins import x", {"community.docker"}),
        ("roles/awx/tasks/main.yml", "  awx.awx.project: {}", set()),
        ("roles/server/tasks/host.yml", "  awx.awx.project: {}", {"awx.awx"}),
        ("roles/server/tasks/host.yml", "  ansible.builtin.file: {}", set()),
        ("docs/server.md", "community.general.ufw", set()),
    ],
)
def test_a_used_collection_is_found(name: str, line: str, found: set[str]) -> None:
    """The check before would see one that is not declared."""
    assert set(used_collections({name: line})) == found


def test_the_importer_takes_it(tarball: Path, tmp_path: Path) -> None:
    """Galaxy's importer, which also lints, has nothing to say."""
    answer = ask_importer(tarball, tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Importer processing completed successfully" in answer.stdout
    assert not re.findall(r"^(?:WARNING|ERROR).*", answer.stdout, re.MULTILINE)


def test_the_importer_refuses_what_is_wrong(tmp_path: Path) -> None:
    """The check before can fail."""
    with clone() as folder:
        described = folder / "galaxy.yml"
        described.write_text(described.read_text(encoding="utf-8").replace("tags: [", "tags: [Not-A-Tag, "), encoding="utf-8")
        answer = ask_importer(build(folder, tmp_path), tmp_path)
    assert answer.returncode == 1
    assert "Not-A-Tag" in answer.stdout


def ask_importer(tarball: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Ask Galaxy's importer for its opinion; its result lands in *folder*."""
    venv = Path(sys.executable).parent
    settings = {**os.environ, "PATH": f"{venv}:{os.environ['PATH']}"}
    settings.pop("ANSIBLE_CONFIG", None)
    words = [sys.executable, "-m", "galaxy_importer.main", str(tarball)]
    return subprocess.run(words, cwd=folder, env=settings, capture_output=True, text=True, check=False)


def test_every_playbook_is_found_by_name(installation: Installation) -> None:
    """ansible-playbook residency.scheduler.NAME parses each with all its roles, where only what is declared is installed."""
    names = [name for name in playbooks() if name != "awx"]  # the optional one; see tests/awx
    answer = installation.run("ansible-playbook", "--syntax-check", "-i", "localhost,", *(f"{COLLECTION}.{name}" for name in names))
    assert answer.returncode == 0, answer.output
    folder = installation.collections / "ansible_collections/residency/scheduler/playbooks"
    assert re.findall(r"^playbook: (.*)", answer.output, re.MULTILINE) == [str(folder / f"{name}.yml") for name in names]


def test_a_lacking_dependency_is_told(installation: Installation) -> None:
    """The test before would see one that is not declared."""
    posix = installation.collections / "ansible_collections/ansible/posix"
    aside = installation.folder / "posix"
    shutil.move(posix, aside)
    try:
        answer = installation.run("ansible-playbook", "--syntax-check", "-i", "localhost,", f"{COLLECTION}.deploy")
    finally:
        shutil.move(aside, posix)
    assert answer.returncode != 0
    assert "ansible.posix.authorized_key" in answer.output


@pytest.mark.parametrize(("kind", "pattern"), [("module", "plugins/modules/*.py"), ("role", "roles/*")])
def test_everything_is_documented(installation: Installation, kind: str, pattern: str) -> None:
    """ansible-doc knows each module and role."""
    names = sorted(f"{COLLECTION}.{path.stem}" for path in ROOT.glob(pattern))
    answer = installation.run("ansible-doc", "--type", kind, "--json", *names)
    assert answer.returncode == 0, answer.output
    told = json.loads(answer.output[answer.output.index("{") :])
    described = {name for name, entry in told.items() if entry.get("doc") or entry.get("entry_points")}
    assert described == set(names)
    assert len(names) > 10


@pytest.mark.long
def test_the_demonstration_runs_from_it(installation: Installation, inventory: Path) -> None:
    """A bare server, deployed by the installed collection; a second run changes nothing; every check passes."""
    settings = {"RESIDENCY_CACHE": str(CACHE), "ANSIBLE_PIPELINING": "true"}
    for name, changes in (("deploy", True), ("deploy", False), ("verify", False)):
        answer = installation.run("ansible-playbook", f"{COLLECTION}.{name}", "-i", str(inventory), timeout=900, **settings)
        assert answer.returncode == 0, answer.output[-5000:]
        (changed,) = re.findall(r" changed=(\d+) ", answer.output)
        assert (int(changed) > 0) is changes, answer.output[-5000:]
