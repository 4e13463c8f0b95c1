# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""schedule: a run that did not come, or was cut, is found out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.schedule import Job, Records, Run, begin, end, judge_runs, readable

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)
JOB = Job("backup", 26 * 3600)
GOOD = Run("backup", "2026-01-30T02:00:00+00:00", "2026-01-30T02:00:09+00:00", "good", "", "2026-01-30T02:00:09+00:00")


@pytest.mark.parametrize(
    ("run", "hours", "by_hand", "running", "subjects", "found"),
    [
        (GOOD, 0, None, [], [], ""),
        (replace(GOOD, good="2026-01-29T02:00:00+00:00"), 0, None, [], ["backup: last good run"], "the last one 48 h ago"),
        (replace(GOOD, good="2026-01-29T02:00:00+00:00"), 0, NOW - timedelta(hours=3), [], [], ""),
        (Run("backup"), 3, None, [], [], ""),  # set up three hours ago
        (Run("backup"), 27, None, [], ["backup: last good run"], "none; set up 27 h ago"),
        (replace(GOOD, ended="", verdict=""), 0, None, [], ["backup: last run"], "it began at 2026-01-30T02:00:00+00:00 and was cut"),
        (replace(GOOD, ended="", verdict=""), 0, None, ["backup"], [], ""),
        (
            replace(GOOD, verdict="skipped", why="somebody deploys", good="2026-01-20T02:00:00+00:00"),
            0,
            None,
            [],
            ["backup: last good run"],
            "the last one 11 days ago; the last try skipped: somebody deploys",
        ),
        # The clock was set between the run and now; by a little, and by a day.
        (replace(GOOD, good="2026-01-31T02:04:00+00:00"), 0, None, [], [], ""),
        (
            replace(GOOD, good="2026-02-01T02:00:00+00:00"),
            0,
            None,
            [],
            ["backup: last good run"],
            "the last one is dated 2026-02-01T02:00:00+00:00, which is yet to come; look at the clock (timedatectl)",
        ),
        (replace(GOOD, good="2026-02-01T02:00:00+00:00"), 0, NOW - timedelta(hours=3), [], [], ""),
    ],
)
def test_judge_runs(run: Run, hours: int, by_hand: datetime | None, running: list[str], subjects: list[str], found: str) -> None:
    done = {"backup": by_hand} if by_hand else {}
    checks = judge_runs([JOB], {"backup": run}, done, NOW - timedelta(hours=hours), NOW, running)
    failing = [check for check in checks if check.verdict == "fail"]
    assert [check.subject for check in failing] == subjects
    assert not subjects or (failing[0].found == found and "residency-scheduler-backup.timer" in failing[0].remedy)


@pytest.mark.parametrize(
    ("run", "hours", "topic"), [(GOOD, 0, "schedule_backup"), (Run("backup"), 3, ""), (Run("backup"), 27, "schedule_backup")]
)
def test_what_never_ran_is_no_evidence(run: Run, hours: int, topic: str) -> None:
    (check,) = judge_runs([JOB], {"backup": run}, {}, NOW - timedelta(hours=hours), NOW, [])
    assert check.topic == topic


def test_the_last_good_run_is_remembered_over_bad_ones(tmp_path: Path) -> None:
    records = Records(str(tmp_path / "runs"))
    good = end(begin(records.read("backup"), NOW), NOW, "good", "")
    records.write(end(begin(good, NOW + timedelta(1)), NOW + timedelta(1), "failed", "no room"))
    kept = records.read("backup")
    assert (kept.verdict, kept.why, kept.good) == ("failed", "no room", "2026-01-31T02:00:00+00:00")


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    records = Records(str(tmp_path))
    (tmp_path / "backup.json").write_text('{"later": 1}', encoding="utf-8")
    assert records.read("backup") == Run("backup")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    records = Records(str(tmp_path))
    assert records.running(["health", "backup"]) == []
    with records.only("backup") as first, records.only("backup") as second:
        assert (first, second) == (True, False)
        assert records.running(["health", "backup"]) == ["backup"]
    assert records.running(["backup"]) == []


@pytest.mark.parametrize(("minutes", "text"), [(5, "5 min"), (119, "119 min"), (26 * 60, "26 h"), (8 * 1440, "8 days")])
def test_readable(minutes: int, text: str) -> None:
    assert readable(timedelta(minutes=minutes)) == text
