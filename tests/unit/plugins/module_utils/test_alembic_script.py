# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alembic_script, with the real Alembic on a real database (SQLite, in a file)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import alembic_script

pytest.importorskip("alembic")

ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine

url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url).connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
"""
REVISION = '''"""{message}"""
from alembic import op
import sqlalchemy as sa
revision, down_revision, branch_labels, depends_on = {name!r}, {after!r}, None, None

def upgrade():
    {up}

def downgrade():
    {down}
'''
CREATE, DROP = "op.create_table('{0}', sa.Column('id', sa.Integer))", "op.drop_table('{0}')"


class Application:
    """A folder with alembic.ini, revisions and a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "alembic/versions").mkdir(parents=True)
        (folder / "alembic/env.py").write_text(ENVIRONMENT, encoding="utf-8")
        ini = f"[alembic]\nscript_location = {folder}/alembic\nsqlalchemy.url = sqlite:///{folder}/database.sqlite\n"
        (folder / "alembic.ini").write_text(ini, encoding="utf-8")

    def add(self, name: str, after: Any, *, up: str = "", down: str | None = None) -> None:
        """Write a revision that makes a table of its own name."""
        text = REVISION.format(
            name=name, after=after, message=f"Add {name}", up=up or CREATE.format(name), down=DROP.format(name) if down is None else down
        )
        (self.folder / f"alembic/versions/{name}.py").write_text(text, encoding="utf-8")

    def ask(self, target: str | None = None, *, run: bool = False, sql: bool = False, history: bool = False) -> dict[str, Any]:
        """Run the script."""
        return alembic_script.main(str(self.folder / "alembic.ini"), target, sql, history, run)

    def tables(self) -> list[str]:
        """Return the tables of the database."""
        with sqlite3.connect(self.folder / "database.sqlite") as connection:
            return sorted(row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))


@pytest.fixture(name="application")
def application_fixture(tmp_path: Path) -> Application:
    """An application with three revisions in a row."""
    made = Application(tmp_path)
    made.add("one", None)
    made.add("two", "one")
    made.add("three", "two")
    return made


def names(steps: list[dict[str, Any]]) -> list[str]:
    return [step["revision"] for step in steps]


def test_an_empty_database_has_everything_pending(application: Application) -> None:
    answer = application.ask()
    assert (answer["current"], answer["heads"], answer["unknown"]) == ([], ["three"], [])
    assert answer["pending"][0] == {"revision": "one", "message": "Add one", "reversible": True}
    assert names(answer["pending"]) == ["one", "two", "three"]
    assert application.tables() == []


def test_up_to_the_head_and_then_nothing(application: Application) -> None:
    answer = application.ask("heads", run=True)
    assert (answer["current"], answer["error"], names(answer["steps"])) == (["three"], "", ["one", "two", "three"])
    again = application.ask("heads", run=True)
    assert (again["steps"], again["pending"]) == ([], [])
    assert application.tables() == ["alembic_version", "one", "three", "two"]


def test_steps_without_running_change_nothing(application: Application) -> None:
    application.ask("two", run=True)
    assert names(application.ask("heads")["steps"]) == ["three"]
    assert names(application.ask("two")["steps"]) == []
    down = application.ask("base")["steps"]
    assert [(step["revision"], step["direction"], step["reversible"]) for step in down] == [
        ("two", "downgrade", True),
        ("one", "downgrade", True),
    ]
    assert application.ask()["current"] == ["two"]


def test_down_to_a_revision(application: Application) -> None:
    application.ask("heads", run=True)
    answer = application.ask("one", run=True)
    assert (answer["current"], names(answer["steps"])) == (["one"], ["three", "two"])
    assert application.tables() == ["alembic_version", "one"]


@pytest.mark.parametrize("down", ["pass", "raise NotImplementedError", "raise RuntimeError('never')"])
def test_a_revision_without_a_way_back(down: str, application: Application) -> None:
    application.add("four", "three", down=down)
    application.ask("heads", run=True)
    assert [step["reversible"] for step in application.ask("two")["steps"]] == [False, True]


def test_a_failure_in_the_middle_says_where_it_stands(application: Application) -> None:
    application.add("four", "three", up="op.execute('SELECT * FROM nowhere')")
    answer = application.ask("heads", run=True)
    assert "nowhere" in answer["error"]
    assert (answer["current"], names(answer["pending"])) == (["three"], ["four"])


def test_two_heads_are_told(application: Application) -> None:
    application.add("aside", "two")
    answer = application.ask(history=True)
    assert answer["heads"] == ["aside", "three"]
    assert [entry["revision"] for entry in answer["history"] if entry["branch_point"]] == ["two"]
    application.add("merged", ("aside", "three"), up="pass", down="pass")
    assert application.ask()["heads"] == ["merged"]


def test_a_database_ahead_of_the_code(application: Application) -> None:
    application.ask("heads", run=True)
    (application.folder / "alembic/versions/three.py").unlink()
    answer = application.ask("heads", run=True)
    assert (answer["current"], answer["unknown"], answer["pending"]) == (["three"], ["three"], [])
    assert application.tables() == ["alembic_version", "one", "three", "two"]


def test_a_target_that_the_image_does_not_have(application: Application) -> None:
    with pytest.raises(SystemExit, match="this image has no revision nine"):
        application.ask("nine", run=True)


def test_the_sql_of_what_is_pending(application: Application) -> None:
    application.ask("two", run=True)
    sql = application.ask(sql=True)["sql"]
    assert "CREATE TABLE three" in sql
    assert "CREATE TABLE two" not in sql


def test_the_history(application: Application) -> None:
    application.ask("two", run=True)
    plain = {"branch_point": False, "merge_point": False}
    assert application.ask(history=True)["history"][1:] == [
        {"revision": "two", "message": "Add two", "after": ["one"], "applied": True, "head": False, **plain},
        {"revision": "three", "message": "Add three", "after": ["two"], "applied": False, "head": True, **plain},
    ]
