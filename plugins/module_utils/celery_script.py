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


def main(app: str, timeout: float, full: bool, workers: int) -> dict[str, Any]:
    """Return the nodes that answer and, if *full*, all that the application knows of queues, tasks and its schedule.

    :arg app: as for ``celery -A``: a module with a Celery instance named ``celery_app``, ``celery`` or ``app``,
        or "module:attribute".
    :arg timeout: seconds to wait for the nodes' answers, and for all canaries together.
    :arg full: also compare queues and tasks, count what waits, and send a canary through each consumed queue.
    :arg workers: how many nodes should answer; the wait ends with the last of them.
    """
    celery = _find(app)
    ping = celery.control.inspect(timeout=timeout, limit=workers).ping() or {}
    nodes = {node for node, answer in ping.items() if answer.get("ok") == "pong"}
    if not full:
        return {"nodes": sorted(nodes)}
    celery.loader.import_default_modules()
    # Without a limit: a worker that should not be there answers here. All were awake just now, so a second is enough.
    queues = {
        node: sorted(queue["name"] for queue in found)
        for node, found in (celery.control.inspect(timeout=1.0).active_queues() or {}).items()
    }
    nodes |= set(queues)
    registered = celery.control.inspect(timeout=timeout, limit=len(nodes)).registered() or {} if nodes else {}
    tasks = sorted(name for name in celery.tasks if not name.startswith("celery."))
    consumed = sorted({name for names in queues.values() for name in names})
    routed, scheduled, tick = _schedule(celery)
    return {
        "nodes": sorted(nodes),
        "queues": queues,
        "consumed": consumed,
        "routed": sorted(set(routed) | set(_routes(celery))),
        "tasks": tasks,
        "scheduled": scheduled,
        "missing_tasks": {
            node: sorted(set(tasks) - {name.split(" ")[0] for name in names}) for node, names in sorted(registered.items())
        },
        "tick_seconds": tick,
        **_depths(celery, sorted(set(consumed) | set(routed) | set(_routes(celery)))),
        "canaries": _canaries(celery, consumed, timeout),
    }


def _find(app: str) -> Any:
    name, _colon, attribute = app.partition(":")
    module = importlib.import_module(name)
    for candidate in [attribute] if attribute else ["celery_app", "celery", "app"]:
        found = getattr(module, candidate, None)
        if hasattr(found, "control"):
            return found
    raise SystemExit(f"{app} holds no Celery application")


def _routes(celery: Any) -> list[str]:
    """Return the queues that the default and static routes send tasks to."""
    names = {str(celery.conf.task_default_queue)}
    routes = celery.conf.task_routes or {}
    for table in routes if isinstance(routes, (list, tuple)) else [routes]:
        for route in table.values() if isinstance(table, dict) else []:
            names.add(str(route.get("queue", "")) if isinstance(route, dict) else str(route))
    return sorted(names - {""})


def _schedule(celery: Any) -> tuple[list[str], list[str], float | None]:
    """Return queues and tasks of the beat schedule, and the shortest fixed interval in seconds (None if all are crontabs)."""
    queues, tasks, intervals = set(), set(), []
    for entry in (celery.conf.beat_schedule or {}).values():
        tasks.add(str(entry["task"]))
        queue = (entry.get("options") or {}).get("queue") or celery.amqp.router.route({}, entry["task"]).get("queue")
        queues.add(str(getattr(queue, "name", queue) or ""))
        every = getattr(entry["schedule"], "run_every", entry["schedule"])
        seconds = every.total_seconds() if hasattr(every, "total_seconds") else every
        if isinstance(seconds, (int, float)):
            intervals.append(float(seconds))
    return sorted(queues - {""}), sorted(tasks), min(intervals, default=None)


def _depths(celery: Any, queues: list[str]) -> dict[str, Any]:
    """Return how many tasks wait in each queue, and how many are handed out and not done; nothing where the broker is not Redis.

    Redis holds one list for each priority of a queue, and handed-out tasks in the hash ``unacked``, where LLEN shows none.
    """
    with celery.connection_for_read() as connection:
        channel = connection.default_channel
        client: Any = getattr(channel, "client", None)
        if not hasattr(client, "llen"):
            return {"depths": {}, "unacked": 0}
        keys = {queue: [f"{queue}{channel.sep}{step}" if step else queue for step in channel.priority_steps] for queue in queues}
        return {
            "depths": {queue: sum(client.llen(key) for key in names) for queue, names in keys.items()},
            "unacked": client.hlen(channel.unacked_key),
        }


def _canaries(celery: Any, queues: list[str], timeout: float) -> list[dict[str, Any]]:
    """Send the built-in task ``celery.accumulate`` through each queue at once, and wait for all.

    It returns its argument and needs nothing of the application (Celery's documentation, app.builtins).
    """
    until = time.monotonic() + timeout
    sent = [(queue, *_send(celery, queue, timeout)) for queue in queues]
    return [_receive(queue, token, answer, started, until) for queue, token, answer, started in sent]


def _send(celery: Any, queue: str, timeout: float) -> tuple[str, Any, float]:
    token, started = uuid.uuid4().hex, time.monotonic()
    try:
        answer = celery.send_task("celery.accumulate", args=[token], kwargs={"index": 0}, queue=queue, expires=timeout)
    except Exception as failure:  # a broker that refuses is the finding itself
        answer = failure
    return token, answer, started


def _receive(queue: str, token: str, sent: Any, started: float, until: float) -> dict[str, Any]:
    try:
        if isinstance(sent, Exception):
            raise sent
        answer = sent.get(timeout=max(0.1, until - time.monotonic()))
        sent.forget()
        error = "" if answer in (token, [token]) else f"the answer was {answer!r:.80}"
    except Exception as failure:  # every failure of the round trip is the finding itself
        error = f"{type(failure).__name__}: {failure}"
    return {"queue": queue, "seconds": round(time.monotonic() - started, 3), "error": error}
