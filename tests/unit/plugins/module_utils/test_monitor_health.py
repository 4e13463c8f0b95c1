# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""monitor_health: what is told of a look. tests/operations makes real ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.capacity import Room
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.containers import parse_containers
from ansible_collections.residency.scheduler.plugins.module_utils.health import Verdict
from ansible_collections.residency.scheduler.plugins.module_utils.metrics import render
from ansible_collections.residency.scheduler.plugins.module_utils.monitor_health import Looked, failure, gauges, healthy, judge_log

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)
RELEASE = {"version": "v1.1.0", "commit": "abc", "at": "2026-01-30T02:00:00+00:00"}


def lines(looked: Looked, muted: bool = False) -> list[str]:
    text = render(gauges(looked, NOW, 2.5, muted), "p")
    return [line.removeprefix("residency_scheduler_") for line in text.splitlines() if not line.startswith("#")]


def test_what_could_not_be_had_is_left_out() -> None:
    found = lines(Looked((judge("services: check", False, "a", "b", "c"),), RELEASE))
    assert found == [
        'release_info{project="p",version="v1.1.0",commit="abc"} 1',
        'release_timestamp_seconds{project="p"} 1769738400.0',
        'health_timestamp_seconds{project="p"} 1769824800.0',
        'health_duration_seconds{project="p"} 2.5',
        'health_success{project="p"} 0',
        'maintenance{project="p"} 0',
        'checks{project="p",verdict="pass"} 0',
        'checks{project="p",verdict="warn"} 0',
        'checks{project="p",verdict="fail"} 1',
    ]


def test_all_figures() -> None:
    verdict = Verdict("celery-worker", "healthy", (), ())
    figures = {
        "services": [verdict],
        "kinds": {"celery-worker": "celery_worker"},
        "replicas": {"celery-worker": 2, "backend": 1},
        "nodes": ["celery@a"],
        "depths": {"default": 3},
        "last_tick": NOW,
        "certificate_expiry": NOW,
        "at_head": True,
        "database_size": 8,
    }
    found = lines(Looked((), RELEASE, figures, (Room("/", 10, 4),)), muted=True)
    assert found[5:] == [
        'maintenance{project="p"} 1',
        'checks{project="p",verdict="pass"} 0',
        'checks{project="p",verdict="warn"} 0',
        'checks{project="p",verdict="fail"} 0',
        'service_healthy{project="p",service="celery-worker"} 1',
        'container_restarts{project="p",service="celery-worker"} 0',
        'queue_depth{project="p",queue="default"} 3',
        'workers{project="p"} 1',
        'workers_expected{project="p"} 2',
        'beat_last_tick_timestamp_seconds{project="p"} 1769824800.0',
        'certificate_expiry_timestamp_seconds{project="p"} 1769824800.0',
        'alembic_at_head{project="p"} 1',
        'database_size_bytes{project="p"} 8',
        'disk_size_bytes{project="p",path="/"} 10',
        'disk_free_bytes{project="p",path="/"} 4',
    ]


def test_a_look_that_could_not_be_made_has_its_time_and_no_success() -> None:
    text = render(failure(NOW, 0.1, False), "p")
    assert 'residency_scheduler_health_success{project="p"} 0\n' in text
    assert 'residency_scheduler_health_timestamp_seconds{project="p"} 1769824800.0\n' in text


@pytest.mark.parametrize(
    ("status", "kind", "check", "expected"),
    [
        ("healthy", "http", judge("backend: HTTP", True, "", "", ""), True),
        ("failed", "http", judge("backend: HTTP", True, "", "", ""), False),
        ("healthy", "http", judge("backend: HTTP", False, "", "", ""), False),
        ("healthy", "http", judge("frontend: HTTP", False, "", "", ""), True),
        ("healthy", "http", judge("backend: errors in the log", False, "", "", "", topic="log_errors"), True),
        ("healthy", "celery_worker", judge("queue default: canary", False, "", "", "", topic="celery_canary"), False),
        ("healthy", "celery_beat", judge("queue default: canary", False, "", "", "", topic="celery_canary"), True),
        ("healthy", "celery_beat", judge("celery-beat: ticks", False, "", "", "", topic="celery_beat"), False),
    ],
)
def test_healthy(status: str, kind: str, check: Check, expected: bool) -> None:
    assert healthy(Verdict("backend", status, (), ()), kind, [check]) is expected


@pytest.mark.parametrize(
    ("driver", "limit", "verdict"),
    [("json-file", "10m", "pass"), ("json-file", "", "fail"), ("json-file", "-1", "fail"), ("local", "", "pass"), ("journald", "", "pass")],
)
def test_a_log_without_bounds_is_a_finding(driver: str, limit: str, verdict: str, recorded: Any) -> None:
    container = parse_containers(recorded("docker-26.1-inspect-small-stack.json"))[0]
    check = judge_log(replace(container, log_driver=driver, log_limit=limit))
    assert check.verdict == verdict
    assert check.verdict == "pass" or "replace it" in check.remedy
