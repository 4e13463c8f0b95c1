# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How full is it, how fast does it grow, and how long will it last? From samples that are kept, one an hour at most."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.dump import readable
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text

#: So far apart samples are taken, and so long they are kept.
EVERY, KEPT = timedelta(hours=1), timedelta(days=60)
#: A forecast out of less than this would be a guess.
_SHORTEST = timedelta(hours=24)


@dataclass(frozen=True)
class Sample:
    """Bytes at a moment: of the database, and used of each file system by path."""

    time: datetime
    used: Mapping[str, int]


@dataclass(frozen=True)
class Room:
    """A file system: bytes in all, and free for us."""

    path: str
    size: int
    free: int


def read_rooms(paths: Sequence[str]) -> list[Room]:
    """Return the file systems of *paths*; each once, by the first path that leads there, and none for what does not exist."""
    rooms: dict[int, Room] = {}
    for path in paths:
        if os.path.exists(path) and os.stat(path).st_dev not in rooms:
            status = os.statvfs(path)
            rooms[os.stat(path).st_dev] = Room(path, status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)
    return list(rooms.values())


def judge_room(room: Room, percent: float) -> Check:
    """Judge whether enough is free. Pure."""
    share = 100 * room.free / room.size if room.size else 0.0
    return judge(
        f"disk: room at {room.path}",
        share >= percent,
        f"at least {percent:g} % free",
        f"{share:.0f} % of {readable(room.size)} free",
        f"See what fills it (du -xh --max-depth=2 {room.path} | sort -h | tail); `docker system df`; then make room or enlarge the disk.",
        topic="capacity",
    )


def growth(samples: Sequence[Sample], key: str) -> float | None:
    """Return the bytes a day by which *key* grows, as the straight line says that fits best; None for too few samples. Pure."""
    points = [(sample.time.timestamp() / 86400, sample.used[key]) for sample in samples if key in sample.used]
    if len(points) < 3 or points[-1][0] - points[0][0] < _SHORTEST.total_seconds() / 86400:
        return None
    mean_x = sum(x for x, _y in points) / len(points)
    mean_y = sum(y for _x, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _y in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def report(samples: Sequence[Sample], rooms: Sequence[Room], database: int | None) -> list[str]:
    """Return the short report, a line for each file system and one for the database. Pure."""
    lines = []
    for room in rooms:
        forecast = _forecast(growth(samples, room.path), room.free)
        lines.append(f"{room.path}: {readable(room.free)} of {readable(room.size)} free, {forecast}")
    if database is not None:
        lines.append(f"database: {readable(database)}, {_forecast(growth(samples, DATABASE), None)}")
    return lines


#: The database's key among the samples.
DATABASE = "database"


def _forecast(daily: float | None, free: int | None) -> str:
    if daily is None:
        return "growth not known yet (a day of samples is needed)"
    if daily <= 0:
        return "not growing"
    left = f", full in {free / daily:.0f} days" if free is not None else ""
    return f"grows by {readable(daily)} a day{left}"


def days_left(samples: Sequence[Sample], room: Room) -> float | None:
    """Return the days until a file system is full; None where it does not grow, or that is not known. Pure."""
    daily = growth(samples, room.path)
    return room.free / daily if daily and daily > 0 else None


def read_samples(path: str) -> list[Sample]:
    """Return the samples that are kept, oldest first; what cannot be read is left out."""
    samples = []
    for line in read_text(path).splitlines():
        try:
            entry = json.loads(line)
            used = {str(key): int(value) for key, value in entry["used"].items()}
            samples.append(Sample(datetime.fromisoformat(entry["time"]), used))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return samples


def keep(path: str, samples: Sequence[Sample], new: Sample) -> list[Sample]:
    """Add a sample unless the last one is young, and drop old ones; return what is kept."""
    if samples and timedelta() <= new.time - samples[-1].time < EVERY:
        return list(samples)
    kept = [sample for sample in samples if new.time - sample.time <= KEPT] + [new]
    lines = [json.dumps({"time": item.time.isoformat(timespec="seconds"), "used": dict(item.used)}) for item in kept]
    write_text(path, "\n".join(lines) + "\n", 0o640)
    return kept
