"""Modules that change something, on a real server."""

from __future__ import annotations

import subprocess
import uuid

from deployed_server import ROOT, Server, ansible


def test_drained_workers_lose_nothing_and_a_schema_goes_down_and_up(server: Server) -> None:
    command = [*ansible("ansible-playbook"), "-i", str(server.inventory), "-e", f"modules_client=modules-{uuid.uuid4().hex[:8]}"]
    answer = subprocess.run([*command, "tests/sick/modules.yml"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-1000:]
