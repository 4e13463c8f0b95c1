"""The controller is killed at some task of a deployment or of a rollback; the same command again has to mend it.

A cut between two tasks leaves the same server as one before the next task that changes something. So the points that differ are few: before
each such task, in the middle of it, and after the last. Each takes minutes: RESIDENCY_FAULT_POINTS (how many of each playbook, the worst
ones first; "20:40" for those between, "40:" for the rest, or "all") and RESIDENCY_FAULT_SEED choose.
"""

from __future__ import annotations

import os
import random
from itertools import pairwise, zip_longest

import pytest
from deployed_server import Server
from ledger_client import LedgerClient
from oracle import Run, Task, digest, look, violations
from play import DEADLINE, POINTS, Prepared, my_part, play
from results import note

SEED = int(os.environ.get("RESIDENCY_FAULT_SEED") or 1)
DEPLOY = ("deploy.yml", "-e", "scheduler_version=v1.0.0")
BACK = ("rollback.yml", "-e", "rollback_to=v0.9.0", "-e", "rollback_database=downgrade")
#: Tasks in whose middle a cut is known to hurt: the database's, and those between an old and a new service.
WORST = {
    "deploy.yml": ["Run the pending revisions", "Start backend", "Start celery-worker"],
    "rollback.yml": ["Run the downgrade", "Start backend"],
}


def chosen(tasks: list[Task], worst: list[str], seed: int, points: str) -> list[tuple[Task, float]]:
    """Return tasks to die at, each with the seconds into the task (0 for before it).

    :arg tasks: those of a whole run.
    :arg worst: parts of the names of tasks that come first, in their middle.
    :arg points: how many, ``all``, or a part of them as ``20:40``.
    """
    dice = random.Random(seed)
    changing = [task for task in tasks if task.changed]
    end = {task.number: following.began for task, following in pairwise(tasks)}
    middle = [(task, round(dice.uniform(0.1, 0.9) * (end.get(task.number, task.began) - task.began), 3)) for task in changing]
    before = [(task, 0.0) for task in (*changing, tasks[-1])]
    first = [point for word in worst for point in middle if word in point[0].name]
    others = [point for point in (*before, *middle) if point not in first]
    dice.shuffle(others)
    begin, colon, end = points.replace("all", "0:").rpartition(":")
    return [*first, *others][int(begin or 0) : int(end) if end or not colon else None]


def cut(server: Server, command: tuple[str, ...], number: int, after: float) -> tuple[list[str], list[Run]]:
    """Kill a run, give the same command twice more, and return what does not hold."""
    with LedgerClient(server.host["ansible_host"]) as client:
        runs = [play(server, *command, kill_at=number, kill_after=after), play(server, *command)]
        between = digest(look(server))
        runs.append(play(server, *command))
    told = violations(server, runs, client, DEADLINE)
    if digest(look(server)) != between:
        told.append("5 again: the server is not as it was before the run that changed nothing")
    return told, runs


@pytest.mark.skipif(not POINTS, reason="takes minutes; the power cut among the faults of the server is one of them")
def test_cut_anywhere(prepared: Prepared, subtests: pytest.Subtests) -> None:
    server, points = prepared.server, {}
    # The last two runs without a fault tell the tasks.
    for command, whole in zip((DEPLOY, BACK), prepared.runs[-2:] or [play(server, *way) for way in (DEPLOY, BACK)], strict=True):
        assert whole.rc == 0, whole.output[-5000:]
        points[command] = my_part(chosen(whole.tasks, WORST[command[0]], SEED, POINTS))
    # There and back in turn; what one of them has more is tried after an uncut run of the other.
    for pair in zip_longest(points[DEPLOY], points[BACK]):
        for command, point in zip((DEPLOY, BACK), pair, strict=True):
            if point is None:
                whole = play(server, *command)
                assert whole.rc == 0, whole.output[-5000:]
                continue
            task, after = point
            with subtests.test(playbook=command[0], task=task.number, name=task.name, after=after):
                told, runs = cut(server, command, task.number, after)
                told += [] if after or runs[0].tasks[-1].name == task.name else [f"it was cut at {runs[0].tasks[-1].name}"]
                when = f"{after} s into" if after else "before"
                note(f"controller killed {'in' if after else 'before'} a task of {command[0]}", f"{when} {task.name}", SEED, told)
                assert not told, "\n".join([*told, runs[1].output[-3000:]])
