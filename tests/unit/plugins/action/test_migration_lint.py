# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task's results; the review by the real squawk, where it is installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.action.migration_lint import find, lint, review
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

SQUAWK = find("squawk")
with_squawk = pytest.mark.skipif(SQUAWK is None, reason="squawk is not installed")
DROP = {"revision": "two", "message": "", "sql": "ALTER TABLE a DROP COLUMN x;", "transactional": True, "seconds": 0}
UNSEEN = {"revision": "one", "message": "", "sql": "-- no SQL: it asks the database", "transactional": True}


def given(*steps: dict[str, Any], allow: dict[str, Any] | None = None, executable: str = "squawk", version: str = "15") -> dict[str, Any]:
    return {"steps": list(steps), "allow": allow or {}, "postgres_version": version, "executable": executable}


def stand_in(folder: Path, script: str) -> str:
    path = folder / "squawk"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    os.chmod(path, 0o700)
    return str(path)


def rules(sql: str, *, transactional: bool = True) -> list[str]:
    step: dict[str, Any] = {"revision": "two", "message": "", "sql": sql, "transactional": transactional}
    return [finding.rule for finding in review(str(SQUAWK), step, {}, "15")]


@with_squawk
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("ALTER TABLE ledger ADD COLUMN batch INTEGER DEFAULT '0' NOT NULL;\nUPDATE ledger SET batch = number / 100;", []),
        ("CREATE TABLE l (id SERIAL NOT NULL, r INTEGER, PRIMARY KEY (id), FOREIGN KEY(r) REFERENCES residents (id));", []),
        ("CREATE INDEX ix ON shifts (resident_id);", ["require-concurrent-index-creation"]),
        ("UPDATE alembic_version SET version_num='two' WHERE alembic_version.version_num = 'one';\n\nCOMMIT;", []),
        ("ALTER TABLE residents DROP COLUMN x;", ["ban-drop-column"]),
        ("DROP TABLE residents;", ["ban-drop-table"]),
        ("ALTER TABLE a RENAME COLUMN b TO c;", ["renaming-column"]),
        ("ALTER TABLE a ADD COLUMN n int NOT NULL;", ["adding-required-field"]),
        ("ALTER TABLE a ALTER COLUMN b TYPE bigint;", ["changing-column-type"]),
        ("ALTER TABLE a ADD COLUMN n int; CREATE INDEX CONCURRENTLY ix ON a (n);", ["ban-concurrent-index-creation-in-transaction"]),
        ("ALTER TABLE a ALTER COLUMN b SET NOT NULL;", ["adding-not-nullable-field"]),
        ("ALTER VIEW a RENAME TO b;", ["renaming-object"]),
        ("-- squawk-ignore ban-drop-column\nALTER TABLE a DROP COLUMN x;", ["ban-drop-column"]),
        ("CREATE TABLE t (n int); ALTER TABLE t ALTER COLUMN n SET NOT NULL; ALTER TABLE t DROP COLUMN n;", []),
        ("SELEC 1;", ["syntax-error"]),
    ],
)
def test_what_squawk_finds(sql: str, expected: list[str]) -> None:
    assert list(dict.fromkeys(rules(sql))) == expected


@with_squawk
def test_an_index_outside_of_a_transaction_is_right() -> None:
    sql = "ALTER TABLE a ADD COLUMN n int;\n\nCOMMIT;\n\nCREATE INDEX CONCURRENTLY ix ON a (n);\n\nBEGIN;\n"
    assert rules(sql, transactional=False) == []


def test_squawk_is_looked_for_on_the_path_too() -> None:
    assert find("sh")
    assert find("no-such-program") is None


@with_squawk
@pytest.mark.parametrize(
    ("allow", "failed", "verdicts"),
    [
        ({}, True, ["warn", "fail"]),
        ({"two": ["ban-drop-column"]}, False, ["warn", "warn"]),
        ({"older": ["ban-drop-column"]}, True, ["warn", "fail"]),
    ],
)
def test_an_error_that_is_not_allowed_fails_with_the_evidence(allow: dict[str, Any], failed: bool, verdicts: list[str]) -> None:
    result = lint(given(UNSEEN, DROP, allow=allow))
    assert result.get("failed", False) == failed
    assert ("msg" in result) == failed
    assert [check["verdict"] for check in result["checks"]] == verdicts
    assert [check["subject"] for check in result["checks"]] == ["database: review of one", "database: review of two"]
    assert [(item["revision"], item["rule"], item["allowed"]) for item in result["findings"]] == [("two", "ban-drop-column", not failed)]


@pytest.mark.parametrize(("steps", "verdicts"), [([], []), ([UNSEEN], ["warn"]), ([{**DROP, "direction": "downgrade"}], [])])
def test_where_no_sql_is_there_squawk_is_not_needed(steps: list[dict[str, Any]], verdicts: list[str]) -> None:
    result = lint(given(*steps, executable="no-such-program"))
    assert [check["verdict"] for check in result["checks"]] == verdicts
    assert {**result, "checks": []} == {"changed": False, "findings": [], "checks": []}


def test_without_squawk_the_remedy_is_told() -> None:
    with pytest.raises(
        Problem, match=r"no no-such-program on the controller. Install it .*pip install squawk-cli==.*database_lint to false"
    ):
        lint(given(DROP, executable="no-such-program"))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo bad option >&2; exit 2", "exit code 2: bad option"),
        ("exit 1", "exit code 1"),
        ("echo panicked", "Expecting value"),
    ],
)
def test_an_answer_that_is_none_is_no_review(tmp_path: Path, script: str, why: str) -> None:
    with pytest.raises(Problem, match=rf"gave no review of two \({why}.*Compare `squawk --version`"):
        lint(given(DROP, executable=stand_in(tmp_path, f"cat >/dev/null; {script}")))


def test_a_step_without_a_revision() -> None:
    with pytest.raises(Problem, match="a step has no revision"):
        lint(given({"sql": "SELECT 1;"}))
