# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""monitor: a run keeps a record, tells what it found, and is told of where it breaks. tests/operations makes real runs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import monitor, run_lock
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.monitor import Outcome, main, run
from ansible_collections.residency.scheduler.plugins.module_utils.monitor_setup import Setup
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.schedule import Run
from receivers import WebServer, web_server

SICK = judge("db: containers", False, "1 running", "exited", "Read the log.")
LINE = judge("db: errors in the log", False, "none", "1", "Read it.", topic="log_errors")


@pytest.fixture(autouse=True)
def booted_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "BOOT_SECONDS", 0.0)


def install(folder: Path, **given: Any) -> Setup:
    jobs = [{"name": name, "max_age": 3600} for name in ("health", "backup")]
    values = {
        "host": "one",
        "project": {"name": "p", "directory": str(folder), "env_file": ".env"},
        "state_dir": str(folder / "state"),
        "lock_file": str(folder / "run" / "lock"),
        "metrics_dir": str(folder / "metrics"),
        "backup": {"backup_dir": str(folder / "backups")},
        "channels": [],
        "failures": 2,
        "remind_hours": 24,
        "deployment_hours": 3,
        "jobs": jobs,
        "follow_up": [],
    }
    (folder / ".env").write_text("DB_PASSWORD='s3cret-value'\n", encoding="utf-8")
    (folder / "monitor.json").write_text(json.dumps({**values, **given}), encoding="utf-8")
    return Setup.read(str(folder))


def told(setup: Setup) -> list[str]:
    return [entry.subject for entry in setup.alerts().known()]


def job(monkeypatch: pytest.MonkeyPatch, name: str, *outcomes: Outcome | Exception) -> None:
    """Let the job *name* have these outcomes, one after the other."""
    left = list(outcomes)

    def work(setup: Setup) -> Outcome:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return replace(outcome, muted=setup.muted(datetime.now(UTC))) if name == "health" else outcome

    monkeypatch.setitem(monitor.JOBS, name, work)


def test_a_finding_is_told_by_the_second_run_and_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(WebServer()) as server:
        setup = install(tmp_path, channels=[{"name": "a", "kind": "webhook", "url": server.url("/")}])
        sick = [Outcome(checks=[SICK], failures=2) for _run in range(3)]
        job(monkeypatch, "health", *sick, Outcome(failures=2))
        assert [run("health", setup) for _run in range(4)] == [0] * 4
    assert [post.document["event"] for post in server.posts] == ["alert", "resolved"]
    assert setup.records.read("health").verdict == "good"


def test_a_line_of_a_log_is_told_at_once_where_nothing_else_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = install(tmp_path)
    job(monkeypatch, "health", Outcome(checks=[LINE], failures=2), Outcome(failures=2), Outcome(checks=[LINE, SICK], failures=2))
    known = []
    for _run in range(3):
        run("health", setup)
        known.append(told(setup))
    assert known == [[LINE.subject], [], []]


def test_a_database_that_comes_up_with_the_server_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Exception | list[str]] = [Problem("Looking for db failed", "no container runs", "Wait."), ["1"]]

    class Coming:
        def rows(self, *_words: object, **_options: object) -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(monitor, "_postgres", lambda _setup: Coming())
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monitor._wait_for_database(install(tmp_path))
    assert len(answers) == 2, "a server that is up for long is not waited for"
    monkeypatch.setattr(monitor, "BOOT_SECONDS", float("inf"))
    monitor._wait_for_database(install(tmp_path))
    assert answers == []


@pytest.mark.parametrize(
    ("muted", "minutes", "seen"), [("", 5, [SICK]), ("maintenance", 5, []), ("", 61, [])], ids=["fresh", "in maintenance", "overdue"]
)
def test_the_last_health_check_is_evidence_as_long_as_it_is_whole_and_fresh(
    muted: str, minutes: int, seen: list[Check], tmp_path: Path
) -> None:
    setup, now = install(tmp_path), datetime.now(UTC)
    document = {"at": (now - timedelta(minutes=minutes)).isoformat(), "muted": muted, "checks": [SICK.to_dict()]}
    (tmp_path / "health.json").write_text(json.dumps(document), encoding="utf-8")
    assert monitor._last_health(setup, now) == seen
    (tmp_path / "health.json").write_text("half a docu", encoding="utf-8")
    assert monitor._last_health(setup, now) == []


