# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the stack healthy? Container facts against expectations, and a wait that ends as soon as the answer is certain."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, failed, judge, on_topic
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService

#: A container that Docker restarted this often while we watched will not come up by waiting longer.
CRASH_LOOP_RESTARTS = 2
#: What restarted that often is up again only after so many seconds: most crash loops take less.
CRASH_LOOP_SECONDS = 60.0
#: Seconds that a wait adds to the time which the container's own health check may take.
MARGIN = 10.0


@dataclass(frozen=True)
class Wanted:
    """What a service has to look like: replicas, and the id of its image (None where that image does not exist)."""

    service: StackService
    replicas: int
    image_id: str | None


@dataclass(frozen=True)
class Verdict:
    """The state of one service.

    :ivar status: ``healthy``; ``waiting`` (may still come up); ``failed`` (will not come up by waiting).
    """

    service: str
    status: str
    checks: tuple[Check, ...]
    containers: tuple[Container, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return {
            "service": self.service,
            "status": self.status,
            "checks": [check.to_dict() for check in self.checks],
            "containers": [container.brief() for container in self.containers],
        }


def judge_containers(wanted: Wanted, containers: Sequence[Container], restarts_before: Mapping[str, int]) -> Verdict:
    """Judge a service by what Docker says of its containers. Pure.

    :arg restarts_before: restart counts by container name, when the watch began.
    """
    name = wanted.service.name
    checks: list[Check] = []
    status = "healthy"
    running = [container for container in containers if container.state == "running"]
    enough = len(running) == wanted.replicas
    checks.append(
        judge(
            f"{name}: containers",
            enough,
            f"{wanted.replicas} running",
            _states(containers),
            _remedy(name, containers),
        )
    )
    if not enough:
        status = "waiting" if _may_start(containers, wanted.replicas) else "failed"
    for container in running:
        health = _health_check(wanted, container)
        checks += [health] if health else []
        if health and health.verdict == "fail":
            # "unhealthy" is not final: an application that starts slowly passes through it.
            status = _worse(status, "waiting")
        if container.image_id != wanted.image_id:
            release = f"image {wanted.image_id[7:19]}" if wanted.image_id else "its image, which is gone"
            remedy = f"The container was not replaced, or the image was removed: run the deployment again for {name}."
            found = f"image {container.image_id[7:19]}"
            checks.append(judge(f"{container.name}: image", False, f"{release} of the release", found, remedy))
            status = "failed"
    for container in running:
        up = (datetime.now(UTC) - container.started).total_seconds()
        if container.restarts >= CRASH_LOOP_RESTARTS and up < CRASH_LOOP_SECONDS:
            found = f"restarted {container.restarts} times, the last time {up:.0f} s ago"
            expected = f"up for {CRASH_LOOP_SECONDS:.0f} s"
            checks.append(judge(f"{container.name}: restarts", False, expected, found, _remedy(name, [container])))
            status = _worse(status, "waiting")
    for container in containers:
        grown = container.restarts - restarts_before.get(container.name, container.restarts)
        if grown >= CRASH_LOOP_RESTARTS:
            checks.append(
                judge(f"{container.name}: restarts", False, "none", f"{grown} while waiting{_why(container)}", _remedy(name, [container]))
            )
            status = "failed"
    return Verdict(name, status, tuple(on_topic(checks, "containers")), tuple(containers))


def judge_restarts(verdicts: Sequence[Verdict], before: Mapping[str, int]) -> list[Check]:
    """Judge whether no container restarted while it was watched; one that came back looks healthy again. Pure.

    A service that is not healthy and has no failed check to say so gets one.

    :arg before: restart counts by container name, when the watch began.
    """
    checks = []
    for verdict in verdicts:
        if verdict.status != "healthy" and not failed(verdict.checks) and verdict.containers:
            remedy = f"Read the log: docker compose logs {verdict.service}."
            checks.append(judge(f"{verdict.service}: state", False, "healthy", verdict.status, remedy, topic="containers"))
    for container in (item for verdict in verdicts for item in verdict.containers):
        grown = container.restarts - before.get(container.name, container.restarts)
        found = f"restarted {grown} times" if grown else "none"
        remedy = _remedy(container.service, [container])
        checks.append(judge(f"{container.name}: restarts", grown == 0, "none while it was watched", found, remedy, topic="containers"))
    return checks


def _health_check(wanted: Wanted, container: Container) -> Check | None:
    if container.health == "none":
        return None
    if wanted.service.docker_health_is_advice:
        # Told, and not counted: an alarm that is always on is no alarm.
        subject, found = f"{container.name}: Docker health", f"{container.health} (its health check is another service's; not counted)"
        return judge(subject, True, "any", found, "")
    # Docker asks for the first time after a whole interval (30 s and more). Where we ask the service ourselves, that answer decides.
    probed = wanted.service.kind != "container"
    return judge(
        f"{container.name}: Docker health",
        container.health == "healthy" or (probed and container.health == "starting"),
        "healthy, or starting while the service answers us" if probed else "healthy",
        container.health,
        f"Read its last probes: docker inspect -f '{{{{json .State.Health}}}}' {container.name}.",
    )


def _may_start(containers: Sequence[Container], replicas: int) -> bool:
    """Tell whether waiting may help: enough are running, being started, or will be started again by Docker; or some have to go."""
    return sum(container.state in ("created", "restarting", "running") for container in containers) >= replicas


def _worse(one: str, other: str) -> str:
    order = ("healthy", "waiting", "failed")
    return max(one, other, key=order.index)


def _states(containers: Sequence[Container]) -> str:
    if not containers:
        return "none"
    return ", ".join(f"{container.name} {container.state}{_why(container)}" for container in containers)


def _why(container: Container) -> str:
    if container.oom_killed:
        return " (OOMKilled: its memory limit is too low)"
    if container.state in ("exited", "restarting", "dead"):
        return f" (exit code {container.exit_code})"
    return ""


def _remedy(name: str, containers: Sequence[Container]) -> str:
    if any(container.oom_killed for container in containers):
        return f"Raise the memory limit of {name} in the compose file."
    return f"Read the log: docker compose logs --tail=50 {name}."


class Clock(Protocol):
    """Time and sleep, so that a test can run a wait without waiting."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass."""


class SystemClock:
    """The real clock."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Watched:
    """What a watch saw.

    :ivar seconds: how long it took.
    :ivar restarts_before: restart counts by container name, when it began.
    :ivar waiting_until: seconds since its start for which waiting may still help; 0 when it is decided.
    """

    verdicts: list[Verdict]
    seconds: float
    restarts_before: dict[str, int]
    waiting_until: float = 0.0


Snapshot = Callable[[], Sequence[Container]]
ProbeOne = Callable[[StackService, list[Container]], list[Check]]


def watch(
    wanted: Sequence[Wanted],
    snapshot: Snapshot,
    probe: ProbeOne,
    clock: Clock,
    *,
    wait: float,
    hold: float,
    report_after: float = 0.0,
    restarts_before: Mapping[str, int] | None = None,
) -> Watched:
    """Return the verdicts on all services.

    Waits until all are healthy, then *hold* seconds more (a service that dies right after its first good answer is
    not healthy); stops at once when one has failed for good, or at the deadline.

    :arg wait: seconds at most; a container's own health check may stretch it (start period, interval, retries).
        0 looks once.
    :arg report_after: seconds after which to return the state reached, even if waiting may still help; 0 for never.
    :arg restarts_before: restart counts by container name when an earlier watch of the same wait began.
    """
    started = clock.now()
    containers = snapshot()
    before = {container.name: container.restarts for container in containers} | dict(restarts_before or {})
    while True:
        verdicts = _look_at_all(wanted, containers, probe, before)
        if _healthy(verdicts):
            verdicts = _hold(wanted, snapshot, clock, hold, verdicts)
            if _healthy(verdicts):
                return Watched(verdicts, clock.now() - started, before)
        elapsed, until = clock.now() - started, deadline(wait, containers, wanted)
        if any(verdict.status == "failed" for verdict in verdicts) or elapsed >= until:
            return Watched(verdicts, elapsed, before)
        if report_after and elapsed >= report_after:
            return Watched(verdicts, elapsed, before, waiting_until=until)
        clock.sleep(1.0)
        containers = snapshot()


def _healthy(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.status == "healthy" for verdict in verdicts)


def _hold(wanted: Sequence[Wanted], snapshot: Snapshot, clock: Clock, hold: float, good: list[Verdict]) -> list[Verdict]:
    """Return *good* if for *hold* seconds no container changed, else what was seen. Probing again each second would load the host."""
    restarts_before = {container.name: container.restarts for verdict in good for container in verdict.containers}
    until = clock.now() + hold
    while clock.now() < until:
        clock.sleep(min(1.0, until - clock.now()))
        containers = snapshot()
        seen = [judge_containers(entry, _of(entry, containers), restarts_before) for entry in wanted]
        if not _healthy(seen):
            return seen
        restarted = {item.service for item in containers if item.restarts > restarts_before.get(item.name, item.restarts)}
        if restarted:
            # One restart is no crash loop, but what restarted has to answer anew.
            return [replace(verdict, status="waiting") if verdict.service in restarted else verdict for verdict in seen]
    return good


def deadline(wait: float, containers: Sequence[Container], wanted: Sequence[Wanted]) -> float:
    """Return the seconds to wait at most: *wait*, or what the slowest check that Docker has not decided yet may take."""
    if wait <= 0:
        return 0.0
    names = {entry.service.name for entry in wanted if not entry.service.docker_health_is_advice}
    own = [container.health_deadline for container in containers if container.service in names and container.health == "starting"]
    return max([wait, *(seconds + MARGIN for seconds in own)])


def _of(wanted: Wanted, containers: Sequence[Container]) -> list[Container]:
    return [container for container in containers if container.service == wanted.service.name]


def _look(wanted: Wanted, containers: Sequence[Container], probe: ProbeOne, restarts_before: Mapping[str, int]) -> Verdict:
    mine = _of(wanted, containers)
    verdict = judge_containers(wanted, mine, restarts_before)
    running = [container for container in mine if container.state == "running"]
    # Another image than the release's answers as well, or does not, which may be what is wrong.
    beside_image = [check for check in failed(verdict.checks) if not check.subject.endswith(": image")]
    if not running or (verdict.status == "failed" and beside_image):
        return verdict
    probed = probe(wanted.service, running)
    status = _worse(verdict.status, "waiting") if failed(probed) else verdict.status
    return Verdict(verdict.service, status, verdict.checks + tuple(probed), verdict.containers)


def _look_at_all(
    wanted: Sequence[Wanted], containers: Sequence[Container], probe: ProbeOne, restarts_before: Mapping[str, int]
) -> list[Verdict]:
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
        return list(pool.map(lambda entry: _look(entry, containers, probe, restarts_before), wanted))
