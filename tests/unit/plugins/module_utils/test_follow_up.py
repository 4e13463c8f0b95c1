# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""follow_up: what is left to do after a deployment, and who has said that it was done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.follow_up import (
    answer,
    as_report,
    evaluate,
    judge_items,
    read_answers,
    slow_queries,
)
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import Postgres
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

NOW = datetime(2026, 1, 31, tzinfo=UTC)
TOPICS = ["schedule_backup"]
LINE = {"id": "tasks.day.backups", "step": "Within 24 Hours", "text": "Verify backups", "days": 1, "topics": TOPICS, "timer": "t"}
PERSONS = {"id": "tasks.day.issues", "step": "Within 24 Hours", "text": "Document issues", "days": 1, "person": "the operator"}
GOOD = judge("backup: last good run", True, "within 26 h", "the last one 3 h ago", "", topic="schedule_backup")
BAD = judge("backup: last good run", False, "within 26 h", "the last one 48 h ago", "Look.", topic="schedule_backup")
ANSWER = {"by": "A. Operator", "at": "2026-01-31T00:00:00+00:00", "note": "none"}


@pytest.mark.parametrize(
    ("line", "checks", "answers", "age", "state", "found"),
    [
        (LINE, [GOOD], {}, 0.1, "done", "backup: last good run: the last one 3 h ago"),
        (LINE, [GOOD, BAD], {}, 0.1, "failed", "backup: last good run: the last one 48 h ago"),
        (LINE, [], {}, 0.1, "waiting", ""),
        (LINE, [], {}, 1.0, "due", ""),
        (PERSONS, [GOOD], {}, 0.9, "waiting", ""),
        (PERSONS, [GOOD], {}, 1.1, "due", ""),
        (PERSONS, [], {"tasks.day.issues": ANSWER}, 9, "done", "A. Operator, 2026-01-31: none"),
        # What checks say is evidence for the person who has to say it, and no answer; a failed one outweighs an answer.
        ({**LINE, "person": "p"}, [GOOD], {}, 2, "due", "backup: last good run: the last one 3 h ago"),
        ({**LINE, "person": "p"}, [BAD], {LINE["id"]: ANSWER}, 2, "failed", "backup: last good run: the last one 48 h ago"),
    ],
)
def test_evaluate(line: dict[str, Any], checks: list[Check], answers: dict[str, Any], age: float, state: str, found: str) -> None:
    (item,) = evaluate([line], NOW - timedelta(days=age), checks, answers, NOW)
    assert (item.state, item.found) == (state, found)
    told = judge_items([item])
    assert bool(told) == (state in ("due", "failed"))
    assert all(f"monitoring_done={item.id}" in check.remedy for check in told)


def test_an_answer_is_kept_for_the_release(tmp_path: Path) -> None:
    answer(str(tmp_path), "one", [LINE, PERSONS], "tasks.day.issues", "A. Operator", "none", NOW)
    assert read_answers(str(tmp_path), "one") == {"tasks.day.issues": ANSWER}
    assert read_answers(str(tmp_path), "two") == {}
    with pytest.raises(Problem, match="Noting the answer failed"):
        answer(str(tmp_path), "one", [LINE], "tasks.day.nothing", "A", "", NOW)


def test_the_listing_has_everything() -> None:
    items = evaluate([PERSONS], NOW, [], {}, NOW)
    assert as_report(items, ["slow"], ["room"])["lines"] == [
        "[waiting] Within 24 Hours (until 2026-02-01): Document issues (the operator)",
        "Slow queries:",
        "  slow",
        "Capacity:",
        "  room",
    ]


def test_without_the_extension_slow_queries_are_unknown(runner: Any) -> None:
    fake = runner(("psql", '[{"count": 0}]'))
    checks, lines = slow_queries(Postgres("db", "u", "d", fake, ()), 1)
    assert not checks
    assert "pg_stat_statements is not installed" in lines[0]


def test_an_extension_that_is_not_loaded_is_told(runner: Any) -> None:
    refused = CommandResult(("psql",), 3, "", "ERROR:  pg_stat_statements must be loaded via shared_preload_libraries", 0.1)
    checks, lines = slow_queries(Postgres("db", "u", "d", runner(("psql", '[{"count": 1}]'), ("psql", refused)), ()), 1)
    assert not checks
    assert "must be loaded via shared_preload_libraries" in lines[0]


@pytest.mark.parametrize(("seconds", "verdict"), [(0.2, "pass"), (1.2, "warn")])
def test_slow_queries_are_named(seconds: float, verdict: str, runner: Any) -> None:
    rows = f'[{{"seconds": {seconds}, "calls": 7, "query": "SELECT $1"}}]'
    (check,), lines = slow_queries(Postgres("db", "u", "d", runner(("psql", '[{"count": 1}]'), ("psql", rows)), ()), 1)
    assert check.verdict == verdict
    assert lines == [f"{seconds:.3f} s on average, 7 calls: SELECT $1"]
