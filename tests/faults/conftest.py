"""The server that the faults happen to, with two good releases.

RESIDENCY_FAULTS_INVENTORY names the inventory of a server that is there already; without it one is made and removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from deployed_server import ROOT, Server
from play import NAME, play

BED = [sys.executable, str(ROOT / "tests/bed/bed.py")]


@pytest.fixture(name="server", scope="session")
def server_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which v0.9.0 serves, and v1.0.0 was deployed before, so that no run has to build anything."""
    os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    given = os.environ.get("RESIDENCY_FAULTS_INVENTORY")
    folder = ROOT / given if given else tmp_path_factory.mktemp("inventory")
    try:
        if not given:
            subprocess.run([*BED, "repository"], check=True, capture_output=True, cwd=ROOT)
            subprocess.run([*BED, "up", NAME, "--debian", "12", "--fresh"], check=True, capture_output=True, cwd=ROOT)
            answer = subprocess.run([*BED, "inventory", NAME], check=True, capture_output=True, text=True, cwd=ROOT)
            hosts = {"all": {"children": {"scheduler": {"hosts": json.loads(answer.stdout)}}}}
            (folder / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
            (folder / "group_vars").symlink_to(ROOT / "inventories/demo/group_vars")
        server = Server(folder, tmp_path_factory.mktemp("reports"))
        for playbook in [] if given else FIRST:
            done = play(server, *playbook)
            assert done.rc == 0, done.output[-5000:]
        yield server
    finally:
        if not given:
            subprocess.run([*BED, "down", NAME], check=False, capture_output=True, cwd=ROOT)


FIRST = (
    ("deploy.yml", "-e", "scheduler_version=v0.9.0"),
    ("deploy.yml", "-e", "scheduler_version=v1.0.0"),
    ("rollback.yml", "-e", "rollback_to=v0.9.0", "-e", "rollback_database=downgrade"),
)
