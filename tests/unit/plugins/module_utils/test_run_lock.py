# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a run, with the real shell, the real flock and the real kernel."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import run_lock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import deploy_lock

RECORD = {"run": "one", "by": "A. 'Operator'", "host": "desk", "playbook": "deploy.yml", "since": "2025-12-22T02:00:00", "reason": ""}


@pytest.fixture(name="lock")
def lock_fixture(tmp_path: Path) -> str:
    """The path of a lock whose folder does not exist yet."""
    return str(tmp_path / "run of today" / "a.lock")


@pytest.fixture(name="hold")
def hold_fixture(lock: str) -> Iterator[Any]:
    """Return a function that starts a holder; what it prints is read by nobody, as by a controller that waits."""
    holders = []

    def hold(again: bool = False, **changes: str) -> subprocess.Popen[bytes]:
        script = run_lock.holder_script(lock, {**RECORD, **changes}, again=again)
        holder = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        holders.append(holder)
        return holder

    yield hold
    for holder in holders:
        holder.kill()
        holder.wait()
        if holder.stdout:
            holder.stdout.close()


def test_held_and_free_again(lock: str, hold: Any) -> None:
    assert run_lock.read_holder(lock) is None
    assert not run_lock.is_held(lock)
    holder = hold()
    assert run_lock.wait_until(lambda: run_lock.read_holder(lock), 3)
    found = run_lock.read_holder(lock)
    assert found is not None
    assert (found.run, found.by, found.pid) == ("one", "A. 'Operator'", holder.pid)
    assert run_lock.is_held(lock)
    assert run_lock.holds(holder.pid, lock)
    assert not run_lock.holds(os.getpid(), lock)
    assert "deploy.yml of A. 'Operator' on desk, since 2025-12-22T02:00:00, run one" in found.told()
    # The controller has died: nobody reads any more.
    holder.stdout.close()
    assert run_lock.wait_until(lambda: not run_lock.is_held(lock), 3)


def test_the_kernel_frees_it_whatever_happens(lock: str, hold: Any) -> None:
    holder = hold()
    assert run_lock.wait_until(lambda: run_lock.is_held(lock), 3)
    holder.send_signal(signal.SIGKILL)
    assert run_lock.wait_until(lambda: not run_lock.is_held(lock), 3)


def test_one_at_a_time(lock: str, hold: Any) -> None:
    hold()
    assert run_lock.wait_until(lambda: run_lock.is_held(lock), 3)
    assert hold(run="two").wait(5) == run_lock.TAKEN
    found = run_lock.read_holder(lock)
    assert found is not None
    assert found.run == "one"


def test_after_a_cut_connection_only_the_same_run_gets_it_back(lock: str, hold: Any) -> None:
    hold().kill()
    assert run_lock.wait_until(lambda: not run_lock.is_held(lock), 3)
    first = hold()
    assert run_lock.wait_until(lambda: run_lock.is_held(lock) and run_lock.read_holder(lock), 3)
    first.kill()
    assert run_lock.wait_until(lambda: not run_lock.is_held(lock), 3)
    assert hold(again=True, run="two").wait(5) == run_lock.REPLACED
    again = hold(again=True)
    assert run_lock.wait_until(lambda: (run_lock.read_holder(lock) or first).pid == again.pid, 3)


def environment(lock: str, run: str) -> dict[str, str]:
    return {run_lock.RUN: run, run_lock.LOCK: lock, run_lock.STAGE: "images"}


def test_what_an_earlier_run_left_working_is_found(lock: str) -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], env={**os.environ, **environment(lock, "one")})
    try:
        assert run_lock.wait_until(lambda: run_lock.working(lock, "two"), 3)
        (work,) = run_lock.working(lock, "two")
        assert f"(process {left.pid}, stage images)" in work.told()
        assert run_lock.working(lock, "one") == []
        assert run_lock.working("/another.lock", "two") == []
    finally:
        left.kill()
        left.wait()


