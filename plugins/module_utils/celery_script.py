# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a Celery application about its workers. Runs inside a worker's container, with the application's own Python."""

from __future__ import annotations

import importlib
import time
import uuid
from typing import Any


def main(app: str, timeout: float, canary: bool, workers: int) -> dict[str, Any]:
    """Return the nodes that answer, what they consume, what the app sends where, and a canary's way through each queue.

    :arg app: as for ``celery -A``: a module with a Celery instance named ``celery_app``, ``celery`` or ``app``,
        or "module:attribute".
    :arg timeout: seconds to wait for the nodes' answers, and for each canary.
    :arg workers: how many nodes should answer; the wait ends with the last of them.
    :arg canary: send the built-in task ``celery.accumulate`` through each consumed queue; it returns its argument
        and needs nothing of the application (Celery's documentation, app.builtins).
    """
    celery = _find(app)
    ping = celery.control.inspect(timeout=timeout, limit=workers).ping() or {}
    # Without a limit: a worker that should not be there answers here. All were awake just now, so a second is enough.
    answers = celery.control.inspect(timeout=1.0).active_queues() or {}
    queues = {node: sorted(queue["name"] for queue in found) for node, found in answers.items()}
    consumed = sorted({name for names in queues.values() for name in names})
    return {
        "nodes": sorted({node for node, answer in ping.items() if answer.get("ok") == "pong"} | set(queues)),
        "queues": queues,
        "consumed": consumed,
        "routed": _routed(celery),
        "canaries": [_canary(celery, queue, timeout) for queue in consumed] if canary else [],
    }


def _find(app: str) -> Any:
    name, _colon, attribute = app.partition(":")
    module = importlib.import_module(name)
    for candidate in [attribute] if attribute else ["celery_app", "celery", "app"]:
        found = getattr(module, candidate, None)
        if hasattr(found, "control"):
            return found
    raise SystemExit(f"{app} holds no Celery application")


def _routed(celery: Any) -> list[str]:
    """Return the queues that static routes, the beat schedule and the default send tasks to."""
    names = {str(celery.conf.task_default_queue)}
    routes = celery.conf.task_routes or {}
    for table in routes if isinstance(routes, (list, tuple)) else [routes]:
        for route in table.values() if isinstance(table, dict) else []:
            names.add(str(route.get("queue", "")) if isinstance(route, dict) else str(route))
    for entry in (celery.conf.beat_schedule or {}).values():
        options = entry.get("options") or {}
        if options.get("queue"):
            names.add(str(options["queue"]))
        else:
            queue = celery.amqp.router.route({}, entry["task"]).get("queue")
            names.add(str(getattr(queue, "name", queue) or ""))
    return sorted(names - {""})


def _canary(celery: Any, queue: str, timeout: float) -> dict[str, Any]:
    token = uuid.uuid4().hex
    started = time.monotonic()
    try:
        sent = celery.send_task("celery.accumulate", args=[token], kwargs={"index": 0}, queue=queue, expires=timeout)
        answer = sent.get(timeout=timeout)
        sent.forget()
        error = "" if answer in (token, [token]) else f"the answer was {answer!r:.80}"
    except Exception as failure:  # every failure of the round trip is the finding itself
        error = f"{type(failure).__name__}: {failure}"
    return {"queue": queue, "seconds": round(time.monotonic() - started, 3), "error": error}
