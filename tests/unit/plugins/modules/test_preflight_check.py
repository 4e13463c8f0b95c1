# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workflow of preflight_check: all findings at once, or the facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Findings
from ansible_collections.residency.scheduler.plugins.modules.preflight_check import run, texts

PARAMETERS: dict[str, Any] = {
    "inputs": {
        "scheduler_repo": "https://git.example.com/x.git",
        "scheduler_version": "v1.0.0",
        "scheduler_domain": "localhost",
        "scheduler_home": "/opt/residency-scheduler",
        "scheduler_project": "residency-scheduler",
        "scheduler_compose_files": ["docker-compose.yml"],
        "scheduler_state_dir": "/var/lib/residency-scheduler",
        "scheduler_data_dir": "/var/lib/residency-scheduler/data",
        "scheduler_backup_dir": "/var/lib/residency-scheduler/backups",
        "scheduler_backup_retention_days": 30,
        "scheduler_celery_app": "app.core.celery_app",
        "scheduler_services": [{"name": "db", "kind": "postgres"}],
        "scheduler_env": None,
    },
    "secrets": {"DB_PASSWORD": "q8Yt2mZpLr5vWx0c"},
    "required_secrets": ["DB_PASSWORD"],
    "generate": True,
    "rotate": [],
    "repository": {"git": True, "reachable": True, "commit": "a" * 40, "finding": None},
    "ports": [],
    "addresses": [],
    "side_database": True,
    "marker": None,
    "more": [],
    "minimum": {"cpus": 2, "memory_mb": 4096, "disk_gb": 20.0, "docker": "20.10", "compose": "2.24.4"},
    "supported": [{"id": "debian", "versions": ["12"]}],
}


class BareServer:
    """A Debian 12 with nothing but Python."""

    def read(self, path: str) -> str:
        return {
            "/etc/os-release": "ID=debian\nVERSION_ID=12\n",
            "/proc/meminfo": "MemTotal: 8388608 kB\n",
            "/proc/uptime": "7200.00 1.00\n",
        }[path]

    def exists(self, path: str) -> bool:
        return path in ("/", "/run/systemd/system")

    def entries(self, path: str) -> list[str]:
        assert path == "/var/lib/apt/lists"
        return ["lock", "partial"]

    def free_bytes(self, path: str) -> int:
        assert path == "/"
        return 50 * 10**9

    def cpus(self) -> int:
        return 4

    def uid(self) -> int:
        return 0

    def has_program(self, name: str) -> bool:
        assert name in ("docker", "git", "timedatectl")
        return False

    def has_python_module(self, name: str) -> bool:
        return name == "json"

    def year(self) -> int:
        return 2026

    def has_address(self, address: str) -> bool:
        raise AssertionError(f"localhost is not looked up, and {address} was")


class NoCommands:
    """Fails at any command."""

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        raise AssertionError(f"unexpected call: {argv} {stdin} {timeout}")


@pytest.mark.parametrize(("repository", "commit"), [(PARAMETERS["repository"], "a" * 40), (None, ""), ("", "")])
def test_a_good_server(repository: Any, commit: str) -> None:
    result = run({**PARAMETERS, "repository": repository}, BareServer(), NoCommands())
    told = {check["topic"].removeprefix("preflight_"): check["found"] for check in result.pop("checks")}
    assert set(told) == {"secrets", "host", "backup"} | ({"version"} if commit else set())
    assert told["backup"] == "50 GB free for /var/lib/residency-scheduler/backups"
    assert result == {
        "changed": False,
        "findings": [],
        "warnings_found": [],
        "warnings_told": [],
        "made": [],
        "commit": commit,
        "host": {
            "os": "debian",
            "os_version": "12",
            "cpus": 4,
            "memory_mb": 8192,
            "disk_gb": 50.0,
            "docker": "",
            "compose": "",
            "git": False,
            "python_apt": False,
            "checkout": False,
            "container": False,
            "time_daemon": "",
            "ready_for_apt": False,
            "ready_for_stack": False,
        },
    }


def test_all_findings_at_once() -> None:
    parameters = {**PARAMETERS, "secrets": {"DB_PASSWORD": "hunter2"}, "supported": [], "inputs": {}}
    with pytest.raises(Findings) as caught:
        run(parameters, BareServer(), NoCommands())
    lines = caught.value.message().splitlines()
    assert lines[0] == "14 findings stop this deployment; nothing was changed:"
    assert lines[1].startswith("1. scheduler_repo: found nothing, wanted ")
    assert lines[13].startswith("13. scheduler_secrets.DB_PASSWORD: found 7 characters, wanted ")
    assert lines[14].startswith("14. operating system: found debian 12 (ID debian), wanted ")
    assert len(caught.value.details["findings"]) == 14
    assert caught.value.details["host"]["os"] == "debian"
    assert "hunter2" not in str(caught.value.details) + caught.value.message()


WARNING = {"subject": "uptime", "found": "x", "wanted": "y", "remedy": "z", "severity": "warns"}


def test_a_warning_stops_nothing() -> None:
    result = run({**PARAMETERS, "more": [WARNING]}, BareServer(), NoCommands())
    assert (result["findings"], result["warnings_found"]) == ([], [WARNING])
    assert result["warnings_told"] == ["1. uptime: found x, wanted y. z"]


def test_the_worst_is_told_first() -> None:
    stop = {**WARNING, "subject": "certificate", "severity": "stops"}
    with pytest.raises(Findings) as caught:
        run({**PARAMETERS, "more": [WARNING, stop]}, BareServer(), NoCommands())
    assert caught.value.message().splitlines() == [
        "1 finding stops this deployment; nothing was changed:",
        "1. certificate: found x, wanted y. z",
        "Warnings, which alone would not stop it:",
        "2. uptime: found x, wanted y. z",
    ]
    assert caught.value.details["findings"] == [stop]
    assert caught.value.details["warnings_found"] == [WARNING]


class UsedServer(BareServer):
    """One with Docker."""

    def has_program(self, name: str) -> bool:
        return name == "docker"


def test_a_stack_that_is_deployed_is_asked_unless_its_variables_are_wrong(runner) -> None:
    answers = [("docker version", "26.1.5"), ("systemctl is-active", "active"), ("docker compose version", "2.26.1")]
    answers.append(("docker volume ls", ""))
    asked = runner(*answers, ("docker ps --all", ""))
    assert run(PARAMETERS, UsedServer(), asked)["warnings_found"] == []
    assert asked.finished()
    wrong = runner(*answers)
    with pytest.raises(Findings):
        run({**PARAMETERS, "inputs": {**PARAMETERS["inputs"], "scheduler_project": "A B"}}, UsedServer(), wrong)
    assert wrong.finished()


def test_all_texts_of_the_secrets_are_known() -> None:
    assert texts({"a": "x", "b": ["y", {"c": "z"}], "d": 1, "e": None}) == ["x", "y", "z"]
