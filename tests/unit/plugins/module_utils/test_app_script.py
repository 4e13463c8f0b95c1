# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our scripts inside the application: how they get in, and how their answer comes out."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import alembic_script, app_script, celery_script, migration_guard
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


def test_a_script_that_waits_for_the_network_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("waiting_script")
    # Nothing is told of a signal in there, as in a library that waits for a server's answer.
    text = "import ctypes\n\ndef main():\n    ctypes.CDLL(None).pause()\n    return {}\n"
    package.__loader__ = SimpleNamespace(get_source=lambda name: text)
    with pytest.raises(Problem, match="exit code 124"):
        app_script.run([sys.executable, "-"], package, {}, SubprocessRunner(), timeout=20, limit=0.5, **WORDS)


@pytest.mark.parametrize(("script", "helpers"), [(celery_script, []), (alembic_script, [migration_guard])])
def test_the_scripts_need_nothing_but_what_goes_in_with_them(script: ModuleType, helpers: list[ModuleType]) -> None:
    """They run in a container where neither Ansible nor this collection is; -I and -S leave this one's packages out, too."""
    text = app_script.source(script, {}, helpers)
    end = text.rindex("print(")
    loaded = text[:end] + "print(sorted(name for name in sys.modules if 'ansible' in name))"
    names = {module.__name__ for module in (script, *helpers)}
    said = SubprocessRunner().run([sys.executable, "-I", "-S", "-"], stdin=loaded)
    assert said.rc == 0, said.stderr
    assert said.stdout.strip() == str(sorted({*names, script.__name__.rpartition(".")[0]}))
