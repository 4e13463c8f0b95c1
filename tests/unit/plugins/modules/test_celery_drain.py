# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""celery_drain: when workers are told, what they are told to resume, and what is left is no success."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import celery_drain

BOTH = {"celery@a": ["default", "notifications"], "celery@b": ["default", "notifications"]}
NOTHING: dict[str, list[str]] = {"celery@a": [], "celery@b": []}
LEFT = {"task": "app.tasks.solve", "id": "6f7b", "node": "celery@a", "state": "running"}


def said(**answer: Any) -> tuple[str, str]:
    return "docker exec --interactive small-worker-1 python -", f"residency.scheduler:{json.dumps(answer)}\n"


def drain(folder: Path, runner: Any, recorded: Any, *answers: tuple[str, str], check_mode: bool = False, **options: Any) -> dict[str, Any]:
    fake = runner(("docker ps", "one two"), ("docker container inspect", recorded("docker-26.1-inspect-small-stack.json")), *answers)
    project = {"name": "small", "directory": str(folder), "files": ["docker-compose.yml"], "env_file": ".env"}
    parameters = {"project": project, "services": ["worker"], "app": "app", "queues": [], "wait": 5, "timeout": 2, "state": "drained"}
    parameters["marker"] = str(folder / "drained")
    result = celery_drain.run({**parameters, **options}, check_mode, fake)
    assert fake.finished()
    return result


def test_drained(tmp_path: Path, runner, recorded) -> None:
    result = drain(tmp_path, runner, recorded, said(before=BOTH), said(before=BOTH, left=[], seconds=4.6))
    assert (result["changed"], result["queues"], result["seconds"]) == (True, BOTH, 4.6)
    assert result["diff"]["after"] == "celery@a: nothing\ncelery@b: nothing\n"
    assert (tmp_path / "drained").exists()


def test_a_check_tells_them_nothing(tmp_path: Path, runner, recorded) -> None:
    assert drain(tmp_path, runner, recorded, said(before=BOTH), check_mode=True)["changed"]


def test_workers_that_consume_nothing_may_still_be_working(tmp_path: Path, runner, recorded) -> None:
    result = drain(tmp_path, runner, recorded, said(before=NOTHING), said(before=NOTHING, left=[], seconds=1.0))
    assert not result["changed"]


def test_what_is_left_is_named_and_nothing_has_changed(tmp_path: Path, runner, recorded) -> None:
    with pytest.raises(Problem) as caught:
        drain(tmp_path, runner, recorded, said(before=BOTH), said(before=BOTH, left=[LEFT], seconds=5.0))
    assert "after 5 s 1 tasks are left: app.tasks.solve (running on celery@a)" in caught.value.message()
    assert caught.value.details["changed"] is False
    assert not (tmp_path / "drained").exists()


@pytest.mark.parametrize(("before", "answers", "changed"), [(NOTHING, 1, True), (BOTH, 0, False)])
def test_resumed(before: dict[str, Any], answers: int, changed: bool, tmp_path: Path, runner, recorded) -> None:
    options = {"state": "resumed", "queues": ["notifications", "default"]}
    (tmp_path / "drained").touch()
    assert drain(tmp_path, runner, recorded, said(before=before), *[said(before=before)] * answers, **options)["changed"] is changed
    assert not (tmp_path / "drained").exists()


def test_workers_that_do_not_answer_are_told_of(tmp_path: Path, runner, recorded) -> None:
    result = drain(tmp_path, runner, recorded, said(before={}))
    assert not result["changed"]
    assert result["warnings"][0].startswith("None of 2 Celery workers answered")
    assert not (tmp_path / "drained").exists()


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
        (["celery", "-A", "app", "worker"], ["celery"]),
    ],
)
def test_the_queues_of_a_command(command: list[str], queues: list[str]) -> None:
    assert celery_drain.queues_of(command) == queues
