# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a Celery application about its workers, and tells them to drain. Runs in a worker's container, with its own Python."""

from __future__ import annotations

import importlib
import time
import uuid
from typing import Any


def main(
    app: str, action: str, hosts: list[str], timeout: float, queues: dict[str, list[str]] | None = None, wait: float = 0.0
) -> dict[str, Any]:
    """Return what *action* asks for.

    :arg app: as for ``celery -A``: a module with a Celery instance named ``celery_app``, ``celery`` or ``app``,
        or "module:attribute".
    :arg action: ``nodes``: who answers; ``examine``: all that the application knows of queues, tasks and its schedule, with
        a canary through each consumed queue; ``consumed``: the queues of each node, and those of a worker that names none;
        ``drain``: consume nothing, and wait until nothing is being worked on; ``resume``.
    :arg hosts: host names of the workers that should answer; the wait for them ends with the last.
    :arg timeout: seconds to wait for the nodes' answers, and for all canaries together.
    :arg queues: what to resume, by node; also where draining has to be given up.
    :arg wait: seconds to wait at most for running tasks to end.
    """
    celery = _find(app)
    if action == "nodes":
        return {"nodes": sorted(_ping(celery, hosts, timeout))}
    if action == "examine":
        return _examine(celery, hosts, timeout)
    before = _consumed(celery, timeout, len(hosts))
    if action == "drain":
        return {"before": before, **_drain(celery, before, queues or before, wait, timeout)}
    if action == "resume":
        _resume(celery, queues or {}, timeout)
    return {"before": before, "default": sorted(celery.amqp.queues)}


def _find(app: str) -> Any:
    name, _colon, attribute = app.partition(":")
    module = importlib.import_module(name)
    for candidate in [attribute] if attribute else ["celery_app", "celery", "app"]:
        found = getattr(module, candidate, None)
        if hasattr(found, "control"):
            return found
    raise SystemExit(f"{app} holds no Celery application")


def _ping(celery: Any, hosts: list[str], timeout: float) -> set[str]:
    # Addressed, so that the workers of another service do not answer in their place; but a name may also be of another making.
    names = [f"celery@{host}" for host in hosts]
    answers = celery.control.inspect(destination=names, timeout=timeout, limit=len(hosts)).ping()
    answers = answers or celery.control.inspect(timeout=timeout, limit=len(hosts)).ping() or {}
    return {node for node, answer in answers.items() if answer.get("ok") == "pong"}


def _consumed(celery: Any, timeout: float, limit: int | None) -> dict[str, list[str]]:
    answers = celery.control.inspect(timeout=timeout, limit=limit).active_queues() or {}
    return {node: sorted(queue["name"] for queue in queues or []) for node, queues in answers.items()}


def _examine(celery: Any, hosts: list[str], timeout: float) -> dict[str, Any]:
    nodes = _ping(celery, hosts, timeout)
    celery.loader.import_default_modules()
    # Without a limit: a worker that should not be there answers here. All were awake just now, so a second is enough for most.
    queues = _consumed(celery, 1.0, None)
    if nodes - set(queues):
        queues |= _consumed(celery, timeout, len(nodes))
    nodes |= set(queues)
    registered = celery.control.inspect(timeout=timeout, limit=len(nodes)).registered() or {} if nodes else {}
    tasks = sorted(name for name in celery.tasks if not name.startswith("celery."))
    consumed = sorted({name for names in queues.values() for name in names})
    scheduled_queues, scheduled, tick = _schedule(celery)
    routed = sorted({*scheduled_queues, *_routes(celery)})
    return {
        "nodes": sorted(nodes),
        "queues": queues,
        "consumed": consumed,
        "routed": routed,
        "tasks": tasks,
        "scheduled": scheduled,
        "missing_tasks": {
            node: sorted(set(tasks) - {name.split(" ")[0] for name in names}) for node, names in sorted(registered.items())
        },
        "tick_seconds": tick,
        **_depths(celery, sorted({*consumed, *routed})),
        "canaries": _canaries(celery, consumed, timeout),
    }


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


def _drain(celery: Any, before: dict[str, list[str]], queues: dict[str, list[str]], wait: float, timeout: float) -> dict[str, Any]:
    """Cancel all consumers and wait; with what is left at the deadline, *queues* are consumed again."""
    started = time.monotonic()
    for queue in sorted({name for names in before.values() for name in names}):
        celery.control.cancel_consumer(queue, reply=True, timeout=timeout, limit=len(before))
    left = _wait_for_idle(celery, len(before), started + wait, timeout)
    if left:
        _resume(celery, queues, timeout)
    return {"left": left, "seconds": round(time.monotonic() - started, 3)}


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
