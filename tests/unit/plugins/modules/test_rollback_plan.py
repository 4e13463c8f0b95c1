# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rollback_plan: which way is found, from a real ledger and what database and images answer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import rollback_plan

#: What the images of the releases know.
REVISIONS = {"old": ["r1"], "new": ["r1", "r2"]}


class Database:
    """Answers the questions of the module: its tables, its revision, its comment."""

    database = "residency"

    def __init__(self, revision: str, note: str | None) -> None:
        self._answers = {"shobj_description": note, "version_num": revision}

    def rows(self, sql: str, _what: str, **_options: Any) -> list[dict[str, Any]]:
        """Return what the one question or the other asks for."""
        if "shobj_description" in sql:
            return [{"note": self._answers["shobj_description"]}]
        if "version_num" in sql:
            return [{"name": self._answers["version_num"]}]
        return [{"name": "public.alembic_version"}]


class Server:
    """A server with a ledger, on which the module looks for the way back."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch = folder, monkeypatch

    def says(self, version: str, verdict: str, **facts: Any) -> None:
        """Add a verdict, with a record where there is none."""
        images = {"backend": {"reference": f"stack-backend:{version}", "id": f"sha256:{version}"}}
        wanted = {"version": version, "commit": version * 10, "images": images, "environment_digest": ""}
        records = ledger.read_records(str(self._folder))
        ledger.write(str(self._folder), ledger.decide(records, wanted, verdict, f"id-{version}", facts), {}, "2026-01-01T00:00:00")

    def plan(self, runner: Callable[..., Any], revision: str, note: str | None = None, **wanted: Any) -> dict[str, Any]:
        """Return the plan where the database stands at *revision*."""

        def ask(parameters: Any, _runner: Any, **question: Any) -> dict[str, Any]:
            known = REVISIONS[str(parameters["project"]["env_file"]).split("/id-", 1)[1].split("/", 1)[0]]
            undone = [item for item in known if item > question.get("target", "r")]
            steps = [{"revision": item, "direction": "downgrade", "reversible": True} for item in undone]
            return {"history": [{"revision": item} for item in known], "steps": steps}

        self._monkeypatch.setattr(rollback_plan.alembic, "ask", ask)
        self._monkeypatch.setattr(rollback_plan, "find", lambda *_: Database(revision, note))
        self._monkeypatch.setattr(rollback_plan, "_backup", lambda *_: None)
        self._monkeypatch.setattr(
            rollback_plan, "_restore", lambda *_: rollback_plan.Choice("restore", True, "the backup b1 has that revision", "4 rows")
        )
        parameters = {
            "project": {"name": "stack", "directory": str(self._folder), "files": ["compose.yml"], "env_file": ".env"},
            "service": "backend",
            "database_service": "db",
            "state_dir": str(self._folder),
            "backup_dir": str(self._folder),
            "to": "",
            "database": "keep",
            "backup": "newest",
            "automatic": False,
            "moved": True,
        }
        images = "".join(f'["stack-backend:{version}"]|[]|sha256:{version}\n' for version in REVISIONS)
        # The release that is left was made from the target.
        ancestry = [("merge-base", CommandResult(("git",), rc, "", "", 0.1)) for rc in (1, 0)]
        return rollback_plan.run({**parameters, **wanted}, runner(("docker image inspect", images), *ancestry))


@pytest.fixture(name="server")
def server_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server where ``old`` was good, with the revision r1."""
    server = Server(tmp_path, monkeypatch)
    server.says("old", "good", revision=["r1"])
    return server


def test_a_recovery_takes_back_what_this_run_migrated(server: Server, runner) -> None:
    server.says("new", "candidate")
    plan = server.plan(runner, "r2", automatic=True)
    assert (plan["target"]["version"], plan["leaving"]["version"], plan["database"]) == ("old", "new", "downgrade")
    assert "/id-new/" in plan["leaving_project"]["env_file"], "only that image knows the way"


def test_a_recovery_takes_back_nothing_that_an_earlier_run_migrated(server: Server, runner) -> None:
    server.says("new", "candidate")
    with pytest.raises(Problem) as caught:
        server.plan(runner, "r2", automatic=True, moved=False)
    assert "what an earlier one brought up may have served" in caught.value.message()
    assert caught.value.details["tried"] == ["id-new", "id-old"]
    assert server.plan(runner, "r1", automatic=True, moved=False)["database"] == "keep"


def test_a_recovery_takes_back_nothing_that_a_person_migrated(server: Server, runner) -> None:
    with pytest.raises(Problem, match="a person moved the database"):
        server.plan(runner, "r2", automatic=True)


def test_a_restore_is_done_once(server: Server, runner) -> None:
    server.says("new", "good", revision=["r2"])
    assert server.plan(runner, "r2", database="restore")["database"] == "restore"
    # The run was cut after the swap: the database says what it is.
    note = "residency.scheduler: restored from b1 instead of id-new"
    assert server.plan(runner, "r1", note, database="restore")["database"] == "keep"
    assert server.plan(runner, "r1", note, database="restore", backup="b1")["database"] == "keep"
    # Of another way back, or another backup.
    assert server.plan(runner, "r1", "residency.scheduler: restored from b1 instead of id-x", database="restore")["database"] == "restore"
    assert server.plan(runner, "r1", note, database="restore", backup="b0")["database"] == "restore"
    assert server.plan(runner, "r1", "the hospital's own words", database="restore")["database"] == "restore"
    # The application of the release that was left has migrated it again.
    assert server.plan(runner, "r2", note, database="restore")["database"] == "restore"


def test_the_same_restore_again_goes_no_further(server: Server, runner, tmp_path: Path) -> None:
    server.says("new", "good", revision=["r2"])
    decision = ledger.say(ledger.read_records(str(tmp_path)), "id-old", "good", {"instead_of": "id-new", "revision": ["r1"]})
    ledger.write(str(tmp_path), decision, {}, "2026-01-02T00:00:00")
    plan = server.plan(runner, "r1", database="restore")
    assert (plan["target"]["version"], plan["database"]) == ("old", "keep")


def test_a_database_that_does_not_answer_is_told_apart(server: Server, runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any) -> None:
        raise Problem("Looking for the database failed", "no container runs", "Start it.")

    server.says("new", "candidate")
    monkeypatch.setattr(Database, "rows", down)
    with pytest.raises(Problem) as caught:
        server.plan(runner, "r1")
    assert caught.value.details["database_down"] is True


def test_the_code_tells_which_release_is_older(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)

    def commit(words: str) -> str:
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", words], check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    first, second = commit("first"), commit("second")
    subprocess.run([*git, "checkout", "--quiet", first], check=True)
    other = commit("other")

    def older(target: tuple[str, str], left: tuple[str, str]) -> bool:
        records = [dict(zip(("id", "commit"), item, strict=True)) for item in (target, left)]
        return rollback_plan.is_older(*records, str(tmp_path), SubprocessRunner())

    assert older(("1", first), ("2", second))
    # Left once, and gone forward to again from settings that came later.
    assert not older(("2", second), ("3", first))
    assert older(("3", first), ("2", second))
    # The same code with other settings, and code that went apart: the one that came first.
    assert older(("1", first), ("2", first))
    assert not older(("2", first), ("1", first))
    assert older(("1", other), ("2", second))
    assert not older(("2", other), ("1", second))
