#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves that Celery's workers and scheduler do work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_health
short_description: Prove that Celery's workers and scheduler do work
version_added: 0.1.0
description:
  - Counts the workers that answer against the running containers of the worker service, compares the queues that routes and
    the beat schedule send to with the queues that the workers consume, compares each worker's tasks with the application's,
    counts the tasks that wait, and sends a canary through every consumed queue.
  - An answer to C(inspect ping) proves the control channel only; a task that came back proves the worker. The canary is the
    task C(celery.accumulate), which Celery registers in every worker itself.
  - Beat answers no inspect command. That exactly one runs is read from the processes of all containers of the project, and
    that it does something from its log, C(Sending due task), against the shortest interval of the schedule.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.celery
  - residency.scheduler.celery.app
  - residency.scheduler.attributes.read_only
"""

EXAMPLES = r"""
- name: Prove that the workers do work
  residency.scheduler.celery_health:
    project: "{{ scheduler_compose }}"

- name: Accept a queue that nobody consumes
  residency.scheduler.celery_health:
    project: "{{ scheduler_compose }}"
    unconsumed_queues_allowed: [metrics]
"""

RETURN = r"""
checks:
  description: Workers, queues, tasks, canaries and beat, with what was expected and found.
  returned: always
  type: list
  elements: dict
nodes:
  description: Names of the workers that answered; they change whenever a container is replaced.
  returned: when a worker could be asked
  type: list
  elements: str
  sample: [celery@61ec05b839e7, celery@dc40abb699cb]
depths:
  description: Tasks that wait, by queue, of all priorities together.
  returned: when a worker could be asked
  type: dict
  sample: {default: 0, metrics: 1440}
unacked:
  description: Tasks that were handed to a worker and are not done.
  returned: when a worker could be asked
  type: int
  sample: 1
canaries:
  description: Each queue's round trip, in seconds, and its error.
  returned: when a worker could be asked
  type: list
  elements: dict
  sample: [{queue: default, seconds: 0.031, error: ""}]
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.celery import EXPECTATIONS_SPEC, examine
from ansible_collections.residency.scheduler.plugins.module_utils.check import failed, summary
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish


def run(parameters: Mapping[str, Any], runner: Runner) -> dict[str, Any]:
    """Ask workers and beat; anything that failed is a Problem."""
    project = Project.from_parameters(parameters["project"])
    checks, answer = examine(project.name, parameters, project.secrets(), runner)
    result = {
        "changed": False,
        "checks": [check.to_dict() for check in checks],
        **{key: answer[key] for key in ("nodes", "depths", "unacked", "canaries")},
    }
    if failed(checks):
        raise Problem("Celery does not work as expected", f"\n{summary(checks)}", "", **result)
    return result


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec={"project": PROJECT_SPEC, **EXPECTATIONS_SPEC}, supports_check_mode=True)
    finish(module, lambda: run(module.params, SubprocessRunner()))


if __name__ == "__main__":
    main()
