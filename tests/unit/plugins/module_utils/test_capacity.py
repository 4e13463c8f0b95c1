# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""capacity: how fast it grows, and how long it will last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.capacity import (
    Room,
    Sample,
    growth,
    judge_room,
    keep,
    read_rooms,
    read_samples,
    report,
)

NOW = datetime(2026, 1, 31, tzinfo=UTC)
GB = 10**9


def samples(*used: float, hours: int = 24) -> list[Sample]:
    start = NOW - timedelta(hours=hours * (len(used) - 1))
    return [Sample(start + timedelta(hours=hours * number), {"/": int(value * GB)}) for number, value in enumerate(used)]


@pytest.mark.parametrize(
    ("taken", "daily"),
    [
        (samples(1, 2, 3, 4), GB),
        (samples(1, 3, 2, 4), 0.8 * GB),  # the line that fits best
        (samples(4, 3, 2), -GB),
        (samples(1, 2), None),
        (samples(1, 2, 3, hours=1), None),  # two hours say nothing of a month
    ],
)
def test_growth(taken: list[Sample], daily: float | None) -> None:
    found = growth(taken, "/")
    assert found == (None if daily is None else pytest.approx(daily))


def test_the_report_tells_when_it_is_full() -> None:
    room = Room("/", 100 * GB, 40 * GB)
    assert report(samples(1, 3, 5), [room], 7 * 10**6) == [
        "/: 40 GB of 100 GB free, grows by 2.0 GB a day, full in 20 days",
        "database: 7.0 MB, growth not known yet (a day of samples is needed)",
    ]
    assert report(samples(5, 5, 5), [room], None) == ["/: 40 GB of 100 GB free, not growing"]


@pytest.mark.parametrize(("free", "verdict"), [(10, "pass"), (9.9, "fail")])
def test_judge_room(free: float, verdict: str) -> None:
    assert judge_room(Room("/", 100 * GB, int(free * GB)), 10).verdict == verdict


def test_each_file_system_once(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (room,) = read_rooms([str(tmp_path), str(tmp_path / "inner"), str(tmp_path / "missing")])
    assert (room.path, room.size > room.free > 0) == (str(tmp_path), True)


def test_samples_are_kept_one_an_hour_for_sixty_days(tmp_path: Path) -> None:
    path = str(tmp_path / "samples.jsonl")
    old = Sample(NOW - timedelta(days=61), {"/": 1})
    kept = keep(path, [old], Sample(NOW, {"/": 2}))
    assert kept == keep(path, kept, Sample(NOW + timedelta(minutes=59), {"/": 3})) == read_samples(path) == [Sample(NOW, {"/": 2})]
    with open(path, "a", encoding="utf-8") as stream:
        stream.write("cut {")
    assert read_samples(path) == kept
    # A clock that was set back must not stop them for good.
    assert len(keep(path, kept, Sample(NOW - timedelta(days=1), {"/": 4}))) == 2
