# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""diagnosis: whatever is broken, the rest is told, and no secret is shown. tests/sick runs it on a real stack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis import Diagnosis
from ansible_collections.residency.scheduler.plugins.module_utils.health import SystemClock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

SECRET = "s3cret-value-of-env"


class Host:
    """A host on which Docker says its version, or does not, and every other command fails and says a secret while it does."""

    def __init__(self, *, docker: bool, inspected: str = "") -> None:
        self.docker, self.inspected = docker, inspected

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Answer."""
        words = " ".join(argv)
        if self.docker and words.startswith("docker version"):
            return CommandResult(tuple(argv), 0, "26.1.5\n", "", 0.1)
        if self.inspected and words.startswith("docker ps"):
            return CommandResult(tuple(argv), 0, "abc\n", "", 0.1)
        if self.inspected and words.startswith("docker container inspect"):
            return CommandResult(tuple(argv), 0, self.inspected, "", 0.1)
        return CommandResult(tuple(argv), 1, f"journal {SECRET}\n", f"cannot connect, {SECRET}", 0.1)


def parameters(folder: Path) -> dict[str, Any]:
    (folder / ".env").write_text(f"DB_PASSWORD='{SECRET}'\n", encoding="utf-8")
    project = {"name": "p", "directory": str(folder), "files": ["docker-compose.yml"], "env_file": ".env"}
    service = {"name": "db", "kind": "postgres", "port": None, "path": "/", "optional": False, "docker_health": None}
    places = {"state_dir": str(folder / "state"), "lock_file": str(folder / "lock"), "tls_dir": str(folder / "tls"), "paths": [str(folder)]}
    expected = {"domain": "localhost", "celery": {}, "alembic": {}, "logs": {}, "queries": [], "app_script": [], "secrets": {}}
    limits = {"seconds": 600, "log_lines": 50, "hold": 0, "probe_timeout": 1}
    return {"project": project, "services": [service], "endpoints": [], **places, **expected, **limits}


def release(folder: Path, verdict: str = "good") -> None:
    """Put a release into the ledger."""
    where = folder / "state/releases/20251222T020000Z-v1"
    where.mkdir(parents=True)
    record = {"id": where.name, "version": "v1", "commit": "c" * 40, "images": {}, "environment_digest": "d"}
    (where / "record.json").write_text(json.dumps(record), encoding="utf-8")
    event = {"id": where.name, "verdict": verdict, "at": "2025-12-22T02:10:00+00:00"}
    (where.parent / "history.jsonl").write_text(json.dumps(event) + "\n", encoding="utf-8")


def test_without_docker_the_host_and_the_ledger_are_told(tmp_path: Path) -> None:
    release(tmp_path)
    result = Diagnosis(parameters(tmp_path), Host(docker=False), SystemClock()).run()
    assert result["causes"][0]["id"] == "docker.down"
    assert "********" in str(result["causes"][0]["evidence"])
    assert {"host", "ledger", "lock", "files"} <= set(result["facts"])
    assert result["facts"]["ledger"]["last_good"]["version"] == "v1"
    assert result["checks"] == []
    assert SECRET not in str(result)


def test_a_daemon_that_answers_nothing_else_is_no_stack_that_is_shut_down(tmp_path: Path) -> None:
    release(tmp_path)
    result = Diagnosis(parameters(tmp_path), Host(docker=True), SystemClock()).run()
    assert "containers" in result["unavailable"]
    assert "release.shut_down" not in [cause["id"] for cause in result["causes"]]
    assert result["causes"], "failed checks are told in any case"
    assert SECRET not in str(result)


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        ("state/releases/history.jsonl", "ledger"),
        ("tls/fullchain.pem", "certificate"),
        ("state/secrets.json", "secrets"),
    ],
)
def test_a_damaged_file_costs_its_part_alone(damage: str, part: str, tmp_path: Path) -> None:
    release(tmp_path)
    (tmp_path / damage).parent.mkdir(exist_ok=True)
    (tmp_path / damage).write_text(f"broken {SECRET}\n", encoding="utf-8")
    result = Diagnosis(parameters(tmp_path), Host(docker=False), SystemClock()).run()
    assert part in result["unavailable"]
    assert result["causes"][0]["id"] == "docker.down"
    assert SECRET not in str(result)


def test_what_runs_is_told_without_its_environment(tmp_path: Path) -> None:
    state = {"Status": "exited", "ExitCode": 1, "Pid": 0, "StartedAt": "2025-12-22T02:00:00Z", "FinishedAt": "2025-12-22T03:00:00Z"}
    labels = {"com.docker.compose.service": "db", "com.docker.compose.oneoff": "False"}
    config = {"Labels": labels, "Env": ["TOKEN=of-the-container-only", "PGDATA=/x"], "Image": "postgres:15"}
    inspected = json.dumps([{"Name": "/p-db", "Image": "sha256:0", "State": state, "Config": config, "HostConfig": {}}])
    result = Diagnosis(parameters(tmp_path), Host(docker=True, inspected=inspected), SystemClock()).run()
    assert [item["name"] for item in result["facts"]["containers"]] == ["p-db"]
    assert "service.stopped" in [cause["id"] for cause in result["causes"]]
    assert "of-the-container-only" not in str(result)


def test_a_wrong_option_is_refused(tmp_path: Path) -> None:
    twice = {**parameters(tmp_path), "services": parameters(tmp_path)["services"] * 2}
    with pytest.raises(Problem, match="listed twice"):
        Diagnosis(twice, Host(docker=False), SystemClock())
