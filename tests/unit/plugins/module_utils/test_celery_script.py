# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""celery_script, with a real Celery application and a real worker, on Celery's broker in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import celery_script

celery = pytest.importorskip("celery")
schedules = pytest.importorskip("celery.schedules")
worker_of_tests = pytest.importorskip("celery.contrib.testing.worker")


HOST = "host-of-the-tests"


def record() -> None:
    """The application's task."""


def application(**conf: Any) -> Any:
    """Return an application with one task."""
    app = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    # The broker in memory is looked at once a second by default: an answer within a second would be a matter of luck.
    app.conf.update(task_default_queue="default", broker_transport_options={"polling_interval": 0.02}, **conf)
    app.task(name="tests.record")(record)
    return app


@pytest.fixture(name="install")
def install_fixture(monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a module with the given attributes importable as the_app."""

    def install(**attributes: Any) -> None:
        module = ModuleType("the_app")
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, "the_app", module)

    return install


@pytest.fixture(name="app", scope="module")
def app_fixture() -> Iterator[Any]:
    """An application with a worker that consumes its queues default and aside."""
    app = application(task_routes={"tests.record": {"queue": "aside"}, "tests.other": {"queue": "nobody"}})
    app.conf.task_queues = [celery_queue("default"), celery_queue("aside")]
    with worker_of_tests.start_worker(app, perform_ping_check=False, pool="solo", concurrency=1, hostname=f"celery@{HOST}"):
        yield app


def celery_queue(name: str) -> Any:
    """Return a queue of the broker library that Celery uses."""
    return pytest.importorskip("kombu").Queue(name)


def test_a_worker_that_works(app: Any, install) -> None:
    install(celery_app=app)
    answer = celery_script.main("the_app", "examine", [HOST], 5.0)
    (node,) = answer["nodes"]
    assert answer["queues"] == {node: ["aside", "default"]}
    assert (answer["consumed"], answer["routed"]) == (["aside", "default"], ["aside", "default", "nobody"])
    assert (answer["tasks"], answer["missing_tasks"]) == (["tests.record"], {node: []})
    assert [(canary["queue"], canary["error"]) for canary in answer["canaries"]] == [("aside", ""), ("default", "")]
    # The broker in memory is no Redis: nothing is known of what waits there.
    assert (answer["depths"], answer["unacked"]) == ({}, 0)


def test_only_the_nodes(app: Any, install) -> None:
    install(celery_app=app)
    answer = celery_script.main("the_app", "nodes", [HOST], 5.0)
    assert list(answer) == ["nodes"]
    assert len(answer["nodes"]) == 1


def test_a_worker_is_drained_and_resumed(app: Any, install) -> None:
    install(celery_app=app)
    try:
        answer = celery_script.main("the_app", "drain", [HOST], 5.0, wait=5.0)
        assert list(answer["before"].values()) == [["aside", "default"]]
        assert answer["left"] == []
        assert list(celery_script.main("the_app", "consumed", [HOST], 5.0)["before"].values()) == [[]]
        assert celery_script._canaries(app, ["default"], 0.5)[0]["error"].startswith("TimeoutError")
    finally:
        (node,) = answer["before"]
        celery_script.main("the_app", "resume", [HOST], 5.0, queues={node: ["aside", "default"]})
    assert list(celery_script.main("the_app", "consumed", [HOST], 5.0)["before"].values()) == [["aside", "default"]]
    assert celery_script._canaries(app, ["default"], 5.0)[0]["error"] == ""


def test_who_does_not_answer_may_be_working() -> None:
    (left,) = celery_script._wait_for_idle(application(control_exchange="nobody"), 2, 0.0, 0.2)
    assert left["node"] == "2 workers that do not answer"


def test_no_worker_answers(install) -> None:
    # The broker in memory is one for the whole process: on an exchange of its own the other tests' worker does not hear this.
    install(celery_app=application(control_exchange="nobody"))
    answer = celery_script.main("the_app", "examine", [HOST, "other"], 0.3)
    assert (answer["nodes"], answer["consumed"], answer["canaries"], answer["missing_tasks"]) == ([], [], [], {})


def test_a_canary_in_a_queue_that_nobody_works_on() -> None:
    (canary,) = celery_script._canaries(application(), ["deaf"], 0.3)
    assert (canary["queue"], canary["error"]) == ("deaf", "TimeoutError: The operation timed out.")


@pytest.mark.parametrize(
    ("conf", "routed"),
    [
        ({}, ["default"]),
        ({"task_routes": {"app.a": {"queue": "one"}, "app.b": "two", "app.c": {"priority": 1}}}, ["default", "one", "two"]),
        ({"task_routes": [{"app.a": {"queue": "one"}}, {"app.b": {"queue": "two"}}]}, ["default", "one", "two"]),
        ({"task_routes": [lambda name, *rest, **more: None]}, ["default"]),
    ],
)
def test_where_routes_send_to(conf: dict[str, Any], routed: list[str]) -> None:
    assert celery_script._routes(application(**conf)) == routed


@pytest.mark.parametrize(
    ("entries", "queues", "tick"),
    [
        ({}, [], None),
        ({"x": {"task": "t", "schedule": 30.0, "options": {"queue": "metrics"}}}, ["metrics"], 30.0),
        ({"x": {"task": "t", "schedule": timedelta(minutes=1)}}, ["default"], 60.0),
        ({"x": {"task": "t", "schedule": schedules.schedule(run_every=20), "options": None}}, ["default"], 20.0),
        ({"x": {"task": "t", "schedule": schedules.crontab(hour=2, minute=0)}}, ["default"], None),
        ({"x": {"task": "t", "schedule": schedules.crontab()}, "y": {"task": "u", "schedule": 90}}, ["default"], 90.0),
    ],
)
def test_what_the_schedule_says(entries: dict[str, Any], queues: list[str], tick: float | None) -> None:
    found, tasks, interval = celery_script._schedule(application(beat_schedule=entries))
    assert (found, tasks, interval) == (queues, sorted({entry["task"] for entry in entries.values()}), tick)


@pytest.mark.parametrize(
    ("name", "attribute"), [("the_app", "celery_app"), ("the_app", "celery"), ("the_app", "app"), ("the_app:mine", "mine")]
)
def test_the_application_is_found(name: str, attribute: str, install) -> None:
    app = application()
    install(**{attribute: app})
    assert celery_script._find(name) is app


@pytest.mark.parametrize("attributes", [{}, {"app": "a text"}])
def test_no_application_is_told(attributes: dict[str, Any], install) -> None:
    install(**attributes)
    with pytest.raises(SystemExit, match="the_app holds no Celery application"):
        celery_script.main("the_app", "nodes", [HOST, "other"], 2.0)
