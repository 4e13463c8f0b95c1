#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops Celery's workers from taking tasks, lets them finish, and lets them go on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_drain
short_description: Let Celery's workers finish what they do, and take nothing new
version_added: 0.2.0
description:
  - V(drained) cancels the consumers of all queues on all workers, and waits until no task is running or reserved. Tasks that arrive
    meanwhile wait in their queues. Stopping a worker then loses nothing - a plain stop kills what runs on after ten seconds.
  - When O(wait) is over and tasks are still being worked on, the workers consume again as before, and the task fails with a list of
    what is left, so that nothing has changed.
  - A worker that does not answer cannot be drained; the task warns, and goes on with the others, since waiting for it would keep a
    release from being replaced because it is sick.
  - V(resumed) lets the workers consume their queues again. A worker that was replaced does so by itself.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.celery.app
attributes:
  check_mode:
    support: full
    description: Tells whether the workers consume, and changes nothing.
  diff_mode:
    support: full
    description: Shows the queues that each worker consumes.
  idempotent:
    support: full
    description: Workers that consume as wanted are not told anything.
options:
  state:
    description: Whether the workers take tasks.
    type: str
    choices: [drained, resumed]
    default: drained
  queues:
    description:
      - Queues to resume. When empty, those that each worker consumed before it was drained, as O(marker) has them; else those of the
        option C(-Q) in the command of its container; else those of the application's settings.
    type: list
    elements: str
    default: []
  wait:
    description: Seconds to wait at most for tasks to end.
    type: int
    default: 300
  force:
    description:
      - Whether to go on when tasks are left after O(wait), with a warning that names them. Whoever replaces the workers then ends these
        tasks; what becomes of them is the application's choice (C(acks_late)).
    type: bool
    default: false
    version_added: 0.6.0
  marker:
    description:
      - File that is there while the workers are drained, so that a later run knows it when this one is cut, and what they consumed.
        M(residency.scheduler.stack_plan) looks at it. Nothing is kept without.
    type: path
    version_added: 0.4.0
  timeout:
    description: Seconds to wait at most for the workers' answers.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Let the workers finish, at most ten minutes
  residency.scheduler.celery_drain:
    project: "{{ scheduler_compose }}"
    wait: 600

- name: Let them go on
  residency.scheduler.celery_drain:
    project: "{{ scheduler_compose }}"
    state: resumed
"""

RETURN = r"""
queues:
  description: Queues that each worker consumed before.
  returned: always
  type: dict
  sample: {celery@61ec05b839e7: [default, notifications]}
left:
  description: Tasks that were still being worked on at the deadline.
  returned: always
  type: list
  elements: dict
  sample: [{task: app.tasks.solve, id: 6f7b, node: celery@61ec05b839e7, state: running}]
seconds:
  description: How long it took until the workers were idle, in seconds.
  returned: always
  type: float
  sample: 4.6
"""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import celery
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container, read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Look, decide, and tell the workers; tasks that do not end are a Problem."""
    project = Project.from_parameters(parameters["project"])
    services = parameters["services"]
    secrets, timeout, app = project.secrets(), float(parameters["timeout"]), str(parameters["app"])
    marker, draining = parameters["marker"], parameters["state"] == "drained"
    # One that started after the others were drained consumes by itself, as soon as it is up: it need not answer.
    drained = None if draining else _written(marker)
    workers, answer = _look(
        lambda: [
            item
            for item in read_containers(project.name, runner)
            if item.service in services and item.state == "running" and (drained is None or item.started <= drained)
        ],
        lambda running: celery.ask(running, app, "consumed", runner, secrets, timeout=timeout),
    )
    if not workers:
        # Nobody has to be told to consume, or can be.
        if not check_mode:
            _forget(marker)
        return {"changed": False, "queues": {}, "left": [], "seconds": 0.0}
    before = answer["before"]
    marked = celery.read_drained(marker)[0] if marker else {}
    consumed = consumed_by(before, parameters["queues"], marked, workers, answer["default"])
    wanted = {node: [] if draining else consumed[node] for node in before}
    changed = any(sorted(before[node]) != sorted(wanted[node]) for node in before)
    result = {"changed": changed, "queues": before, "left": [], "seconds": 0.0, "diff": {"before": _told(before), "after": _told(wanted)}}
    silent = len(workers) - celery.answering(workers, list(before))
    if silent:
        what = "drained, and tasks that they work on may be cut" if draining else "told to go on"
        result["warnings"] = [f"{silent} of {len(workers)} Celery workers did not answer: they could not be {what}."]
    # Workers that consume nothing may still be working: draining always waits.
    if check_mode or not before:
        return result
    if not draining:
        if changed:
            celery.ask(workers, app, "resume", runner, secrets, timeout=timeout, queues=wanted)
        _forget(marker)
        return result
    if marker:
        celery.write_drained(marker, consumed, idle=False)
    # The queues are for giving up, which is not done by force.
    queues = {} if parameters["force"] else consumed
    answer = celery.ask(workers, app, "drain", runner, secrets, timeout=timeout, wait=float(parameters["wait"]), queues=queues)
    result |= {"left": answer["left"], "seconds": answer["seconds"]}
    if answer["left"]:
        result["warnings"] = [*result.get("warnings", []), _left(parameters, answer["left"], result)]
    if marker:
        celery.write_drained(marker, consumed, idle=True)
    return result


