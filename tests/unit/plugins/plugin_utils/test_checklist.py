# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checklist: what a line's verdict is, and that nothing unproven passes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import stages
from ansible_collections.residency.scheduler.plugins.plugin_utils import checklist

PROVEN = checklist.Line("a.1", "A", "1. One", "Services run", ("containers", "http"), "")
PERSONAL = checklist.Line("a.2", "A", "2. Two", "No errors in the console", ("console",), "the operator")


def check(verdict: str = "pass", topic: str = "containers", subject: str = "db", **fields: Any) -> dict[str, Any]:
    return {"subject": subject, "verdict": verdict, "expected": "e", "found": "f", "seconds": 0.1, "remedy": "r", "topic": topic, **fields}


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ([check()], "pass"),
        ([check(), check("warn", "http")], "warn"),
        ([check("warn"), check("fail", "http"), check()], "fail"),
        ([], "fail"),
        ([check(topic="elsewhere")], "fail"),
        ([check("nonsense")], "fail"),
    ],
)
def test_the_worst_check_decides_and_none_is_a_failure(checks: list[dict[str, Any]], verdict: str) -> None:
    assert checklist.complete([PROVEN], checks, {})[0].verdict == verdict


@pytest.mark.parametrize(
    ("checks", "answers", "verdict"),
    [
        ([], {}, "open"),
        ([], {"a.2": {"by": "A. Operator", "verdict": "pass"}}, "pass"),
        ([], {"a.2": {"by": "A. Operator", "verdict": "fail"}}, "fail"),
        ([], {"a.2": {"by": "A. Operator", "verdict": "fine, I think"}}, "open"),
        ([check("fail", "console")], {"a.2": {"by": "A. Operator", "verdict": "pass"}}, "fail"),
        ([check("pass", "console")], {"a.2": {"by": "A. Operator", "verdict": "fail"}}, "fail"),
    ],
)
def test_a_persons_answer_never_outweighs_a_check(checks: list[dict[str, Any]], answers: dict[str, Any], verdict: str) -> None:
    assert checklist.complete([PERSONAL], checks, answers)[0].verdict == verdict


def test_a_check_that_no_line_asks_for_is_not_lost() -> None:
    answered = checklist.complete([PROVEN], [check(), check("fail", "new_topic")], {})
    assert [(item.line.text, item.verdict) for item in answered] == [("Services run", "pass"), ("New topic", "fail")]
    assert checklist.overall(answered) == "fail"


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [([check()], "pass"), ([check("warn")], "warn"), ([check("fail")], "fail")],
)
def test_what_is_open_fails_nothing(checks: list[dict[str, Any]], verdict: str) -> None:
    answered = checklist.complete([PROVEN, PERSONAL], checks, {})
    assert checklist.overall(answered) == verdict
    assert checklist.count(answered)["open"] == 1


def test_the_message_tells_each_failure_once() -> None:
    other = checklist.Line("b.1", "B", "B", "Again", ("containers",), "")
    message = checklist.failure_message(checklist.complete([PROVEN, other], [check("fail"), check("warn", subject="x")], {}))
    assert message == "The verification failed: 2 lines of the checklist:\n  - db: expected e, found f. r"


def test_stages_last_until_the_next_one_and_another_runs_are_dropped() -> None:
    noon = datetime(2025, 12, 22, 12, tzinfo=UTC)
    cached = stages.begin([], "of yesterday", "run 1", noon - timedelta(days=1))
    first = stages.begin(cached, "preflight", "run 2", noon)
    both = stages.begin(first, "server", "run 2", noon + timedelta(seconds=2.5))
    assert [(stage["name"], stage["seconds"]) for stage in stages.close(both, noon + timedelta(seconds=9))] == [
        ("preflight", 2.5),
        ("server", 6.5),
    ]
