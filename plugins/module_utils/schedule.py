# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs of the timers: when each began, ended and went well; and which is overdue, or was cut."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from ansible_collections.residency.scheduler.plugins.module_utils.backups import AHEAD
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.run_lock import is_held, wait_until


@dataclass(frozen=True)
class Job:
    """What a timer starts.

    :ivar max_age: seconds after which a good run is overdue.
    """

    name: str
    max_age: float


@dataclass(frozen=True)
class Run:
    """The last run of a job; times are ISO 8601, empty for never.

    :ivar verdict: ``good``, ``failed`` or ``skipped``.
    :ivar good: when a run went well last.
    """

    job: str
    started: str = ""
    ended: str = ""
    verdict: str = ""
    why: str = ""
    good: str = ""


def begin(run: Run, now: datetime) -> Run:
    """Return the record of a run that begins. Pure."""
    return replace(run, started=_stamp(now), ended="", verdict="", why="")


def end(run: Run, now: datetime, verdict: str, why: str) -> Run:
    """Return the record of a run that has ended. Pure."""
    return replace(run, ended=_stamp(now), verdict=verdict, why=why, good=_stamp(now) if verdict == "good" else run.good)


def judge_runs(
    jobs: Sequence[Job], runs: Mapping[str, Run], good: Mapping[str, datetime], since: datetime, now: datetime, running: Sequence[str]
) -> list[Check]:
    """Judge whether each job went well lately, and whether its last run came to its end. Pure.

    :arg good: when what the job does was done last by any way, where that is known otherwise (a backup by hand).
    :arg since: when the timers were set up: a job that never ran is overdue from then on.
    :arg running: jobs that run right now.
    """
    checks = []
    for job in jobs:
        run = runs.get(job.name, Run(job.name))
        unit = f"residency-scheduler-{job.name}"
        look = f"Look at `systemctl list-timers {unit}.timer` and `journalctl -u {unit}` (with cron: at the syslog), and start it by hand."
        done = [*([datetime.fromisoformat(run.good)] if run.good else []), *([good[job.name]] if job.name in good else [])]
        # A clock that was ahead would hide for as long that nothing runs.
        last = max((then for then in done if then - now <= AHEAD), default=None)
        age = now - (last or since)
        why = f"; the last try {run.verdict}: {run.why}" if run.verdict in ("failed", "skipped") else ""
        found = f"{'the last one' if last else 'none; set up'} {readable(age)} ago{why}"
        overdue = age.total_seconds() > job.max_age
        if done and not last:
            found, overdue = f"the last one is dated {_stamp(max(done))}, which is yet to come; look at the clock (timedatectl)", True
        # What is not due yet is no finding, and no evidence either.
        topic = f"schedule_{job.name}" if last or overdue else ""
        expected = f"within {readable(timedelta(seconds=job.max_age))}"
        checks.append(judge(f"{job.name}: last good run", not overdue, expected, found, look, topic=topic))
        if run.started and not run.ended and job.name not in running:
            found = f"it began at {run.started} and was cut"
            checks.append(judge(f"{job.name}: last run", False, "an end", found, look, topic=f"schedule_{job.name}"))
    return checks


def readable(span: timedelta) -> str:
    """Return a span of time as people read it."""
    minutes = int(span.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // 1440} days"


def _stamp(now: datetime) -> str:
    return now.isoformat(timespec="seconds")


class Records:
    """The records of the runs in *folder*, and a lock for each job that its run holds."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def read(self, job: str) -> Run:
        """Return the record of the last run."""
        try:
            return Run(**{**json.loads(read_text(self._path(job, "json")) or "{}"), "job": job})
        except (ValueError, TypeError):
            return Run(job)

    def write(self, run: Run) -> None:
        """Write the record of a run."""
        write_text(self._path(run.job, "json"), json.dumps(asdict(run), indent=2) + "\n", 0o640)

    @contextmanager
    def only(self, job: str) -> Iterator[bool]:
        """Yield whether this is the only run of the job; the kernel frees the lock when it ends, however it ends."""
        os.makedirs(self._folder, mode=0o750, exist_ok=True)
        # Not to be written: the disk may be read-only.
        descriptor = os.open(self._path(job, "lock"), os.O_RDONLY | os.O_CREAT, 0o600)
        try:
            # Somebody may be looking just now whether it runs.
            yield wait_until(lambda: _lock(descriptor), 1.0)
        finally:
            os.close(descriptor)

    def running(self, jobs: Sequence[str]) -> list[str]:
        """Return those of *jobs* that run right now."""
        return [job for job in jobs if is_held(self._path(job, "lock"))]

    def _path(self, job: str, suffix: str) -> str:
        return os.path.join(self._folder, f"{job}.{suffix}")


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
