# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""celery_drain: when workers are told, what they are told to resume, and what is left is no success."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import celery
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import celery_drain, stack_plan

BOTH = {"celery@a": ["default", "notifications"], "celery@b": ["default", "notifications"]}
NOTHING: dict[str, list[str]] = {"celery@a": [], "celery@b": []}
LEFT = {"task": "app.tasks.solve", "id": "6f7b", "node": "celery@a", "state": "running"}


def said(**answer: Any) -> tuple[str, str]:
    return "docker exec --interactive small-worker-1 python -", f"residency.scheduler:{json.dumps(answer)}\n"


def consumed(before: dict[str, list[str]]) -> tuple[str, str]:
    return said(before=before, default=["of-the-settings"])


def drain(folder: Path, runner: Any, recorded: Any, *answers: tuple[str, str], check_mode: bool = False, **options: Any) -> dict[str, Any]:
    fake = runner(("docker ps", "one two"), ("docker container inspect", recorded("docker-26.1-inspect-small-stack.json")), *answers)
    project = {"name": "small", "directory": str(folder), "files": ["docker-compose.yml"], "env_file": ".env"}
    parameters = {"project": project, "services": ["worker"], "app": "app", "queues": [], "wait": 5, "force": False, "timeout": 2}
    parameters |= {"marker": str(folder / "drained"), "state": "drained"}
    result = celery_drain.run({**parameters, **options}, check_mode, fake)
    assert fake.finished()
    return result


def test_drained(tmp_path: Path, runner, recorded) -> None:
    result = drain(tmp_path, runner, recorded, consumed(BOTH), said(before=BOTH, left=[], seconds=4.6))
    assert (result["changed"], result["queues"], result["seconds"]) == (True, BOTH, 4.6)
    assert result["diff"]["after"] == "celery@a: nothing\ncelery@b: nothing\n"
    assert celery.read_drained(str(tmp_path / "drained")) == (BOTH, True)


def test_a_check_tells_them_nothing(tmp_path: Path, runner, recorded) -> None:
    assert drain(tmp_path, runner, recorded, consumed(BOTH), check_mode=True)["changed"]


def test_workers_that_consume_nothing_may_still_be_working(tmp_path: Path, runner, recorded) -> None:
    result = drain(tmp_path, runner, recorded, consumed(NOTHING), said(before=NOTHING, left=[], seconds=1.0))
    assert not result["changed"]


def test_what_is_left_is_named_and_nothing_has_changed(tmp_path: Path, runner, recorded) -> None:
    with pytest.raises(Problem) as caught:
        drain(tmp_path, runner, recorded, consumed(BOTH), said(before=BOTH, left=[LEFT], seconds=5.0))
    assert "after 5 s 1 tasks are left: app.tasks.solve (running on celery@a)" in caught.value.message()
    assert caught.value.details["changed"] is False
    assert not (tmp_path / "drained").exists()


def test_what_hangs_can_be_left_behind(tmp_path: Path, runner, recorded) -> None:
    result = drain(tmp_path, runner, recorded, consumed(BOTH), said(before=BOTH, left=[LEFT], seconds=5.0), force=True)
    assert result["changed"]
    told = "After 5 s 1 tasks are left, which end with their workers: app.tasks.solve (running on celery@a)."
    assert result["warnings"] == [told]
    assert celery.read_drained(str(tmp_path / "drained")) == (BOTH, True)


@pytest.mark.parametrize(("before", "answers", "changed"), [(NOTHING, 1, True), (BOTH, 0, False)])
def test_resumed(before: dict[str, Any], answers: int, changed: bool, tmp_path: Path, runner, recorded) -> None:
    options = {"state": "resumed", "queues": ["notifications", "default"]}
    (tmp_path / "drained").touch()
    result = drain(tmp_path, runner, recorded, consumed(before), *[said(before=before)] * answers, **options)
    assert result["changed"] is changed
    assert not (tmp_path / "drained").exists()


def test_those_that_were_replaced_since_need_not_answer(tmp_path: Path, runner, recorded) -> None:
    marker = tmp_path / "drained"
    marker.touch()
    # Before the containers of the fixture were started.
    os.utime(marker, (0, 0))
    result = drain(tmp_path, runner, recorded, state="resumed")
    assert (result["changed"], "warnings" in result, marker.exists()) == (False, False, False)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ({}, "2 of 2 Celery workers did not answer: they could not be drained"),
        ({"celery@a": ["default"]}, "1 of 2 Celery workers did not answer"),
    ],
)
def test_workers_that_do_not_answer_are_told_of(before: dict[str, list[str]], words: str, tmp_path: Path, runner, recorded) -> None:
    answers = [said(before=before, left=[], seconds=0.5)] if before else []
    result = drain(tmp_path, runner, recorded, consumed(before), *answers)
    assert result["warnings"][0].startswith(words)
    assert (tmp_path / "drained").exists() is bool(before)


