# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our scripts inside the application: how they get in, and what the one for Celery finds."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import alembic_script, app_script, celery_script
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

WORDS = {"what": "Asking failed", "remedy": "Look."}


def said(stdout: str, rc: int = 0, stderr: str = "") -> CommandResult:
    return CommandResult(("python", "-"), rc, stdout, stderr, 0.1)


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        ('residency.scheduler:{"a": 1}\n', {"a": 1}),
        ('a warning\nresidency.scheduler:{"a": 1}\nat exit\n', {"a": 1}),
        ('residency.scheduler:{"a": 1}\nresidency.scheduler:{"a": 2}\n', {"a": 2}),
        ("residency.scheduler:[1]\n", None),
        ("nothing\n", None),
        ("", None),
    ],
)
def test_parse_answer(stdout: str, expected: dict[str, Any] | None) -> None:
    assert app_script.parse_answer(said(stdout)) == expected


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (said("", 1, "ImportError: password is hunter22"), "exit code 1: ImportError: password is ********"),
        (said("something else"), "the script gave no answer"),
    ],
)
def test_no_answer_is_a_problem_without_secrets(result: CommandResult, why: str, runner) -> None:
    with pytest.raises(Problem) as caught:
        app_script.run(["python", "-"], celery_script, {}, runner(("python -", result)), secrets=["hunter22"], **WORDS)
    assert caught.value.message() == f"Asking failed: {why}. Look."


def test_an_answer_counts_whatever_the_exit_code(runner) -> None:
    fake = runner(("python -", said('residency.scheduler:{"a": 1}', 1)))
    assert app_script.run(["python", "-"], celery_script, {}, fake, **WORDS) == {"a": 1}


