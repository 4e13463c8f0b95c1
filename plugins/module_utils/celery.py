# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do Celery's workers work, and does beat tick? Only a task that came back, and a task that was sent, are evidence."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import app_script, celery_script
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.containers import (
    Container,
    Process,
    parse_time,
    read_containers,
    read_log,
    read_processes,
)
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: What beat logs when it sends a task (celery.beat, level INFO).
TICK = "Sending due task"
#: Seconds by which a tick may be late on a busy host before it is missing.
TICK_MARGIN = 10.0

#: The argument spec of what celery_health and celery_drain share; documented in the fragment ``celery.app``.
APP_SPEC: dict[str, Any] = {
    "services": {"type": "list", "elements": "str", "default": ["celery-worker"]},
    "app": {"type": "str", "default": "app.core.celery_app"},
}
#: The argument spec of what is expected of Celery; documented in the fragment ``celery``.
EXPECTATIONS_SPEC: dict[str, Any] = {
    **APP_SPEC,
    "beat_service": {"type": "str", "default": "celery-beat"},
    "unconsumed_queues_allowed": {"type": "list", "elements": "str", "default": []},
    "depth_limit": {"type": "int", "default": 1000},
    "beat_wait": {"type": "int", "default": 20},
    "timeout": {"type": "int", "default": 10},
}


@dataclass(frozen=True)
class Beat:
    """What is known of beat: its processes in the whole project, when its container started, and when it last sent a task."""

    processes: tuple[Process, ...]
    started: datetime
    last_tick: datetime | None


