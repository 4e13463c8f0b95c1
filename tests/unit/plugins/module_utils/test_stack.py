# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ordered stack, checks and problems."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, failed, judge, summary
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService, parse_services


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"name": "db", "kind": "postgres"}, StackService("db", "postgres", None, "/", False, False)),
        (
            {"name": "api", "kind": "http", "port": 8000, "path": "/health", "optional": True},
            StackService("api", "http", 8000, "/health", True, False),
        ),
        ({"name": "w", "kind": "celery_worker"}, StackService("w", "celery_worker", None, "/", False, True)),
        ({"name": "b", "kind": "celery_beat", "docker_health": None}, StackService("b", "celery_beat", None, "/", False, True)),
        ({"name": "w", "kind": "celery_worker", "docker_health": "required"}, StackService("w", "celery_worker", None, "/", False, False)),
        ({"name": "api", "kind": "http", "docker_health": "advice"}, StackService("api", "http", None, "/", False, True)),
        ({"name": "api", "kind": "http", "path": None}, StackService("api", "http", None, "/", False, False)),
    ],
)
def test_parse_services(value: dict[str, Any], expected: StackService) -> None:
    assert parse_services([value]) == [expected]


def test_the_order_is_kept() -> None:
    names = ["z", "a", "m"]
    assert [service.name for service in parse_services([{"name": name, "kind": "container"} for name in names])] == names


def test_a_service_listed_twice_is_named() -> None:
    with pytest.raises(Problem, match="scheduler_services") as caught:
        parse_services([{"name": "db", "kind": "postgres"}, {"name": "x", "kind": "http"}, {"name": "db", "kind": "http"}])
    assert caught.value.why == "db is listed twice"


@pytest.mark.parametrize(
    ("good", "otherwise", "verdict", "remedy"), [(True, "fail", "pass", ""), (False, "fail", "fail", "Do."), (False, "warn", "warn", "Do.")]
)
def test_judge(good: bool, otherwise: str, verdict: str, remedy: str) -> None:
    check = judge("s", good, "x", "y", "Do.", 0.12345, otherwise=otherwise)
    assert (check.verdict, check.remedy) == (verdict, remedy)
    assert check.to_dict()["seconds"] == 0.123


def test_summary_holds_the_failures_only() -> None:
    checks = [Check("a", "pass", "1", "1"), Check("b", "fail", "1", "2", remedy="Do."), Check("c", "warn", "1", "2", remedy="Look.")]
    assert [check.subject for check in failed(checks)] == ["b"]
    assert summary(checks) == "  - b: expected 1, found 2. Do."


class FakeModule:
    """Records how the module ended."""

    class Ended(Exception):
        """Stands for the end of the process."""

    def __init__(self) -> None:
        self.result: dict[str, Any] = {}

    def exit_json(self, **result: Any) -> None:
        """End well."""
        self.result = result
        raise self.Ended

    def fail_json(self, **result: Any) -> None:
        """End badly."""
        self.result = {"failed": True, **result}
        raise self.Ended


def test_finish_well() -> None:
    module = FakeModule()
    with pytest.raises(FakeModule.Ended):
        finish(module, lambda: {"changed": False, "x": 1})
    assert module.result == {"changed": False, "x": 1}


def test_finish_with_a_problem() -> None:
    def work() -> dict[str, Any]:
        raise Problem("Doing it failed", "it broke.", "Mend it.", rc=3)

    module = FakeModule()
    with pytest.raises(FakeModule.Ended):
        finish(module, work)
    assert module.result == {"failed": True, "msg": "Doing it failed: it broke. Mend it.", "rc": 3}
