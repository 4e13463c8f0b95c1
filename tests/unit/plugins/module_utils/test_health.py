# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on services, and the wait for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container
from ansible_collections.residency.scheduler.plugins.module_utils.health import (
    MARGIN,
    Verdict,
    Wanted,
    deadline,
    judge_containers,
    judge_restarts,
    watch,
)
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService

BACKEND = StackService("backend", "http", 8000, "/health", optional=False, docker_health_is_advice=False)
PLAIN = replace(BACKEND, kind="container")
WORKER = StackService("worker", "celery_worker", None, "/", optional=False, docker_health_is_advice=True)
IMAGE, OTHER_IMAGE = "sha256:" + "1" * 64, "sha256:" + "2" * 64

UP = Container(
    name="backend-1",
    service="backend",
    image_id=IMAGE,
    state="running",
    health="healthy",
    restarts=0,
    exit_code=0,
    oom_killed=False,
    started=datetime(2025, 12, 22, 2, tzinfo=UTC),
    address="172.18.0.2",
    config_hash="h",
    environment={},
    command=(),
    published=(),
    health_deadline=20.0,
)
SECOND = replace(UP, name="backend-2")
GOOD = Check("backend: HTTP", "pass", "200", "200")
BAD = Check("backend: HTTP", "fail", "200", "502", 0.1, "Look.")


@pytest.mark.parametrize(
    ("service", "replicas", "image", "containers", "before", "status", "words"),
    [
        pytest.param(BACKEND, 1, IMAGE, [UP], {}, "healthy", "", id="healthy"),
        pytest.param(BACKEND, 1, None, [UP], {}, "failed", "its image, which is gone of the release", id="the image is gone"),
        pytest.param(
            BACKEND,
            1,
            IMAGE,
            # Up for the moment also when this test comes minutes after it was collected.
            [replace(UP, restarts=412, started=datetime.now(UTC) + timedelta(hours=1))],
            {"backend-1": 412},
            "waiting",
            "restarted 412 times",
            id="a slow crash loop, up for the moment",
        ),
        pytest.param(BACKEND, 2, IMAGE, [UP, SECOND], {}, "healthy", "", id="two replicas"),
        pytest.param(BACKEND, 0, IMAGE, [], {}, "healthy", "", id="none wanted, none there"),
        pytest.param(BACKEND, 1, IMAGE, [replace(UP, health="none")], {}, "healthy", "", id="no health check"),
        pytest.param(BACKEND, 1, IMAGE, [], {}, "failed", "1 running, found none", id="absent"),
        pytest.param(BACKEND, 2, IMAGE, [UP], {}, "failed", "2 running, found backend-1 running", id="one of two"),
        pytest.param(
            BACKEND, 1, IMAGE, [replace(UP, state="created", health="none")], {}, "waiting", "backend-1 created", id="being started"
        ),
        pytest.param(
            BACKEND, 1, IMAGE, [replace(UP, state="restarting", exit_code=3)], {}, "waiting", "restarting (exit code 3)", id="first restart"
        ),
        pytest.param(
            BACKEND, 1, IMAGE, [replace(UP, state="exited", exit_code=3)], {}, "failed", "exited (exit code 3)", id="exited"
        ),
        pytest.param(BACKEND, 1, IMAGE, [replace(UP, state="paused")], {}, "failed", "backend-1 paused", id="paused"),
        pytest.param(
            BACKEND, 1, IMAGE, [replace(UP, state="exited", oom_killed=True)], {}, "failed", "memory limit of backend", id="out of memory"
        ),
        pytest.param(PLAIN, 1, IMAGE, [replace(UP, health="starting")], {}, "waiting", "healthy, found starting", id="only Docker asks"),
        pytest.param(BACKEND, 1, IMAGE, [replace(UP, health="starting")], {}, "healthy", "", id="we ask too: our answer decides"),
        pytest.param(BACKEND, 1, IMAGE, [replace(UP, health="unhealthy")], {}, "waiting", "found unhealthy", id="unhealthy"),
        pytest.param(WORKER, 1, IMAGE, [replace(UP, health="unhealthy")], {}, "healthy", "", id="health is advice"),
        pytest.param(
            BACKEND, 1, IMAGE, [replace(UP, image_id=OTHER_IMAGE)], {}, "failed", "of the release, found image 222222222222", id="image"
        ),
        pytest.param(BACKEND, 1, IMAGE, [replace(UP, restarts=1)], {"backend-1": 0}, "healthy", "", id="one restart"),
        pytest.param(BACKEND, 1, IMAGE, [replace(UP, restarts=9)], {"backend-1": 9}, "healthy", "", id="restarts of long ago"),
        pytest.param(BACKEND, 1, IMAGE, [replace(UP, restarts=9)], {}, "healthy", "", id="restarts of a container that is new to us"),
        pytest.param(
            BACKEND, 1, IMAGE, [replace(UP, restarts=2)], {"backend-1": 0}, "failed", "none, found 2 while waiting", id="crash loop"
        ),
        pytest.param(
            BACKEND,
            1,
            IMAGE,
            [replace(UP, state="restarting", restarts=3, exit_code=137, oom_killed=True)],
            {"backend-1": 1},
            "failed",
            "2 while waiting (OOMKilled",
            id="crash loop for want of memory",
        ),
    ],
)
def test_judge_containers(
    service: StackService,
    replicas: int,
    image: str | None,
    containers: list[Container],
    before: dict[str, int],
    status: str,
    words: str,
) -> None:
    verdict = judge_containers(Wanted(service, replicas, image), containers, before)
    failed = [check for check in verdict.checks if check.verdict == "fail"]
    said = "\n".join(f"{check.subject}: {check.expected}, found {check.found}. {check.remedy}" for check in failed)
    assert verdict.status == status, said
    assert words in said
    assert bool(failed) == (status != "healthy")
    assert all(check.remedy for check in failed)