def test_a_script_runs_by_standard_input_and_keeps_odd_parameters(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("odd_script")
    text = "def main(value, number):\n    print('noise')\n    return {'value': value, 'number': number}\n"
    package.__loader__ = SimpleNamespace(get_source=lambda name: text)
    value = "quote ' \" back\\slash \n newline é {x} %s"
    answer = app_script.run([sys.executable, "-"], package, {"value": value, "number": 2.5}, SubprocessRunner(), **WORDS)
    assert answer == {"value": value, "number": 2.5}


@pytest.mark.parametrize("script", [celery_script, alembic_script])
def test_the_scripts_need_nothing_of_ours(script: ModuleType) -> None:
    """They run in a container where neither Ansible nor this collection is."""
    text = app_script.source(script, {})
    compile(text, "script", "exec")
    assert "ansible" not in text.replace("ansible-galaxy", "")


class FakeCelery:
    """A Celery application as far as the script asks it; the broker answers what it was made with."""

    def __init__(self, conf: dict[str, Any], ping: Any = None, queues: Any = None, answers: dict[str, Any] | None = None) -> None:
        defaults = {"task_default_queue": "default", "task_routes": None, "beat_schedule": None}
        self.conf = SimpleNamespace(**{**defaults, **conf})
        self.answers = answers or {}
        self.forgotten = 0
        inspect = SimpleNamespace(ping=lambda: ping, active_queues=lambda: queues)
        self.control = SimpleNamespace(inspect=lambda timeout, limit=None: inspect)
        self.amqp = SimpleNamespace(router=SimpleNamespace(route=lambda _options, task: {"queue": SimpleNamespace(name=f"of-{task}")}))

    def send_task(self, name: str, args: list[str], kwargs: dict[str, Any], queue: str, expires: float) -> Any:
        """Return a handle that answers as the queue's table entry says: "echo", a value, or an error to raise."""
        assert (name, kwargs) == ("celery.accumulate", {"index": 0})
        assert expires > 0

        def get(timeout: float) -> Any:
            answer = self.answers[queue]
            if isinstance(answer, Exception):
                raise answer
            return args if answer == "echo" else answer

        return SimpleNamespace(get=get, forget=self._forget)

    def _forget(self) -> None:
        self.forgotten += 1


@pytest.fixture(name="install")
def install_fixture(monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a module with the given attributes importable as fake_app."""

    def install(**attributes: Any) -> None:
        module = ModuleType("fake_app")
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, "fake_app", module)

    return install


def test_celery_nodes_and_queues(install) -> None:
    install(
        celery_app=FakeCelery(
            {},
            ping={"b": {"ok": "pong"}, "a": {"ok": "pong"}, "c": {"error": "x"}},
            queues={"a": [{"name": "z"}, {"name": "default"}], "b": [{"name": "default"}]},
        )
    )
    assert celery_script.main("fake_app", 2.0, canary=False, workers=2) == {
        "nodes": ["a", "b"],
        "queues": {"a": ["default", "z"], "b": ["default"]},
        "consumed": ["default", "z"],
        "routed": ["default"],
        "canaries": [],
    }


def test_a_worker_beyond_the_number_is_told(install) -> None:
    queues = {node: [{"name": "default"}] for node in ("a", "b", "stray")}
    install(celery_app=FakeCelery({}, ping={"a": {"ok": "pong"}, "b": {"ok": "pong"}}, queues=queues))
    assert celery_script.main("fake_app", 2.0, canary=False, workers=2)["nodes"] == ["a", "b", "stray"]


def test_no_worker_answers(install) -> None:
    install(celery_app=FakeCelery({}, ping=None, queues=None))
    answer = celery_script.main("fake_app", 2.0, canary=True, workers=2)
    assert (answer["nodes"], answer["consumed"], answer["canaries"]) == ([], [], [])


@pytest.mark.parametrize(
    ("conf", "routed"),
    [
        ({}, ["default"]),
        ({"task_routes": {"app.a": {"queue": "one"}, "app.b": "two", "app.c": {"priority": 1}}}, ["default", "one", "two"]),
        ({"task_routes": [{"app.a": {"queue": "one"}}, {"app.b": {"queue": "two"}}]}, ["default", "one", "two"]),
        ({"task_routes": [lambda name: None]}, ["default"]),
        ({"beat_schedule": {"x": {"task": "t", "options": {"queue": "metrics"}}}}, ["default", "metrics"]),
        ({"beat_schedule": {"x": {"task": "t"}}}, ["default", "of-t"]),
        ({"beat_schedule": {"x": {"task": "t", "options": None}}}, ["default", "of-t"]),
    ],
)
def test_celery_routes(conf: dict[str, Any], routed: list[str], install) -> None:
    install(celery_app=FakeCelery(conf))
    assert celery_script.main("fake_app", 2.0, canary=False, workers=2)["routed"] == routed


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("echo", ""),
        (["other"], "the answer was ['other']"),
        (None, "the answer was None"),
        (TimeoutError("too late"), "TimeoutError: too late"),
    ],
)
def test_a_canary(answer: Any, error: str, install) -> None:
    celery = FakeCelery({}, ping={}, queues={"a": [{"name": "q"}]}, answers={"q": answer})
    install(celery_app=celery)
    (canary,) = celery_script.main("fake_app", 2.0, canary=True, workers=2)["canaries"]
    assert (canary["queue"], canary["error"]) == ("q", error)
    assert celery.forgotten == (0 if isinstance(answer, Exception) else 1)


@pytest.mark.parametrize(
    ("app", "attributes"),
    [
        ("fake_app", ["celery_app"]),
        ("fake_app", ["celery"]),
        ("fake_app", ["app"]),
        ("fake_app:mine", ["mine"]),
    ],
)
def test_the_application_is_found(app: str, attributes: list[str], install) -> None:
    install(**{name: FakeCelery({}) for name in attributes})
    assert celery_script.main(app, 2.0, canary=False, workers=2)["routed"] == ["default"]


@pytest.mark.parametrize("attributes", [{}, {"app": "a text"}])
def test_no_application_is_told(attributes: dict[str, Any], install) -> None:
    install(**attributes)
    with pytest.raises(SystemExit, match="fake_app holds no Celery application"):
        celery_script.main("fake_app", 2.0, canary=False, workers=2)
