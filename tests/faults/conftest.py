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
from leaks import Watch, canaries, search
from play import ALL, NAME, POINTS, Prepared, kept_by, play

BED = [sys.executable, str(ROOT / "tests/bed/bed.py")]


@pytest.fixture(name="prepared", scope="session")
def prepared_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """A server on which v0.9.0 serves. Before many faults v1.0.0 was deployed too, so that none of their runs has to build."""
    os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    given = os.environ.get("RESIDENCY_FAULTS_INVENTORY")
    if given:
        yield Prepared(Server(ROOT / given, tmp_path_factory.mktemp("reports")), [], [])
        return
    folder = tmp_path_factory.mktemp("inventory")
    try:
        subprocess.run([*BED, "repository"], check=True, capture_output=True, cwd=ROOT)
        subprocess.run([*BED, "up", NAME, "--debian", "12", "--fresh"], check=True, capture_output=True, cwd=ROOT)
        answer = subprocess.run([*BED, "inventory", NAME], check=True, capture_output=True, text=True, cwd=ROOT)
        hosts = {name: {**host, "scheduler_secrets": canaries()} for name, host in json.loads(answer.stdout).items()}
        (folder / "hosts.yml").write_text(json.dumps({"all": {"children": {"scheduler": {"hosts": hosts}}}}), encoding="utf-8")
        (folder / "group_vars").symlink_to(ROOT / "inventories/demo/group_vars")
        server = Server(folder, tmp_path_factory.mktemp("reports"))
        kept = tmp_path_factory.mktemp("kept")
        with Watch(server, [kept]) as watch:
            runs = [play(server, *playbook, kept=kept) for playbook in (FIRST if ALL or POINTS else FIRST[:1])]
        assert {run.rc for run in runs} == {0}, runs[-1].output[-5000:]
        yield Prepared(server, runs, watch.found + search(server.secrets, kept_by(runs, kept, server)))
    finally:
        subprocess.run([*BED, "down", NAME], check=False, capture_output=True, cwd=ROOT)


@pytest.fixture(name="server", scope="session")
def server_fixture(prepared: Prepared) -> Server:
    """The prepared server."""
    return prepared.server


FIRST = (
    ("deploy.yml", "-e", "scheduler_version=v0.9.0"),
    ("deploy.yml", "-e", "scheduler_version=v1.0.0"),
    ("rollback.yml", "-e", "rollback_to=v0.9.0", "-e", "rollback_database=downgrade"),
)