def test_health_as_advice_is_still_told() -> None:
    verdict = judge_containers(Wanted(WORKER, 1, IMAGE), [replace(UP, health="unhealthy")], {})
    assert [check.verdict for check in verdict.checks] == ["pass", "pass"]
    assert verdict.checks[1].found.startswith("unhealthy (")


class FakeClock:
    """Sleeping takes no time, and is counted."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        """Return the fake seconds."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let fake time pass."""
        assert seconds > 0
        self.time += seconds


def at(clock: FakeClock, *states: tuple[float, list[Container]]) -> Callable[[], Sequence[Container]]:
    """Return a snapshot that gives each state from its second on."""
    return lambda: next(containers for second, containers in reversed(states) if clock.time - 1000.0 >= second)


def always_good(_service: StackService, _containers: list[Container]) -> list[Check]:
    return [GOOD]


def no_probe(_service: StackService, _containers: list[Container]) -> list[Check]:
    raise AssertionError("a service that does not run must not be probed")


ONE = [Wanted(BACKEND, 1, IMAGE)]
CREATED = replace(UP, state="created", health="none")
STARTING = replace(UP, health="starting")
ONE_PLAIN = [Wanted(PLAIN, 1, IMAGE)]


def test_healthy_at_once() -> None:
    clock = FakeClock()
    watched = watch(ONE, lambda: [UP], always_good, clock, wait=60, hold=0)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert [(verdict.service, verdict.status) for verdict in verdicts] == [("backend", "healthy")]
    assert seconds == 0
    assert verdicts[0].checks[-1] == GOOD


def test_becomes_healthy() -> None:
    clock = FakeClock()
    watched = watch(ONE_PLAIN, at(clock, (0, [CREATED]), (3, [STARTING]), (7, [UP])), always_good, clock, wait=60, hold=0)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert verdicts[0].status == "healthy"
    assert seconds == 7


def test_wait_zero_looks_once() -> None:
    clock = FakeClock()
    watched = watch(ONE_PLAIN, lambda: [STARTING], always_good, clock, wait=0, hold=0)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert (verdicts[0].status, seconds) == ("waiting", 0)


def test_an_exited_container_ends_the_wait_and_is_not_probed() -> None:
    clock = FakeClock()
    watched = watch(ONE, lambda: [replace(UP, state="exited", exit_code=1)], no_probe, clock, wait=600, hold=0)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert (verdicts[0].status, seconds) == ("failed", 0)


def test_another_image_ends_the_wait_and_is_asked_all_the_same() -> None:
    other = replace(UP, image_id="sha256:" + "f" * 64)
    verdict = watch(ONE, lambda: [other], lambda *_: [BAD], FakeClock(), wait=600, hold=0).verdicts[0]
    assert verdict.status == "failed"
    assert [check.subject for check in verdict.checks if check.verdict == "fail"] == [f"{UP.name}: image", BAD.subject]


def test_a_crash_loop_ends_the_wait_early() -> None:
    clock = FakeClock()
    restarting = replace(UP, state="restarting", health="none", exit_code=3)
    states = at(clock, (0, [CREATED]), (2, [replace(restarting, restarts=1)]), (5, [replace(restarting, restarts=2)]))
    watched = watch(ONE, states, no_probe, clock, wait=600, hold=0)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert (verdicts[0].status, seconds) == ("failed", 5)
    assert "2 while waiting (exit code 3)" in verdicts[0].checks[-1].found


