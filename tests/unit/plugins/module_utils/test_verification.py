# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verification: what cannot be checked is a failed check, and wrong options are refused. tests/sick runs it on a real stack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.health import SystemClock
from ansible_collections.residency.scheduler.plugins.module_utils.options import complete
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.verification import Verification

SERVICES = [
    {"name": name, "kind": kind, "port": None, "path": "/", "optional": False, "docker_health": None}
    for name, kind in (("db", "postgres"), ("celery-worker", "celery_worker"))
]


class NoDocker:
    """A host on which every command fails, and says a secret while it does."""

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Fail."""
        return CommandResult(tuple(argv), 1, "", "cannot connect, s3cret-value", 0.1)


def parameters(folder: Path, **given: Any) -> dict[str, Any]:
    (folder / ".env").write_text("DB_PASSWORD='s3cret-value'\n", encoding="utf-8")
    project = {"name": "p", "directory": str(folder), "files": ["docker-compose.yml"], "env_file": ".env"}
    defaults = {"domain": "localhost", "celery": {}, "alembic": {}, "logs": {}, "queries": [], "app_script": ["./check.sh"]}
    timing = {"wait": 0, "hold": 0, "probe_timeout": 1}
    return {"project": project, "services": SERVICES, "endpoints": [], **defaults, **timing, **given}


def test_what_cannot_be_checked_is_a_failed_check(tmp_path: Path) -> None:
    result = Verification(complete(parameters(tmp_path)), NoDocker(), SystemClock()).run()
    assert result["healthy"] is False
    verdicts = {check["topic"]: check["verdict"] for check in result["checks"]}
    assert verdicts == {
        "services": "fail",
        "hold": "fail",
        "celery": "fail",
        "alembic": "fail",
        "database": "fail",
        "database_backup": "fail",
        "application_script": "warn",
        "logs": "fail",
    }
    assert "s3cret-value" not in str(result)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"celery": {"wait": 3}}, "Reading the option celery failed"),
        ({"logs": {"lines": "many"}}, "Reading the option logs failed"),
        ({"alembic": {"timeout": "soon"}}, "Reading the option alembic failed"),
        ({"queries": [{"name": "users", "sql": "", "expect": "("}]}, "Reading the query users failed: '(' is no regular expression"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_asked(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        Verification(complete(parameters(tmp_path, **given)), NoDocker(), SystemClock())
    assert message in caught.value.message()