def test_a_process_never_waits_for_itself(lock: str) -> None:
    # A cache of facts may give a run the environment of one that has ended long ago.
    script = f"from ansible_collections.residency.scheduler.plugins.module_utils import run_lock; print(run_lock.working({lock!r}, 'two'))"
    command = ["sh", "-c", f"{sys.executable} -c {shlex.quote(script)}; true"]
    stale = {**os.environ, **environment(lock, "one"), "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=stale, check=True, capture_output=True, text=True).stdout.strip() == "[]"


def test_in_an_emergency_what_works_is_ended(lock: str, hold: Any) -> None:
    hold(run="two")
    assert run_lock.wait_until(lambda: run_lock.is_held(lock), 3)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    works = [
        subprocess.Popen([sys.executable, "-c", script], env={**os.environ, **environment(lock, "one")})
        for script in ("import time; time.sleep(60)", stubborn)
    ]
    try:
        assert run_lock.wait_until(lambda: len(run_lock.working(lock, "two")) == 2, 3)
        time.sleep(0.5)
        threading.Thread(target=lambda: [work.wait() for work in works], daemon=True).start()
        assert len(step(lock, step="confirm", end=True)["ended"]) == 2
        assert run_lock.working(lock, "two") == []
    finally:
        for work in works:
            work.kill()


def test_a_run_that_lost_the_lock_is_told(lock: str, hold: Any) -> None:
    assert run_lock.lost({}) == ""
    assert run_lock.lost(environment(lock, "one")) == ""
    os.makedirs(os.path.dirname(lock))
    Path(lock).touch()
    assert "another run that has ended since" in run_lock.lost(environment(lock, "one"))
    hold()
    assert run_lock.wait_until(lambda: run_lock.read_holder(lock), 3)
    assert run_lock.lost(environment(lock, "one")) == ""
    found = run_lock.read_holder(lock)
    assert found is not None
    assert found.stage == "images"
    assert "deploy.yml of A. 'Operator' on desk" in run_lock.lost(environment(lock, "two"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": "one"}', "null"])
def test_a_damaged_record_names_nobody(text: str, lock: str) -> None:
    os.makedirs(os.path.dirname(lock))
    Path(f"{lock}.json").write_text(text, encoding="utf-8")
    assert run_lock.read_holder(lock) is None


def step(lock: str, **options: Any) -> dict[str, Any]:
    given = {"path": lock, "state": "present", "takeover": "", "wait": 2, "end": False, "by": "", "run": "two", "step": "look"}
    return deploy_lock.run({**given, **options})


def test_another_run_is_refused_in_time_and_names_the_holder(lock: str, hold: Any) -> None:
    hold()
    assert run_lock.wait_until(lambda: run_lock.is_held(lock), 3)
    started = time.monotonic()
    for options in ({}, {"step": "confirm"}):
        with pytest.raises(Problem) as caught:
            step(lock, **options)
        assert "deploy.yml of A. 'Operator' on desk" in caught.value.message()
        assert "scheduler_lock_takeover" in caught.value.message()
    assert time.monotonic() - started < 8
    assert step(lock, run="one")["held"]


def test_a_lock_that_is_free(lock: str, hold: Any) -> None:
    assert step(lock) == {"changed": False, "held": False, "interrupted": ""}
    with pytest.raises(Problem, match="could not be taken"):
        step(lock, step="confirm")
    hold(run="two")
    assert step(lock, step="confirm")["ansible_facts"]["scheduler_environment"][run_lock.RUN] == "two"
    step(lock, state="absent")
    assert run_lock.wait_until(lambda: not run_lock.is_held(lock), 3)
    assert run_lock.read_holder(lock) is None


def test_an_earlier_run_that_still_works_is_waited_for(lock: str, hold: Any) -> None:
    hold(run="two")
    assert run_lock.wait_until(lambda: run_lock.is_held(lock), 3)
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], env={**os.environ, **environment(lock, "one")})
    try:
        assert run_lock.wait_until(lambda: run_lock.working(lock, "two"), 3)
        with pytest.raises(Problem, match=f"an earlier run still works on this server: .*process {left.pid}"):
            step(lock, step="confirm", wait=1)
    finally:
        left.kill()
        left.wait()
    assert step(lock, step="confirm")["waited_seconds"] < 2


def test_a_takeover_ends_the_holder_and_gives_the_reason(lock: str, hold: Any) -> None:
    first = hold()
    assert run_lock.wait_until(lambda: run_lock.is_held(lock) and run_lock.read_holder(lock), 3)
    assert step(lock, takeover="it hangs")["held"] is False
    assert first.wait(3) == -signal.SIGTERM
    assert "which took over (it hangs)" in run_lock.lost(environment(lock, "one"))


def test_a_takeover_does_not_wait_for_one_that_takes_its_time(lock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy_lock, "PATIENCE", 0.3)
    # As a drill that drops its database before it ends.
    script = (
        "import fcntl, os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: None); os.makedirs(os.path.dirname(sys.argv[1]));"
        " held = open(sys.argv[1], 'a'); fcntl.flock(held, fcntl.LOCK_EX); print('held', flush=True);"
        " end = time.monotonic() + 30\nwhile time.monotonic() < end: time.sleep(0.1)"
    )
    with subprocess.Popen([sys.executable, "-c", script, lock], stdout=subprocess.PIPE) as busy:
        assert busy.stdout
        assert busy.stdout.readline() == b"held\n"
        run_lock.write_record(lock, {**RECORD, "pid": busy.pid})
        assert step(lock, takeover="an emergency")["held"] is False
        assert busy.wait(3) == -signal.SIGKILL


@pytest.mark.parametrize(
    "record",
    [f'{{"pid": {os.getpid()}, "run": "one", "by": "", "host": "", "playbook": "", "since": ""}}', "{"],
    ids=["another process", "damaged"],
)
def test_where_the_record_is_wrong_it_is_who_holds_the_lock_that_is_ended(lock: str, hold: Any, record: str) -> None:
    first = hold()
    assert run_lock.wait_until(lambda: run_lock.is_held(lock) and run_lock.read_holder(lock), 3)
    Path(f"{lock}.json").write_text(record, encoding="utf-8")
    with open(lock, encoding="utf-8"):
        assert run_lock.find_holders(lock) == [first.pid], "who only looks does not hold it"
        assert step(lock, takeover="it hangs")["held"] is False
    assert first.wait(3) == -signal.SIGTERM


def test_a_lock_that_no_process_is_known_to_hold_is_not_taken_over(lock: str, hold: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hold()
    assert run_lock.wait_until(lambda: run_lock.is_held(lock) and run_lock.read_holder(lock), 3)
    # As where the holder is a process of another container.
    monkeypatch.setattr(run_lock, "holds", lambda *_: False)
    with pytest.raises(Problem, match="no process is known to hold"):
        step(lock, takeover="it hangs")


def test_a_run_without_a_controller_holds_the_lock(lock: str) -> None:
    with run_lock.taken(lock, RECORD, 0.1) as other:
        assert other == ""
        assert run_lock.is_held(lock)
        holder = run_lock.read_holder(lock)
        assert holder is not None
        assert (holder.run, holder.pid, run_lock.holds(os.getpid(), lock)) == ("one", os.getpid(), True)
        with run_lock.taken(lock, {**RECORD, "run": "two"}, 0.1) as taker:
            assert "A. 'Operator' on desk" in taker
        assert run_lock.read_holder(lock) == holder
    assert not run_lock.is_held(lock)
    assert run_lock.read_holder(lock) is None


def test_it_waits_for_the_holder(lock: str, hold: Any) -> None:
    holder = hold(run="deployment")
    assert run_lock.wait_until(lambda: run_lock.is_held(lock), 5)
    threading.Timer(0.5, holder.kill).start()
    started = time.monotonic()
    with run_lock.taken(lock, RECORD, 10) as other:
        assert other == ""
    assert 0.3 < time.monotonic() - started < 8


def test_whoever_took_it_over_keeps_the_record(lock: str) -> None:
    with run_lock.taken(lock, RECORD, 0.1):
        run_lock.write_record(lock, {**RECORD, "run": "two", "pid": 0})
    holder = run_lock.read_holder(lock)
    assert holder is not None
    assert holder.run == "two"