def test_a_probe_that_fails_keeps_waiting_till_the_deadline() -> None:
    clock = FakeClock()
    watched = watch(ONE, lambda: [replace(UP, health="none")], lambda *_: [BAD], clock, wait=45, hold=0)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert (verdicts[0].status, seconds) == ("waiting", 45)
    assert verdicts[0].checks[-1] == BAD


def test_the_containers_own_health_check_stretches_the_deadline() -> None:
    clock = FakeClock()
    slow = replace(STARTING, health_deadline=100.0)
    watched = watch(ONE_PLAIN, lambda: [slow], always_good, clock, wait=30, hold=0)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert (verdicts[0].status, seconds) == ("waiting", 100 + MARGIN)


def test_hold_returns_only_after_a_good_time_without_a_break() -> None:
    clock = FakeClock()
    states = at(clock, (0, [UP]), (3, [STARTING]), (5, [UP]))
    watched = watch(ONE_PLAIN, states, always_good, clock, wait=60, hold=10)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert (verdicts[0].status, seconds) == ("healthy", 15)


def test_hold_ends_when_a_service_dies_after_its_first_good_answer() -> None:
    clock = FakeClock()
    states = at(clock, (0, [UP]), (4, [replace(UP, state="exited", exit_code=1)]))
    watched = watch(ONE, states, always_good, clock, wait=60, hold=10)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert (verdicts[0].status, seconds) == ("failed", 4)


def test_all_services_are_told_and_one_failure_is_enough() -> None:
    clock = FakeClock()
    worker = replace(UP, name="worker-1", service="worker", state="exited", exit_code=2)
    wanted = [Wanted(BACKEND, 1, IMAGE), Wanted(WORKER, 1, IMAGE)]
    watched = watch(wanted, lambda: [UP, worker], always_good, clock, wait=60, hold=0)
    verdicts, seconds = watched.verdicts, watched.seconds
    assert [(verdict.service, verdict.status) for verdict in verdicts] == [("backend", "healthy"), ("worker", "failed")]
    assert seconds == 0


def test_only_running_containers_are_probed() -> None:
    clock = FakeClock()
    probed: list[str] = []

    def probe(_service: StackService, containers: list[Container]) -> list[Check]:
        probed.extend(container.name for container in containers)
        return [GOOD]

    watch([Wanted(BACKEND, 2, IMAGE)], lambda: [UP, replace(SECOND, state="created")], probe, clock, wait=0, hold=0)
    assert probed == ["backend-1"]


@pytest.mark.parametrize(
    ("wait", "containers", "service", "seconds"),
    [
        (0, [UP], BACKEND, 0),
        (60, [UP], BACKEND, 60),
        (20, [STARTING], BACKEND, 20 + MARGIN),
        (20, [replace(UP, health_deadline=900.0)], BACKEND, 20),  # Docker has decided
        (20, [replace(UP, health="none")], BACKEND, 20),
        (20, [replace(STARTING, service="other", health_deadline=900.0)], BACKEND, 20),
        (20, [replace(STARTING, service="worker", health_deadline=900.0)], WORKER, 20),  # its health is advice
        (20, [], BACKEND, 20),
    ],
)
def test_deadline(wait: float, containers: list[Container], service: StackService, seconds: float) -> None:
    assert deadline(wait, containers, [Wanted(service, 1, None)]) == seconds


def test_a_report_in_between_says_that_waiting_may_still_help() -> None:
    clock = FakeClock()
    watched = watch(ONE, lambda: [replace(UP, health="none")], lambda *_: [BAD], clock, wait=45, hold=0, report_after=10)
    assert (watched.seconds, watched.waiting_until, watched.restarts_before) == (10.0, 45.0, {"backend-1": 0})


def test_the_crashes_of_an_earlier_call_count() -> None:
    crashed = [replace(UP, restarts=3)]
    watched = watch(ONE, lambda: crashed, always_good, FakeClock(), wait=45, hold=0, restarts_before={"backend-1": 1})
    assert ([verdict.status for verdict in watched.verdicts], watched.waiting_until) == (["failed"], 0.0)


@pytest.mark.parametrize(
    ("status", "restarts", "before", "told"),
    [
        ("healthy", 2, {"backend-1": 2}, {}),
        ("healthy", 3, {"backend-1": 2}, {"backend-1: restarts": "restarted 1 times"}),
        ("healthy", 3, {}, {}),
        # Nothing failed, and yet it is not healthy: that must not get lost.
        ("waiting", 2, {"backend-1": 2}, {"backend: state": "waiting"}),
    ],
)
def test_what_restarted_or_is_not_healthy_is_told(status: str, restarts: int, before: dict[str, int], told: dict[str, str]) -> None:
    verdict = Verdict("backend", status, (), (replace(UP, restarts=restarts),))
    assert {check.subject: check.found for check in judge_restarts([verdict], before) if check.verdict == "fail"} == told
