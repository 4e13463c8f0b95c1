# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alembic_migrate: what it refuses, what a check announces, and where it says the database stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import alembic_migrate

ONE = {"revision": "r1", "message": "first", "reversible": True}
TWO = {"revision": "r2", "message": "second", "reversible": True}


def answer(migrating: bool = False, **fields: Any) -> tuple[str, str]:
    """Return what the script in the container prints."""
    document = {"current": ["r2"], "heads": ["r2"], "unknown": [], "pending": [], "error": "", "seconds": 0.5, **fields}
    document.setdefault("steps", [{**entry, "direction": "upgrade"} for entry in document["pending"]])
    named = "--name p-migration " if migrating else ""
    return f"run --rm --no-deps -T {named}--entrypoint python backend -", f"INFO noise\nresidency.scheduler:{json.dumps(document)}\n"


def migrate(folder: Path, runner: Any, *answers: tuple[str, str], check_mode: bool = False, **options: Any) -> dict[str, Any]:
    (folder / ".env").write_text("DB_PASSWORD='s3cret-value'\n", encoding="utf-8")
    project = {"name": "p", "directory": str(folder), "files": ["docker-compose.yml"], "env_file": ".env"}
    fake = runner(*answers)
    limits = {"lock_timeout": 3, "lock_attempts": 5, "statement_timeout": 0}
    parameters = {"project": project, "service": "backend", "config": "alembic.ini", "timeout": 60, "target": "heads", **limits}
    result = alembic_migrate.run({**parameters, "allow_downgrade": False, **options}, check_mode, fake)
    assert fake.finished()
    return result


def test_nothing_pending_changes_nothing(tmp_path: Path, runner) -> None:
    assert not migrate(tmp_path, runner, answer())["changed"]


def test_a_check_shows_the_plan_and_runs_nothing(tmp_path: Path, runner) -> None:
    result = migrate(tmp_path, runner, answer(current=[], pending=[ONE, TWO]), check_mode=True)
    assert result["changed"]
    assert result["diff"]["after"] == "no revision\nupgrade r1: first\nupgrade r2: second\n"


def test_pending_revisions_are_run_and_proven(tmp_path: Path, runner) -> None:
    result = migrate(tmp_path, runner, answer(current=["r1"], pending=[TWO]), answer(migrating=True))
    assert (result["changed"], result["before"], result["current"]) == (True, ["r1"], ["r2"])
    assert result["applied"] == [{**TWO, "direction": "upgrade"}]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"current": ["r9"], "unknown": ["r9"]}, "the database is ahead of the code"),
        ({"heads": ["r2", "r3"], "pending": [TWO]}, "2 heads: r2, r3"),
        ({"current": ["r1", "r2"]}, "the database stands at r1, r2, and r2 alone is wanted"),
    ],
)
def test_the_unsafe_is_refused_before_anything_runs(fields: dict[str, Any], reason: str, tmp_path: Path, runner) -> None:
    with pytest.raises(Problem) as caught:
        migrate(tmp_path, runner, answer(**fields))
    assert reason in caught.value.message()


@pytest.mark.parametrize(
    ("after", "standing"),
    [
        ({"current": [], "pending": [ONE, TWO], "error": "boom s3cret-value"}, "the database is unchanged, at no revision"),
        ({"current": ["r1"], "pending": [TWO], "error": "boom"}, "it went from no revision to r1, and not to r2"),
        ({"current": ["r1"], "pending": [TWO]}, "Alembic reported success; it went from no revision to r1"),
    ],
)
def test_a_failure_says_where_the_database_stands(after: dict[str, Any], standing: str, tmp_path: Path, runner) -> None:
    with pytest.raises(Problem) as caught:
        migrate(tmp_path, runner, answer(current=[], pending=[ONE, TWO]), answer(migrating=True, **after))
    assert standing in caught.value.message()
    assert "s3cret-value" not in caught.value.message()


UNDO = {**TWO, "direction": "downgrade", "reversible": True}


@pytest.mark.parametrize(
    ("step", "allowed", "reason"),
    [
        (UNDO, False, "r1 lies before r2, so r2 would be undone"),
        ({**UNDO, "reversible": False}, True, "r2 has no downgrade"),
    ],
)
def test_a_downgrade_is_refused(step: dict[str, Any], allowed: bool, reason: str, tmp_path: Path, runner) -> None:
    with pytest.raises(Problem) as caught:
        migrate(tmp_path, runner, answer(steps=[step]), target="r1", allow_downgrade=allowed)
    assert reason in caught.value.message()


def test_a_downgrade_that_is_meant(tmp_path: Path, runner) -> None:
    after = answer(migrating=True, current=["r1"], pending=[TWO])
    result = migrate(tmp_path, runner, answer(steps=[UNDO]), after, target="r1", allow_downgrade=True)
    assert (result["changed"], result["before"], result["current"]) == (True, ["r2"], ["r1"])
