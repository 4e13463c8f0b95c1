# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on a server: a lock that the kernel frees, a record of who holds it, and what earlier runs still work on.

A shell on the server holds the lock for as long as its connection to the controller lives. What an earlier run left working - after
SIGKILL of the controller a module runs to its end - is found by the environment that each task of a run carries.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import shlex
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: What each task of a run carries: which run it is, and which lock that run holds; and the stage, to be told to others.
RUN, LOCK, STAGE = "RESIDENCY_SCHEDULER_RUN", "RESIDENCY_SCHEDULER_LOCK", "RESIDENCY_SCHEDULER_STAGE"
#: Exit codes of the holder: somebody else has the lock; the record names another run.
TAKEN, REPLACED = 75, 76
#: Holds the lock while somebody reads what it prints. The lock's descriptor is not handed to ``sleep``, which would keep it.
_HOLDER = """
lock={lock}; record={record}
if [ {again} = 1 ]; then grep -qF {run} "$record" || exit {replaced}; fi
mkdir -p -m 0700 "$(dirname "$lock")" || exit 73
exec 9>>"$lock" || exit 73
flock -w 2 9 || exit {taken}
printf '{{"pid": %d, %s' $$ {rest} >"$record.$$" && mv "$record.$$" "$record" || exit 73
while printf .; do sleep 1 9>&-; done
"""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its record says.

    :ivar pid: process id of the shell that holds it.
    :ivar since: ISO 8601.
    :ivar reason: why the lock was taken over; empty if it was free.
    """

    run: str
    by: str
    host: str
    playbook: str
    since: str
    pid: int
    reason: str = ""
    stage: str = ""

    def told(self) -> str:
        """Return it for a person."""
        stage = f", in stage {self.stage}" if self.stage else ""
        reason = f", which took over ({self.reason})" if self.reason else ""
        return f"{self.playbook} of {self.by} on {self.host}, since {self.since}{stage}, run {self.run}{reason}"


def record_path(lock: str) -> str:
    """Return the path of the record beside a lock."""
    return f"{lock}.json"


def holder_script(lock: str, record: Mapping[str, Any], *, again: bool) -> str:
    """Return the shell script that takes the lock and holds it. Pure.

    :arg record: what its record says, without the process id.
    :arg again: the connection was cut: only where the record still names this run.
    """
    rest = json.dumps(dict(record))[1:]
    run = shlex.quote(json.dumps(str(record["run"])))
    paths = {"lock": shlex.quote(lock), "record": shlex.quote(record_path(lock))}
    return _HOLDER.format(**paths, run=run, rest=shlex.quote(rest), again=int(again), taken=TAKEN, replaced=REPLACED)


def read_holder(lock: str) -> Holder | None:
    """Return what the record says; None without one, or where it is damaged (it names nobody, and the lock alone counts)."""
    try:
        with open(record_path(lock), encoding="utf-8") as stream:
            record = json.load(stream)
        words = {key: str(record[key]) for key in ("run", "by", "host", "playbook", "since")}
        return Holder(**words, pid=int(record["pid"]), reason=str(record.get("reason") or ""), stage=_read(f"{lock}.stage"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read(100).strip()
    except (OSError, ValueError):
        return ""


def is_held(lock: str) -> bool:
    """Tell whether any process holds the lock."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def taken(lock: str, record: Mapping[str, str], wait: float) -> Iterator[str]:
    """Hold the lock in this very process, as a run without a controller does; yield who has it where it stays taken, else nothing.

    :arg record: ``run``, ``by``, ``host``, ``playbook`` and ``since`` of this run.
    :arg wait: seconds to wait for other runs, and for what earlier ones still work on.
    """
    os.makedirs(os.path.dirname(lock), mode=0o700, exist_ok=True)
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if not wait_until(lambda: _try(descriptor), wait):
            holder = read_holder(lock)
            yield holder.told() if holder else "a run that left no record"
            return
        if not wait_until(lambda: not working(lock, record["run"]), wait):
            yield ", ".join(work.told() for work in working(lock, record["run"])) or "a run that has just ended"
            return
        write_record(lock, {**record, "pid": os.getpid()})
        try:
            yield ""
        finally:
            # Unless it was taken over: the record is another one's then.
            holder = read_holder(lock)
            if holder is not None and holder.run == record["run"]:
                os.unlink(record_path(lock))
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_record(lock: str, record: Mapping[str, Any]) -> None:
    """Write who holds the lock, by one rename."""
    beside = f"{record_path(lock)}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(dict(record)))
    os.replace(beside, record_path(lock))