def ask(
    containers: Sequence[Container],
    app: str,
    action: str,
    runner: Runner,
    secrets: Sequence[str],
    *,
    timeout: float,
    wait: float = 0.0,
    queues: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return what the script ``celery_script`` says to *action*, inside the first of the workers' *containers*.

    :arg timeout: seconds for the workers' answers.
    :arg wait: seconds that running tasks may take to end (``drain``).
    :arg queues: what to consume again, by node (``resume``, or ``drain`` where it has to be given up).
    """
    hosts = [item.hostname for item in containers]
    parameters = {"app": app, "action": action, "hosts": hosts, "timeout": timeout, "wait": wait, "queues": dict(queues or {})}
    return app_script.run(
        ["docker", "exec", "--interactive", containers[0].name, "python", "-"],
        celery_script,
        parameters,
        runner,
        what=f"Asking the Celery application {app} failed",
        remedy="Look at scheduler_celery_app and at the worker's log.",
        secrets=secrets,
        timeout=wait + timeout * 10 + 20,
    )


def examine(project: str, expected: Mapping[str, Any], secrets: Sequence[str], runner: Runner) -> tuple[list[Check], dict[str, Any]]:
    """Ask workers and beat, and return the checks with the workers' answer, and ``last_tick`` in it (None where it is not known).

    :arg expected: what :data:`EXPECTATIONS_SPEC` lists.
    :raises Problem: no worker runs, or the application could not be asked.
    """
    containers = [item for item in read_containers(project, runner, one_off=True) if item.state == "running"]
    services = " ".join(expected["services"])
    workers = [item for item in containers if item.service in expected["services"] and not item.one_off]
    if not workers:
        raise Problem(
            "Asking the Celery workers failed", f"no container of {services} is running", f"Read the log: docker compose logs {services}."
        )
    answer = ask(workers, expected["app"], "examine", runner, secrets, timeout=expected["timeout"])
    checks = judge_workers(answer, services, len(workers), expected["unconsumed_queues_allowed"], expected["depth_limit"])
    last_tick = None
    if expected["beat_service"]:
        found, last_tick = _examine_beat(containers, answer["tick_seconds"], expected, runner)
        checks += found
    return checks, {**answer, "last_tick": last_tick}


def answering(containers: Sequence[Container], nodes: Sequence[str]) -> int:
    """Return how many of *containers* have a worker among *nodes*, which are named after the containers' host names. Pure.

    Workers with names of another making are counted, since they cannot be told apart.
    """
    hosts = {node.rpartition("@")[2] for node in nodes}
    mine = sum(container.hostname in hosts for container in containers)
    return mine or (0 if any(len(host) == 12 for host in hosts) else min(len(nodes), len(containers)))


def judge_workers(answer: Mapping[str, Any], service: str, workers: int, allowed: Sequence[str], depth_limit: int) -> list[Check]:
    """Judge what the application said of its workers. Pure."""
    nodes, consumed = answer["nodes"], set(answer["consumed"])
    checks = [
        judge(
            f"{service}: workers that answer",
            len(nodes) == workers,
            f"{workers} (one for each running container)",
            f"{len(nodes)}: {', '.join(nodes) or 'none'}",
            f"Read the log: docker compose logs {service}.",
            topic="celery_worker",
        )
    ]
    for queue in answer["routed"]:
        checks.append(
            judge(
                f"queue {queue}: consumers",
                queue in consumed,
                "at least one worker",
                "at least one worker" if queue in consumed else "none: its tasks pile up for ever",
                f"Add {queue} to the worker's -Q, or stop sending to it.",
                otherwise="warn" if queue in allowed else "fail",
                topic="celery_queues",
            )
        )
    return checks + _judge_depths(answer, service, depth_limit) + _judge_tasks(answer, service) + _judge_canaries(answer, service)


def _judge_depths(answer: Mapping[str, Any], service: str, limit: int) -> list[Check]:
    depths = answer["depths"]
    deep = {queue: depth for queue, depth in depths.items() if depth > limit}
    waiting = ", ".join(f"{queue} {depth}" for queue, depth in (deep or depths).items()) or "the broker cannot tell"
    return [
        judge(
            "queues: tasks waiting",
            not deep,
            f"at most {limit} in each queue",
            f"{waiting}; {answer['unacked']} handed out and not done",
            f"Look at what {service} does, and whether it keeps up: more workers, or fewer tasks.",
            otherwise="warn",
            topic="celery_queues",
        )
    ]


def _judge_tasks(answer: Mapping[str, Any], service: str) -> list[Check]:
    checks = []
    for node, missing in answer["missing_tasks"].items():
        checks.append(
            judge(
                f"{node}: registered tasks",
                not missing,
                "every task of the application",
                "every task of the application" if not missing else f"without {', '.join(missing)}",
                f"It runs other code, and discards these tasks: replace it, docker compose up -d --force-recreate {service}.",
                topic="celery_worker",
            )
        )
    unknown = sorted(set(answer["scheduled"]) - set(answer["tasks"]))
    checks.append(
        judge(
            "beat schedule: tasks",
            not unknown,
            "only tasks that the application has",
            f"{len(answer['scheduled'])}, all known" if not unknown else f"unknown: {', '.join(unknown)}",
            "Workers discard a task that they do not know: correct the schedule, or import the task's module.",
            topic="celery_beat",
        )
    )
    return checks


def _judge_canaries(answer: Mapping[str, Any], service: str) -> list[Check]:
    return [
        judge(
            f"queue {canary['queue']}: canary",
            not canary["error"],
            "a task that comes back",
            canary["error"] or f"came back after {canary['seconds']:.3f} s",
            f"The worker answers but does no work: docker compose restart {service}.",
            canary["seconds"],
            topic="celery_canary",
        )
        for canary in answer["canaries"]
    ]


def beats_among(processes: Sequence[Process]) -> list[Process]:
    """Return the schedulers among *processes*: beat itself, or a worker with beat built in; not the shell around one."""
    return [
        process
        for process in processes
        if "celery" in process.command
        and (" beat" in process.command or " -B" in process.command or "--beat" in process.command)
        and not process.command.startswith(("sh ", "/bin/sh ", "bash ", "docker-init", "/sbin/docker-init", "tini "))
    ]


def judge_beat_processes(name: str, beats: Sequence[Process], seconds: float = 0.0) -> Check:
    """Judge whether exactly one scheduler runs, and is not stopped. Pure."""
    stopped = [process for process in beats if process.state.startswith(("T", "Z", "D"))]
    found = f"{len(beats)} running" + (f", {len(stopped)} of them stopped ({stopped[0].state})" if stopped else "")
    return judge(
        f"{name}: scheduler process",
        len(beats) == 1 and not stopped,
        "exactly one, not stopped",
        found,
        f"Two schedulers send every task twice: stop the one too many. None, or a stopped one: docker compose restart {name}.",
        seconds,
        topic="celery_beat",
    )


def judge_tick(name: str, beat: Beat, interval: float | None, now: datetime) -> Check:
    """Judge whether beat sends its tasks in time. Pure.

    :arg interval: seconds between two tasks at most, by the schedule; None where it has crontabs only.
    """
    subject, topic = f"{name}: ticks", "celery_beat"
    if interval is None:
        found, remedy = "no entry with a fixed interval, so no time at which a task has to be sent", "Add a heartbeat task to the schedule."
        return Check(subject, "warn", "a task sent in time", found, 0.0, remedy, topic)
    expected = f"a task sent within the last {interval + TICK_MARGIN:.0f} s"
    up = (now - beat.started).total_seconds()
    age = (now - beat.last_tick).total_seconds() if beat.last_tick else None
    if age is None and up <= interval + TICK_MARGIN:
        remedy = "Verify again then."
        return Check(subject, "warn", expected, f"started {up:.0f} s ago, its first task is due after {interval:.0f} s", 0.0, remedy, topic)
    return judge(
        subject,
        age is not None and age <= interval + TICK_MARGIN,
        expected,
        f"the last one {age:.0f} s ago" if age is not None else f"none since its start {up:.0f} s ago",
        f"It runs and does nothing: docker compose restart {name}. (Its log has to be at level INFO: `{TICK}`.)",
        topic=topic,
    )


def _examine_beat(
    containers: Sequence[Container], interval: float | None, expected: Mapping[str, Any], runner: Runner
) -> tuple[list[Check], datetime | None]:
    service = str(expected["beat_service"])
    with ThreadPoolExecutor(max_workers=max(1, len(containers))) as pool:
        processes = [process for found in pool.map(lambda item: read_processes(item.name, runner), containers) for process in found]
    beats = tuple(beats_among(processes))
    check = judge_beat_processes(service, beats)
    home = next((item for item in containers if item.service == service), None)
    if home is None or check.verdict == "fail":
        return [check], None
    until = time.monotonic() + float(expected["beat_wait"])
    while True:
        beat = Beat(beats, home.started, _last_tick(home, runner))
        tick = judge_tick(service, beat, interval, datetime.now(UTC))
        # A young beat has its first tick before it: waiting for that is better than a warning, where it is not for long.
        if beat.last_tick or interval is None or tick.verdict == "fail" or time.monotonic() >= until:
            return [check, tick], beat.last_tick
        time.sleep(0.5)


def _last_tick(container: Container, runner: Runner) -> datetime | None:
    lines = read_log(container.name, runner, (), lines=500, since=container.started.isoformat(), timestamps=True)
    times = [line.split(" ", 1)[0] for line in lines if TICK in line]
    return parse_time(times[-1]) if times else None


def write_drained(path: str, queues: Mapping[str, Sequence[str]], *, idle: bool) -> None:
    """Note in the file *path* that the workers consume nothing.

    :arg queues: what each node consumed.
    :arg idle: whether the tasks in work have ended. Where a run is cut before that, the next one has to wait for them.
    """
    write_text(path, json.dumps({"queues": queues, "idle": idle}) + "\n", 0o640)


def read_drained(path: str) -> tuple[dict[str, list[str]], bool]:
    """Return the queues and whether the workers are idle; a file that is not there, or was cut, says nothing."""
    try:
        found = json.loads(read_text(path))
        return {str(node): [str(name) for name in names] for node, names in found["queues"].items()}, bool(found["idle"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}, False
