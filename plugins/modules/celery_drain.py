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
  - Where no worker answers at all, there is nobody to be drained; the task warns, and changes nothing.
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
    description: Queues to resume. Those of the option C(-Q) in the containers' command when empty.
    type: list
    elements: str
    default: []
  wait:
    description: Seconds to wait at most for tasks to end.
    type: int
    default: 300
  marker:
    description:
      - File that is there while the workers are drained, so that a later run knows it when this one is cut.
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
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import celery
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.files import write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Look, decide, and tell the workers; tasks that do not end are a Problem."""
    project = Project.from_parameters(parameters["project"])
    services = parameters["services"]
    workers = [item for item in read_containers(project.name, runner) if item.service in services and item.state == "running"]
    marker = parameters["marker"]
    if not workers:
        # Nobody consumes, and nobody can be told to.
        _mark(marker if not check_mode else None, False)
        return {"changed": False, "queues": {}, "left": [], "seconds": 0.0}
    wanted = [] if parameters["state"] == "drained" else list(parameters["queues"]) or queues_of(workers[0].command)
    secrets, timeout = project.secrets(), float(parameters["timeout"])
    before = celery.ask(workers, parameters["app"], "consumed", runner, secrets, timeout=timeout)["before"]
    changed = any(sorted(names) != sorted(wanted) for names in before.values())
    result = {"changed": changed, "queues": before, "left": [], "seconds": 0.0, "diff": _diff(before, wanted)}
    if not before:
        # Waiting for them would keep a release from being replaced because it is sick.
        told = f"None of {len(workers)} Celery workers answered, so nothing could be drained; tasks that they work on may be cut."
        return {**result, "changed": False, "warnings": [told]}
    # Workers that consume nothing may still be working: draining always waits.
    if check_mode:
        return result
    if parameters["state"] == "resumed" and not changed:
        _mark(marker, False)
        return result
    if parameters["state"] == "resumed":
        celery.ask(workers, parameters["app"], "resume", runner, secrets, timeout=timeout, queues=wanted)
        _mark(marker, False)
        return result
    _mark(marker, True)
    answer = celery.ask(workers, parameters["app"], "drain", runner, secrets, timeout=timeout, wait=float(parameters["wait"]))
    result |= {"left": answer["left"], "seconds": answer["seconds"]}
    if answer["left"]:
        _mark(marker, False)
        tasks = ", ".join(f"{task['task']} ({task['state']} on {task['node']})" for task in answer["left"])
        raise Problem(
            "Draining the Celery workers failed",
            f"after {parameters['wait']} s {len(answer['left'])} tasks are left: {tasks}",
            "The workers consume again, nothing has changed. Wait for these tasks, or raise the time to wait.",
            **{**result, "changed": False},
        )
    return result


def _mark(marker: str | None, drained: bool) -> None:
    if marker and drained:
        write_text(marker, "", 0o640)
    elif marker and os.path.exists(marker):
        os.unlink(marker)


def queues_of(command: Sequence[str]) -> list[str]:
    """Return the queues of the option ``-Q`` of a worker's command; Celery's default queue without one. Pure."""
    words = [part for word in command for part in word.split()]
    for index, word in enumerate(words):
        if word in ("-Q", "--queues") and index + 1 < len(words):
            return words[index + 1].split(",")
        if word.startswith("--queues="):
            return word.removeprefix("--queues=").split(",")
        if word.startswith("-Q") and len(word) > 2:
            return word.removeprefix("-Q").split(",")
    return ["celery"]


def _diff(before: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> dict[str, str]:
    return {
        "before": "".join(f"{node}: {', '.join(names) or 'nothing'}\n" for node, names in sorted(before.items())),
        "after": "".join(f"{node}: {', '.join(sorted(wanted)) or 'nothing'}\n" for node in sorted(before)),
    }


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            "state": {"type": "str", "choices": ["drained", "resumed"], "default": "drained"},
            **celery.APP_SPEC,
            "queues": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "int", "default": 300},
            "marker": {"type": "path"},
            "timeout": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