def holds(pid: int, lock: str) -> bool:
    """Tell whether process *pid* is a shell that has the lock's file open: a number may have gone to another process since.

    A shell has it open for writing, which the mode of the link says (proc(5)); who only looks whether it is held, for reading.
    """
    try:
        paths = [path for path in glob.glob(f"/proc/{pid}/fd/*") if os.path.exists(path)]
        return any(os.path.samefile(path, lock) and os.lstat(path).st_mode & 0o200 for path in paths)
    except OSError:
        return False


def find_holders(lock: str) -> list[int]:
    """Return the other processes that have the lock's file open."""
    pids = sorted(int(path.split("/")[2]) for path in glob.glob("/proc/[0-9]*/fd"))
    return [pid for pid in pids if pid != os.getpid() and holds(pid, lock)]


@dataclass(frozen=True)
class Work:
    """A process of an earlier run.

    :ivar name: of its command.
    """

    pid: int
    name: str
    stage: str

    def told(self) -> str:
        """Return it for a person."""
        return f"{self.name} (process {self.pid}, stage {self.stage or 'unknown'})"


def working(lock: str, run: str) -> list[Work]:
    """Return the processes of other runs under the same lock that still work.

    This process and those that it descends from are none of them, whatever their environment says: it may come from a cache of facts.
    """
    found, mine = [], _ancestry()
    for path in glob.glob("/proc/[0-9]*/environ"):
        pid = int(path.split("/")[2])
        if pid in mine:
            continue
        try:
            with open(path, "rb") as stream:
                values = dict(item.partition(b"=")[::2] for item in stream.read().split(b"\0"))
            with open(os.path.join(os.path.dirname(path), "comm"), encoding="utf-8", errors="replace") as stream:
                name = stream.read().strip()
        except OSError:  # it has ended, or is not ours to see
            continue
        other = values.get(RUN.encode(), run.encode())
        if other != run.encode() and values.get(LOCK.encode()) == lock.encode():
            found.append(Work(pid, name, values.get(STAGE.encode(), b"").decode(errors="replace")))
    return sorted(found, key=lambda work: work.pid)


def _ancestry() -> set[int]:
    """Return this process and all that it descends from."""
    found, pid = set(), os.getpid()
    while pid > 1:
        found.add(pid)
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                pid = int(stream.read().rpartition(")")[2].split()[1])
        except OSError:  # not ours to see
            break
    return found


def end_working(lock: str, run: str, grace: float = 5.0) -> list[Work]:
    """End what other runs still work on, at first by a word and after *grace* seconds by force; return what was ended."""
    ended: dict[int, Work] = {}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for work in working(lock, run):
            ended[work.pid] = work
            with contextlib.suppress(ProcessLookupError):
                os.kill(work.pid, number)
        if wait_until(lambda: not working(lock, run), grace):
            break
    return list(ended.values())


def lost(environment: Mapping[str, str]) -> str:
    """Return who has the lock in place of the run that a task's *environment* names; empty while that run has it.

    Notes the stage for others besides.
    """
    run, lock, stage = environment.get(RUN), environment.get(LOCK), environment.get(STAGE, "")
    # A task that is delegated to another host carries the environment too; there is no such lock.
    if not run or not lock or not os.path.exists(lock):
        return ""
    holder = read_holder(lock)
    if holder is None or holder.run != run:
        return holder.told() if holder else "another run that has ended since"
    if stage and stage != holder.stage:
        try:
            with open(f"{lock}.stage", "w", encoding="utf-8") as stream:
                stream.write(stage)
        except OSError:  # only to be told to others
            pass
    return ""


def wait_until(done: Any, seconds: float) -> bool:
    """Wait until *done* returns a true value, for *seconds* at most; return whether it did."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= until:
            return False
        time.sleep(0.2)
    return True
