# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of pending revisions before they run."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.alembic import Revisions, describe, refuse_unsafe, split_sql, tell
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

OFFLINE = """BEGIN;

-- Running upgrade one -> two

ALTER TABLE ledger ADD COLUMN batch INTEGER;

UPDATE alembic_version SET version_num='two' WHERE alembic_version.version_num = 'one';

-- Running upgrade two -> three

COMMIT;

CREATE INDEX CONCURRENTLY ix ON ledger (number);

BEGIN;

UPDATE alembic_version SET version_num='three' WHERE alembic_version.version_num = 'two';

COMMIT;
"""


def test_offline_sql_is_split_by_revision() -> None:
    sections = split_sql(OFFLINE)
    assert list(sections) == ["two", "three"]
    assert sections["two"].startswith("ALTER TABLE ledger ADD COLUMN")
    assert split_sql("-- no SQL: it asks the database") == {"": "-- no SQL: it asks the database"}
    assert split_sql("") == {}


def test_only_what_commits_before_its_version_is_written_is_not_transactional() -> None:
    sections = split_sql(OFFLINE)
    assert describe({"revision": "two", "message": ""}, sections)["transactional"]
    assert not describe({"revision": "three", "message": ""}, sections)["transactional"]


@pytest.mark.parametrize(
    ("sql", "destroys"),
    [
        ("ALTER TABLE a DROP COLUMN b;", ["drops the column b"]),
        ("ALTER TABLE a DROP COLUMN IF EXISTS b, DROP COLUMN c;", ["drops the column b", "drops the column c"]),
        ('drop table if exists "A";', ["drops the table A"]),
        ("DROP SCHEMA old CASCADE;", ["drops the schema old"]),
        ("TRUNCATE TABLE a;", ["empties the table a"]),
        ("DELETE FROM a WHERE x;", ["deletes rows of a"]),
        ("ALTER TABLE a ALTER COLUMN b TYPE BIGINT;", ["converts the column b"]),
        ("DELETE FROM alembic_version WHERE alembic_version.version_num = 'one';", []),
        ("INSERT INTO a VALUES ('DROP TABLE a;'); -- DROP TABLE b;", []),
        ("/* DELETE FROM a; */ ALTER TABLE a ADD COLUMN b INTEGER;", []),
    ],
)
def test_what_a_revision_destroys(sql: str, destroys: list[str]) -> None:
    assert describe({"revision": "two", "message": ""}, {"two": sql})["destroys"] == destroys


def test_a_step_in_one_line() -> None:
    step: dict[str, Any] = {"revision": "two", "message": "Second", "direction": "upgrade", "reversible": False}
    step |= {"sql": "x", "transactional": False, "destroys": ["drops the column b"]}
    assert tell(step) == (
        "upgrade two: Second; NOT in a transaction: a failure leaves its first part behind; DROPS THE COLUMN B; "
        "NO DOWNGRADE: the way back is the backup"
    )


def test_a_revision_id_that_the_column_cannot_hold() -> None:
    long = {"revision": "x" * 33, "message": ""}
    refuse_unsafe(Revisions(("one",), (long["revision"],), (), (long,), None))
    with pytest.raises(Problem, match=r"holds 32 characters, and x{33} is longer"):
        refuse_unsafe(Revisions(("one",), (long["revision"],), (), (long,), 32))