def _look(
    read: Callable[[], list[Container]], ask: Callable[[Sequence[Container]], dict[str, Any]]
) -> tuple[list[Container], dict[str, Any]]:
    """Return the workers, and what they say that they consume.

    One that ended while it was asked, as one that crashes again and again does, has nothing to be drained: those that stay are asked.
    """
    workers = read()
    try:
        return workers, ask(workers) if workers else {}
    except Problem:
        known = {(item.name, item.started) for item in workers}
        stayed = [item for item in read() if (item.name, item.started) in known]
        if len(stayed) == len(workers):
            raise
        return stayed, ask(stayed) if stayed else {}


def _left(parameters: Mapping[str, Any], left: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> str:
    """Return the warning that tasks are left; without force they are a Problem."""
    tasks = ", ".join(f"{task['task']} ({task['state']} on {task['node']})" for task in left)
    if parameters["force"]:
        return f"After {parameters['wait']} s {len(left)} tasks are left, which end with their workers: {tasks}."
    _forget(parameters["marker"])
    raise Problem(
        "Draining the Celery workers failed",
        f"after {parameters['wait']} s {len(left)} tasks are left: {tasks}",
        "The workers consume again. Wait for these tasks, or raise the time to wait; where they hang, go on without them: "
        "-e scheduler_drain_force=true.",
        **{**result, "changed": False},
    )


def consumed_by(
    before: Mapping[str, Sequence[str]],
    asked: Sequence[str],
    marked: Mapping[str, Sequence[str]],
    workers: Sequence[Container],
    default: Sequence[str],
) -> dict[str, list[str]]:
    """Return the queues that each node consumes when it is not drained. Pure.

    :arg before: what the nodes consume now; nothing, where they are drained already.
    :arg asked: what the task's author says.
    :arg marked: what they consumed when they were drained.
    :arg default: the queues of a worker whose command names none.
    """
    commands = {item.hostname: queues_of(item.command) for item in workers}
    return {
        node: list(asked or marked.get(node) or before[node] or commands.get(node.rpartition("@")[2]) or default) for node in sorted(before)
    }


def _written(marker: str | None) -> datetime | None:
    """Return when the workers were drained; None if nothing says that they are."""
    return datetime.fromtimestamp(os.stat(marker).st_mtime, UTC) if marker and os.path.exists(marker) else None


def _forget(marker: str | None) -> None:
    if marker and os.path.exists(marker):
        os.unlink(marker)


def queues_of(command: Sequence[str]) -> list[str]:
    """Return the queues of the option ``-Q`` of a worker's command; none where it has none, or names a variable. Pure."""
    found = [name for name in _option(command).split(",") if name]
    return [] if any("$" in name for name in found) else found


def _option(command: Sequence[str]) -> str:
    words = [part for word in command for part in _words(word)]
    for index, word in enumerate(words):
        if word in ("-Q", "--queues") and index + 1 < len(words):
            return words[index + 1]
        if word.startswith("--queues="):
            return word.removeprefix("--queues=")
        if word.startswith("-Q") and len(word) > 2:
            return word.removeprefix("-Q")
    return ""


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an apostrophe in a script
        return text.split()


def _told(queues: Mapping[str, Sequence[str]]) -> str:
    return "".join(f"{node}: {', '.join(sorted(names)) or 'nothing'}\n" for node, names in sorted(queues.items()))


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            "state": {"type": "str", "choices": ["drained", "resumed"], "default": "drained"},
            **celery.APP_SPEC,
            "queues": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "int", "default": 300},
            "force": {"type": "bool", "default": False},
            "marker": {"type": "path"},
            "timeout": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
