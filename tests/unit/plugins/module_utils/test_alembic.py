# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of pending revisions before they run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import app_script
from ansible_collections.residency.scheduler.plugins.module_utils.alembic import (
    Revisions,
    ask,
    describe,
    former_passwords,
    refuse_unsafe,
    split_sql,
    tell,
)
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container, parse_containers
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


def test_passwords_that_the_containers_were_made_with() -> None:
    environments = [
        {"POSTGRES_PASSWORD": "one", "REDIS_URL": "redis://:secret@redis"},
        {"DATABASE_URL": "postgresql+psycopg2://app:tw%40o@db/x", "PGPASSWORD": "", "SECRET_KEY": "key"},
        {"DATABASE_URL": "postgres://app:one@db/x"},
    ]
    assert former_passwords([container(environment) for environment in environments]) == ["one", "tw@o"]


def container(environment: dict[str, str]) -> Container:
    return parse_containers(json.dumps([{"Name": "/x", "Image": "i", "State": {"Status": "running"}, "Config": {"Env": [
        f"{name}={value}" for name, value in environment.items()]}}]))[0]  # fmt: skip


class Asked:
    """A database that takes the former password only, as the script's guard would find out."""

    def __init__(self, refused: str) -> None:
        self.refused, self.programs = refused, list[str]()

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        words = " ".join(argv)
        if words.startswith("docker ps"):
            return CommandResult(tuple(argv), 0, "x", "", 0.1)
        if words.startswith("docker container inspect"):
            value = {"Name": "/x", "Image": "i", "State": {"Status": "running"}, "Config": {"Env": ["POSTGRES_PASSWORD=former"]}}
            return CommandResult(tuple(argv), 0, json.dumps([value]), "", 0.1)
        assert words.startswith("docker compose")
        assert "former" not in words
        self.programs.append(stdin)
        if "former" in stdin:
            return CommandResult(tuple(argv), 0, app_script.MARKER + '{"current": []}', "", 0.1)
        return CommandResult(tuple(argv), 1, "", self.refused, 0.1)


PARAMETERS = {
    "project": {"name": "stack", "directory": "/nowhere", "files": ["x.yml"], "env_file": ".env"},
    "service": "backend",
    "config": "alembic.ini",
    "timeout": 60,
}


def test_a_database_that_still_has_the_former_password_is_asked_with_it() -> None:
    database = Asked('FATAL:  password authentication failed for user "app"')
    assert ask(PARAMETERS, database) == {"current": []}
    assert len(database.programs) == 2


def test_another_failure_is_none_of_the_passwords() -> None:
    database = Asked("could not translate host name")
    with pytest.raises(Problem):
        ask(PARAMETERS, database)
    assert len(database.programs) == 1
