# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""postgres_password: when it changes the role, and that the password is in no command and no statement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import scram
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import postgres_password

PASSWORD = "q8Yt2mZpLr5vWx0c"
CONTAINER = json.dumps(
    [
        {
            "Id": "1",
            "Name": "/stack-db",
            "Image": "sha256:1",
            "Created": "2026-01-01T00:00:00Z",
            "State": {"Status": "running", "StartedAt": "2026-01-01T00:00:00Z"},
            "Config": {"Env": ["POSTGRES_USER=app"], "Labels": {"com.docker.compose.service": "db"}},
            "NetworkSettings": {},
            "HostConfig": {},
        }
    ]
)
RUNNING = [("docker ps", "1\n"), ("docker container inspect", CONTAINER)]
REFUSED = CommandResult(("psql",), 2, "", "the database system is starting up", 0.1)


def config(**environment: str) -> tuple[str, str]:
    return "config --format json", json.dumps({"services": {"db": {"image": "postgres", "environment": environment}}})


def stored(password: str) -> tuple[str, str]:
    return "psql", json.dumps([{"rolpassword": scram.verifier(password, b"0123456789abcdef")}])


def change(runner: Any, folder: Path, *answers: Any, wait: int = 3, check_mode: bool = False) -> tuple[dict[str, Any], Any, list[float]]:
    project = {"name": "stack", "directory": str(folder), "files": ["docker-compose.yml"], "env_file": ".env"}
    fake, slept = runner(*answers), list[float]()
    result = postgres_password.run({"project": project, "database_service": "db", "wait": wait}, check_mode, fake, slept.append)
    assert fake.finished()
    assert all(PASSWORD not in " ".join(argv) + stdin for argv, stdin in fake.calls)
    assert PASSWORD not in json.dumps(result)
    return result, fake, slept


def test_the_same_password_is_left_alone(tmp_path: Path, runner) -> None:
    result, _fake, _slept = change(runner, tmp_path, config(POSTGRES_PASSWORD=PASSWORD), *RUNNING, stored(PASSWORD))
    assert (result["changed"], result["role"]) == (False, "app")


def test_another_password_is_changed_by_its_verifier(tmp_path: Path, runner) -> None:
    result, fake, _slept = change(runner, tmp_path, config(POSTGRES_PASSWORD=PASSWORD), *RUNNING, stored("former"), ("psql", ""))
    assert result["changed"]
    statement = fake.calls[-1][1]
    assert statement.startswith("""ALTER ROLE "app" PASSWORD 'SCRAM-SHA-256$4096:""")
    assert scram.matches(PASSWORD, "app", statement.split("'")[1])


def test_a_check_changes_nothing(tmp_path: Path, runner) -> None:
    result, _fake, _slept = change(runner, tmp_path, config(POSTGRES_PASSWORD=PASSWORD), *RUNNING, stored("former"), check_mode=True)
    assert result["changed"]


@pytest.mark.parametrize("answers", [[config()], [config(POSTGRES_PASSWORD=PASSWORD), ("docker ps", "")]])
def test_there_is_nothing_to_compare(answers: list[Any], tmp_path: Path, runner) -> None:
    assert change(runner, tmp_path, *answers)[0] == {"changed": False, "role": ""}


def test_a_database_that_starts_is_waited_for(tmp_path: Path, runner) -> None:
    answers = [config(POSTGRES_PASSWORD=PASSWORD), *RUNNING, ("psql", REFUSED), *RUNNING, stored(PASSWORD)]
    assert change(runner, tmp_path, *answers)[2] == [1]


def test_the_wait_has_an_end(tmp_path: Path, runner) -> None:
    with pytest.raises(Problem, match="Asking the database for its role failed"):
        change(runner, tmp_path, config(POSTGRES_PASSWORD=PASSWORD), *RUNNING, ("psql", REFUSED), wait=0)
