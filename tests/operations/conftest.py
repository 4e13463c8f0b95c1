"""The deployed server that the tests of operations share.

RESIDENCY_OPERATIONS_INVENTORY names the inventory of a server that is deployed already; without it one is made, deployed and removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from deployed_server import ROOT, Server, ansible

BED = [sys.executable, str(ROOT / "tests/bed/bed.py")]
NAME = "residency-operations"


@pytest.fixture(name="server", scope="session")
def server_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The deployed server."""
    os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    reports = tmp_path_factory.mktemp("reports")
    given = os.environ.get("RESIDENCY_OPERATIONS_INVENTORY")
    if given:
        yield Server(ROOT / given, reports)
        return
    folder = tmp_path_factory.mktemp("inventory")
    try:
        subprocess.run([*BED, "repository"], check=True, capture_output=True, cwd=ROOT)
        subprocess.run([*BED, "up", NAME, "--debian", "12", "--fresh"], check=True, capture_output=True, cwd=ROOT)
        answer = subprocess.run([*BED, "inventory", NAME], check=True, capture_output=True, text=True, cwd=ROOT)
        hosts = {name: {**host, "scheduler_version": "v1.1.0"} for name, host in json.loads(answer.stdout).items()}
        (folder / "hosts.yml").write_text(json.dumps({"all": {"children": {"scheduler": {"hosts": hosts}}}}), encoding="utf-8")
        (folder / "group_vars").symlink_to(ROOT / "inventories/demo/group_vars")
        deploy = [*ansible("ansible-playbook"), "-i", str(folder), "playbooks/deploy.yml", "-e", f"scheduler_reports_dir={reports}"]
        deployed = subprocess.run(deploy, capture_output=True, text=True, check=False, cwd=ROOT)
        assert deployed.returncode == 0, deployed.stdout[-5000:]
        yield Server(folder, reports)
    finally:
        subprocess.run([*BED, "down", NAME], check=False, capture_output=True, cwd=ROOT)
