# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""celery_health: each way in which workers can be sick is objected to, and a healthy answer is not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.modules.celery_health import judge_answer

HEALTHY = {
    "nodes": ["celery@a", "celery@b"],
    "consumed": ["default", "notifications"],
    "routed": ["default", "notifications"],
    "canaries": [{"queue": "default", "seconds": 0.03, "error": ""}],
}


def verdicts(allowed: list[str] | None = None, **fields: Any) -> dict[str, str]:
    checks = judge_answer({**HEALTHY, **fields}, "celery-worker", 2, allowed or [])
    return {check.subject: check.verdict for check in checks if check.verdict != "pass"}


def test_healthy_workers_pass() -> None:
    assert verdicts() == {}


@pytest.mark.parametrize(
    ("fields", "subject"),
    [
        ({"nodes": []}, "celery-worker: workers that answer"),
        ({"nodes": ["celery@a"]}, "celery-worker: workers that answer"),
        ({"nodes": ["celery@a", "celery@b", "celery@stray"]}, "celery-worker: workers that answer"),
        ({"routed": ["default", "metrics"]}, "queue metrics: consumers"),
        ({"canaries": [{"queue": "default", "seconds": 10.0, "error": "TimeoutError"}]}, "queue default: canary"),
    ],
)
def test_sick_workers_fail(fields: dict[str, Any], subject: str) -> None:
    assert verdicts(**fields) == {subject: "fail"}


def test_a_queue_known_to_have_no_consumer_is_a_warning() -> None:
    assert verdicts(["metrics"], routed=["default", "metrics"]) == {"queue metrics: consumers": "warn"}
