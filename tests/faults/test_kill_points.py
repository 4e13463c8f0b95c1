"""The controller is killed at some task of a deployment or of a rollback; the same command again has to mend it.

A seeded sample, since one point takes minutes: RESIDENCY_FAULT_SEED and RESIDENCY_FAULT_POINTS (how many of each playbook) choose it.
RESIDENCY_FAULT_TABLE names a file for the results, a JSON line each.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from deployed_server import Server
from ledger_client import LedgerClient
from oracle import Run, digest, look, violations
from play import DEADLINE, play

SEED = int(os.environ.get("RESIDENCY_FAULT_SEED") or 1)
POINTS = int(os.environ.get("RESIDENCY_FAULT_POINTS") or 1)
DEPLOY = ("deploy.yml", "-e", "scheduler_version=v1.0.0")
BACK = ("rollback.yml", "-e", "rollback_to=v0.9.0", "-e", "rollback_database=downgrade")
#: Tasks at which a cut is known to hurt: between the migration and the new code, and in the middle of the services.
WORST = {
    "deploy.yml": ["Compare the running stack", "Start celery-worker"],
    "rollback.yml": ["Run the downgrade", "Start backend"],
}


def chosen(tasks: list[str], worst: list[str], seed: int) -> list[tuple[int, float]]:
    """Return task numbers to die at, each with the seconds into the task (0 for before it)."""
    numbers = [max(index for index, task in enumerate(tasks, start=1) if word in task) for word in worst]
    dice = random.Random(seed)
    known = [(number, 0.4) for number in numbers][:POINTS]
    drawn = [(dice.randint(1, len(tasks)), round(dice.choice([0.0, dice.uniform(0.0, 0.4)]), 3)) for _ in range(POINTS - len(known))]
    return known + drawn


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


def test_cut_anywhere(server: Server, subtests: pytest.Subtests) -> None:
    # Once without a fault, to know the tasks.
    names = {}
    for command in (DEPLOY, BACK):
        whole = play(server, *command)
        assert whole.rc == 0, whole.output[-5000:]
        names[command[0]] = [str(task["task"]) for task in whole.tasks]
    points = {command[0]: chosen(names[command[0]], WORST[command[0]], SEED) for command in (DEPLOY, BACK)}
    for forward, backward in zip(points["deploy.yml"], points["rollback.yml"], strict=True):
        for command, (number, after) in ((DEPLOY, forward), (BACK, backward)):
            with subtests.test(playbook=command[0], task=number, name=names[command[0]][number - 1], after=after):
                told, runs = cut(server, command, number, after)
                _note(
                    {
                        "playbook": command[0],
                        "task": number,
                        "name": names[command[0]][number - 1],
                        "after": after,
                        "seed": SEED,
                        "told": told,
                    }
                )
                assert not told, "\n".join([*told, runs[1].output[-3000:]])


def _note(result: dict[str, object]) -> None:
    if os.environ.get("RESIDENCY_FAULT_TABLE"):
        with Path(os.environ["RESIDENCY_FAULT_TABLE"]).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(result) + "\n")
