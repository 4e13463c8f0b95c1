"""The tarball, and where it is installed.

RESIDENCY_PACKAGE_INVENTORY names the inventory of a server to deploy to; without it one is made and removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_place import clone
from installation import LYING_ABOUT, Installation, build, files, manifest
from steps import ROOT

BED = [sys.executable, str(ROOT / "tests/bed/bed.py")]
NAME = "residency-package"


@pytest.fixture(name="tarball", scope="session")
def tarball_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tarball, built of a checkout in which also lies what must not get into it."""
    with clone() as folder:
        for name in LYING_ABOUT:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("canary\n", encoding="utf-8")
        return build(folder, tmp_path_factory.mktemp("tarball"))


@pytest.fixture(name="texts", scope="session")
def texts_fixture(tarball: Path) -> dict[str, str]:
    """The text of each file in the tarball."""
    return files(tarball)


@pytest.fixture(name="installation", scope="session")
def installation_fixture(tarball: Path, texts: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The tarball with the dependencies that it declares, and nothing else."""
    return Installation.make(tmp_path_factory.mktemp("installation"), tarball, manifest(texts)["dependencies"])


@pytest.fixture(name="inventory", scope="session")
def inventory_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An inventory with a bare server."""
    given = os.environ.get("RESIDENCY_PACKAGE_INVENTORY")
    if given:
        yield ROOT / given
        return
    folder = tmp_path_factory.mktemp("inventory")
    try:
        subprocess.run([*BED, "repository"], check=True, capture_output=True, cwd=ROOT)
        subprocess.run([*BED, "up", NAME, "--debian", "12", "--fresh"], check=True, capture_output=True, cwd=ROOT)
        answer = subprocess.run([*BED, "inventory", NAME], check=True, capture_output=True, text=True, cwd=ROOT)
        hosts = {"all": {"children": {"scheduler": {"hosts": json.loads(answer.stdout)}}}}
        (folder / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
        (folder / "group_vars").symlink_to(ROOT / "inventories/demo/group_vars")
        yield folder
    finally:
        subprocess.run([*BED, "down", NAME], check=False, capture_output=True, cwd=ROOT)
