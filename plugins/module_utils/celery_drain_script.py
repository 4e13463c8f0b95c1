# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops Celery's workers from taking tasks, and lets them finish. Runs inside a worker's container."""

from __future__ import annotations

import importlib
import time
from typing import Any


def main(app: str, action: str, queues: list[str], workers: int, wait: float, timeout: float) -> dict[str, Any]:
    """Return what the workers consume and do; stop or resume their consuming first.

    :arg app: as for ``celery -A``, see ``celery_script``.
    :arg action: ``look``; ``drain``: consume nothing, and wait until nothing is being worked on; ``resume``.
    :arg queues: what to resume.
    :arg workers: how many nodes should answer; the wait for answers ends with the last of them.
    :arg wait: seconds to wait at most for running tasks; whatever is left then is returned, and consuming goes on.
    :arg timeout: seconds to wait at most for the nodes' answers.
    """
    celery = _find(app)
    before = _consumed(celery, workers, timeout)
    answer: dict[str, Any] = {"before": before, "left": [], "seconds": 0.0}
    started = time.monotonic()
    if action == "drain":
        for queue in sorted({name for names in before.values() for name in names}):
            celery.control.cancel_consumer(queue, reply=True, timeout=timeout, limit=len(before))
        answer["left"] = _wait_for_idle(celery, len(before), started + wait, timeout)
        if answer["left"]:
            _resume(celery, before, timeout)
    elif action == "resume":
        _resume(celery, dict.fromkeys(before, queues), timeout)
    answer["seconds"] = round(time.monotonic() - started, 3)
    answer["after"] = _consumed(celery, workers, timeout)
    return answer


def _find(app: str) -> Any:
    name, _colon, attribute = app.partition(":")
    module = importlib.import_module(name)
    for candidate in [attribute] if attribute else ["celery_app", "celery", "app"]:
        found = getattr(module, candidate, None)
        if hasattr(found, "control"):
            return found
    raise SystemExit(f"{app} holds no Celery application")


def _consumed(celery: Any, workers: int, timeout: float) -> dict[str, list[str]]:
    found = celery.control.inspect(timeout=timeout, limit=workers).active_queues() or {}
    return {node: sorted(queue["name"] for queue in queues or []) for node, queues in found.items()}


def _resume(celery: Any, queues: dict[str, list[str]], timeout: float) -> None:
    for node, names in queues.items():
        for name in names:
            celery.control.add_consumer(name, destination=[node], reply=True, timeout=timeout, limit=1)


def _wait_for_idle(celery: Any, workers: int, until: float, timeout: float) -> list[dict[str, Any]]:
    """Return the tasks that are left when *until* has come; none as soon as two looks in a row found nothing.

    A task between two states - handed out, not yet reserved - is missed by one look, and seen by the next.
    """
    quiet = 0
    while True:
        left = _working_on(celery, workers, timeout)
        quiet = 0 if left else quiet + 1
        if quiet == 2:
            return []
        if time.monotonic() >= until:
            return left
        time.sleep(0.3)


def _working_on(celery: Any, workers: int, timeout: float) -> list[dict[str, Any]]:
    inspect = celery.control.inspect(timeout=timeout, limit=workers)
    answers = {"running": inspect.active(), "reserved": inspect.reserved()}
    if any(found is None or len(found) < workers for found in answers.values()):
        # Who does not answer may be working: that is no evidence of rest.
        missing = workers - min(len(found or {}) for found in answers.values())
        return [{"task": "unknown", "id": "", "node": f"{missing} workers that do not answer", "state": "unknown"}]
    return [
        {"task": str(task.get("name")), "id": str(task.get("id")), "node": node, "state": state}
        for state, found in answers.items()
        for node, tasks in (found or {}).items()
        for task in tasks or []
    ]
