# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""celery: each way in which workers and beat can be sick is objected to, and a healthy answer is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.celery import (
    Beat,
    answering,
    beats_among,
    judge_beat_processes,
    judge_tick,
    judge_workers,
)
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Process, parse_containers

NOON = datetime(2025, 12, 22, 12, tzinfo=UTC)
HEALTHY = {
    "nodes": ["celery@a", "celery@b"],
    "consumed": ["default", "notifications"],
    "routed": ["default", "notifications"],
    "tasks": ["app.tasks.record", "app.tasks.notify"],
    "scheduled": ["app.tasks.record"],
    "missing_tasks": {"celery@a": [], "celery@b": []},
    "depths": {"default": 3, "notifications": 0},
    "unacked": 1,
    "canaries": [{"queue": "default", "seconds": 0.03, "error": ""}],
}
BEAT = Process(60.0, "Ssl", "/usr/local/bin/python /usr/local/bin/celery -A app.core.celery_app beat --loglevel=info")


def verdicts(allowed: list[str] | None = None, **fields: Any) -> dict[str, str]:
    checks = judge_workers({**HEALTHY, **fields}, "celery-worker", 2, allowed or [], 1000)
    assert all(check.topic.startswith("celery_") for check in checks)
    return {check.subject: check.verdict for check in checks if check.verdict != "pass"}


def test_healthy_workers_pass() -> None:
    assert verdicts() == {}


@pytest.mark.parametrize(
    ("fields", "subject", "verdict"),
    [
        ({"nodes": []}, "celery-worker: workers that answer", "fail"),
        ({"nodes": ["celery@a"]}, "celery-worker: workers that answer", "fail"),
        ({"nodes": ["celery@a", "celery@b", "celery@stray"]}, "celery-worker: workers that answer", "fail"),
        ({"routed": ["default", "metrics"]}, "queue metrics: consumers", "fail"),
        ({"missing_tasks": {"celery@a": [], "celery@b": ["app.tasks.new"]}}, "celery@b: registered tasks", "fail"),
        ({"scheduled": ["app.tasks.gone"]}, "beat schedule: tasks", "fail"),
        ({"depths": {"default": 1001}}, "queues: tasks waiting", "warn"),
        ({"canaries": [{"queue": "default", "seconds": 10.0, "error": "TimeoutError"}]}, "queue default: canary", "fail"),
    ],
)
def test_sick_workers_are_told(fields: dict[str, Any], subject: str, verdict: str) -> None:
    assert verdicts(**fields) == {subject: verdict}


def test_a_queue_known_to_have_no_consumer_is_a_warning() -> None:
    assert verdicts(["metrics"], routed=["default", "metrics"]) == {"queue metrics: consumers": "warn"}


@pytest.mark.parametrize(
    ("command", "counts"),
    [
        (BEAT.command, True),
        ("celery -A app worker -B", True),
        ("celery -A app worker --beat -Q default", True),
        ("celery -A app worker -Q default", False),
        ("sh -c celery -A app beat", False),
        ("python heart.py beat", False),
    ],
)
def test_what_a_scheduler_is(command: str, counts: bool) -> None:
    assert bool(beats_among([Process(1.0, "S", command)])) is counts


@pytest.mark.parametrize(
    ("beats", "verdict"),
    [
        ([BEAT], "pass"),
        ([], "fail"),
        ([BEAT, BEAT], "fail"),
        ([Process(60.0, "Tsl", BEAT.command)], "fail"),
        ([Process(60.0, "Z", BEAT.command)], "fail"),
    ],
)
def test_exactly_one_scheduler_that_is_not_stopped(beats: list[Process], verdict: str) -> None:
    assert judge_beat_processes("celery-beat", beats).verdict == verdict


@pytest.mark.parametrize(
    ("up", "age", "interval", "verdict"),
    [
        pytest.param(600, 3, 10.0, "pass", id="ticks"),
        pytest.param(600, 19, 10.0, "pass", id="a little late"),
        pytest.param(600, 60, 10.0, "fail", id="has ceased to tick"),
        pytest.param(600, None, 10.0, "fail", id="has never ticked"),
        pytest.param(5, None, 10.0, "warn", id="too young to have ticked"),
        pytest.param(600, None, None, "warn", id="crontabs only"),
    ],
)
def test_ticks(up: float, age: float | None, interval: float | None, verdict: str) -> None:
    last = None if age is None else NOON - timedelta(seconds=age)
    beat = Beat((BEAT,), NOON - timedelta(seconds=up), last)
    assert judge_tick("celery-beat", beat, interval, NOON).verdict == verdict


@pytest.mark.parametrize(
    ("nodes", "count"),
    [
        (["celery@{0}", "celery@{1}"], 2),
        (["celery@{0}"], 1),
        # The workers of another service do not stand in for a deaf one.
        (["celery@{0}", "celery@0123456789ab"], 1),
        (["celery@0123456789ab", "celery@ba9876543210"], 0),
        ([], 0),
        # Names of another making cannot be told apart, only counted.
        (["solver@one", "solver@two", "solver@three"], 2),
    ],
)
def test_who_answers_for_which_container(nodes: list[str], count: int, recorded) -> None:
    containers = [item for item in parse_containers(recorded("docker-26.1-inspect-small-stack.json")) if item.service == "worker"]
    hosts = [item.hostname for item in containers]
    assert len(hosts) == len(set(hosts)) == 2
    assert answering(containers, [node.format(*hosts) for node in nodes]) == count