def test_a_run_that_breaks_is_told_at_once_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = install(tmp_path)
    job(monkeypatch, "backup", Problem("Taking a backup failed", "no room for s3cret-value", "Make room."), RuntimeError("odd"), Outcome())
    assert run("backup", setup) == 1
    assert told(setup) == ["backup: run"]
    assert setup.records.read("backup").why == "Taking a backup failed: no room for ********. Make room."
    assert run("backup", setup) == 1
    assert setup.records.read("backup").why == "RuntimeError: odd"
    assert run("backup", setup) == 0
    assert told(setup) == []
    assert "s3cret-value" not in str(capsys.readouterr()) + (tmp_path / "alerts.json").read_text(encoding="utf-8")


def test_a_run_that_breaks_is_told_where_the_secrets_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = install(tmp_path)
    env_file = Path(setup.values["project"]["directory"], ".env")
    env_file.unlink()
    env_file.mkdir()
    job(monkeypatch, "backup", Problem("Taking a backup failed", "it is a folder", "Look."))
    assert run("backup", setup) == 1
    assert told(setup) == ["backup: run"]


def test_nobody_is_told_while_a_playbook_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    setup = install(tmp_path)
    record = {"run": "r", "by": "A", "host": "desk", "playbook": "deploy.yml", "since": datetime.now(UTC).isoformat()}
    job(monkeypatch, "health", *[Outcome(checks=[SICK], failures=1) for _run in range(3)])
    with run_lock.taken(setup.values["lock_file"], record, 1):
        run("health", setup)
    assert told(setup) == []
    assert "Nobody is told of findings: deploy.yml of A on desk" in capsys.readouterr().out
    # One that hangs for hours mutes no more.
    with run_lock.taken(setup.values["lock_file"], {**record, "since": (datetime.now(UTC) - timedelta(hours=4)).isoformat()}, 1):
        run("health", setup)
    assert told(setup) == ["db: containers"]
    # Nor does one that began while the clock was ahead.
    with run_lock.taken(setup.values["lock_file"], {**record, "since": (datetime.now(UTC) + timedelta(days=300)).isoformat()}, 1):
        assert setup.muted(datetime.now(UTC)) == ""


def test_a_scheduled_backup_mutes_nothing(tmp_path: Path) -> None:
    setup = install(tmp_path)
    with run_lock.taken(setup.values["lock_file"], setup.holder("backup"), 1):
        assert setup.muted(datetime.now(UTC)) == ""


def test_announced_maintenance_mutes_until_its_end(tmp_path: Path) -> None:
    install(tmp_path)
    assert main(["maintenance", "30", "--reason", "new disk"], str(tmp_path)) == 0
    setup = Setup.read(str(tmp_path))
    assert setup.muted(datetime.now(UTC)).endswith(": new disk")
    assert setup.muted(datetime.now(UTC) + timedelta(minutes=31)) == ""
    assert setup.muted(datetime.now(UTC) - timedelta(days=30)) == "", "the clock was ahead when it was announced"
    assert main(["maintenance", "0"], str(tmp_path)) == 0
    assert setup.muted(datetime.now(UTC)) == ""
    assert [main(["maintenance", minutes], str(tmp_path)) for minutes in ("99999999999", "-5")] == [1, 1]


def test_a_backup_waits_for_a_playbook_and_says_that_it_was_left_out(tmp_path: Path) -> None:
    setup = install(tmp_path, wait=0.1)
    record = {"run": "r", "by": "A", "host": "desk", "playbook": "deploy.yml", "since": datetime.now(UTC).isoformat()}
    with run_lock.taken(setup.values["lock_file"], record, 1):
        outcome = monitor.backup(setup)
    assert (outcome.verdict, outcome.why[:58]) == ("skipped", "another run works on this server: deploy.yml of A on desk,")


def test_what_does_not_run_any_more_is_told_by_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = install(tmp_path)
    old = (datetime.now(UTC) - timedelta(hours=2)).isoformat(timespec="seconds")
    for name in ("health", "backup"):
        setup.records.write(Run(name, old, old, "good", "", old))
    job(monkeypatch, "backup", Outcome())
    run("backup", setup)
    assert told(setup) == ["health: last good run"]
    setup.records.write(Run("backup", old, old, "good", "", old))
    job(monkeypatch, "health", Outcome(), Outcome())
    run("health", setup)  # it runs again, and sees that no backup was taken
    assert told(setup) == ["backup: last good run"]
    # A backup by a playbook counts.
    folder = tmp_path / "backups" / "postgres" / "one"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"created": datetime.now(UTC).isoformat()}), encoding="utf-8")
    run("health", setup)
    assert told(setup) == []


def test_a_second_run_of_the_same_job_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup = install(tmp_path)
    with setup.records.only("backup"):
        assert run("backup", setup) == 0
    assert "skipped, since another run of it is at work" in capsys.readouterr().out


def test_without_a_configuration_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health"], str(tmp_path)) == 1
    assert "Run ansible-playbook playbooks/monitoring.yml again" in capsys.readouterr().err