WORKERS = [SimpleNamespace(hostname="a", command=["celery", "worker", "-Q", "light"]), SimpleNamespace(hostname="b", command=["celery"])]


@pytest.mark.parametrize(
    ("before", "asked", "marked", "found"),
    [
        pytest.param([], [], {"celery@a": ["heavy"]}, ["heavy"], id="what it consumed when it was drained"),
        pytest.param(["light"], [], {"celery@a": ["light", "heavy"]}, ["light", "heavy"], id="a drain that was cut halfway"),
        pytest.param(["light", "added"], [], {}, ["light", "added"], id="what it consumes now"),
        pytest.param([], [], {}, ["light"], id="by its own command"),
        pytest.param([], ["asked"], {"celery@a": ["heavy"]}, ["asked"], id="what is asked for"),
    ],
)
def test_what_a_worker_consumes_again(before: list[str], asked: list[str], marked: dict[str, list[str]], found: list[str]) -> None:
    told = celery_drain.consumed_by({"celery@a": before, "celery@b": []}, asked, marked, WORKERS, ["of-the-settings"])
    assert told == {"celery@a": found, "celery@b": asked or ["of-the-settings"]}


def test_a_drain_that_was_cut_is_not_taken_for_done(tmp_path: Path, runner, recorded) -> None:
    with pytest.raises(AssertionError):
        # The fake has no answer: nobody came back from the wait.
        drain(tmp_path, runner, recorded, consumed(BOTH))
    marker = str(tmp_path / "drained")
    assert celery.read_drained(marker) == (BOTH, False)
    assert stack_plan._drained(marker) == datetime.fromtimestamp(0, UTC)
    celery.write_drained(marker, BOTH, idle=True)
    assert datetime.now(UTC) - stack_plan._drained(marker) < timedelta(minutes=1)
    assert stack_plan._drained(str(tmp_path / "none")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"queues": [], "idle": true}'])
def test_a_marker_that_was_cut_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "drained").write_text(text, encoding="utf-8")
    assert celery.read_drained(str(tmp_path / "drained")) == ({}, False)


@pytest.mark.parametrize("later", [[], ["b"]], ids=["all crash", "one stays"])
def test_a_worker_that_ends_while_it_is_asked_has_nothing_to_be_drained(later: list[str]) -> None:
    asked: list[list[str]] = []

    def ask(workers: Any) -> dict[str, Any]:
        asked.append([item.name for item in workers])
        if len(asked) == 1:
            raise Problem("Asking failed", "exit code 137", "Look at the log.")
        return {"before": NOTHING}

    first, again = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    lists: list[Any] = [
        [SimpleNamespace(name="a", started=first), SimpleNamespace(name="b", started=first)],
        [SimpleNamespace(name="a", started=again), *(SimpleNamespace(name=name, started=first) for name in later)],
    ]
    workers, answer = celery_drain._look(lambda: lists.pop(0), ask)
    assert [item.name for item in workers] == later
    assert asked[1:] == ([later] if later else [])
    assert answer == ({"before": NOTHING} if later else {})


def test_workers_that_run_on_and_cannot_be_asked_are_a_problem() -> None:
    def ask(_workers: Any) -> dict[str, Any]:
        raise Problem("Asking failed", "no module named app", "Look at scheduler_celery_app.")

    worker: Any = SimpleNamespace(name="a", started=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(Problem, match="Asking failed"):
        celery_drain._look(lambda: [worker], ask)


def test_no_worker_runs(tmp_path: Path, runner, recorded) -> None:
    (tmp_path / "drained").touch()
    assert not drain(tmp_path, runner, recorded, services=["absent"])["changed"]
    assert not (tmp_path / "drained").exists()


@pytest.mark.parametrize(
    ("command", "queues"),
    [
        (["celery", "-A", "app", "worker", "-Q", "a,b"], ["a", "b"]),
        (["sh", "-c", "celery -A app worker --queues=a,b"], ["a", "b"]),
        (["celery", "-A", "app", "worker", "--queues", "a"], ["a"]),
        (["celery", "-A", "app", "worker", "-Qa"], ["a"]),
        (["sh", "-c", "exec celery -A app worker -Q 'a,b'"], ["a", "b"]),
        (["sh", "-c", "echo it's; celery worker -Q a"], ["a"]),
        (["sh", "-c", "celery -A app worker -Q ${QUEUES}"], []),
        (["celery", "-A", "app", "worker"], []),
    ],
)
def test_the_queues_of_a_command(command: list[str], queues: list[str]) -> None:
    assert celery_drain.queues_of(command) == queues
