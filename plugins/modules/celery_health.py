#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the Celery workers, and sends a task through every queue and back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_health
short_description: Prove that Celery's workers do work
version_added: 0.1.0
description:
  - Counts the workers that answer against the running containers of the worker service, compares the queues that routes and
    the beat schedule send to with the queues that the workers consume, and sends a canary through every consumed queue.
  - An answer to C(inspect ping) proves the control channel only; a task that came back proves the worker. The canary is the
    task C(celery.accumulate), which Celery registers in every worker itself.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.attributes.read_only
options:
  service:
    description: Name of the worker service.
    type: str
    default: celery-worker
  app:
    description: The Celery application, as for C(celery -A).
    type: str
    default: app.core.celery_app
  canary:
    description: Whether to send a canary through every consumed queue.
    type: bool
    default: true
  unconsumed_queues_allowed:
    description: Queues that tasks are sent to and that nobody consumes, known and accepted; they give a warning only.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for the workers' answers, and for each canary.
    type: int
    default: 10
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
  description: Workers, queues and canaries, with what was expected and found.
  returned: always
  type: list
  elements: dict
nodes:
  description: Names of the workers that answered; they change whenever a container is replaced.
  returned: always
  type: list
  elements: str
  sample: [celery@61ec05b839e7, celery@dc40abb699cb]
canaries:
  description: Each queue's round trip, in seconds, and its error.
  returned: always
  type: list
  elements: dict
  sample: [{queue: default, seconds: 0.031, error: ""}]
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, failed, judge, summary
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish
from ansible_collections.residency.scheduler.plugins.module_utils.service_probe import ask_celery


def run(parameters: Mapping[str, Any], runner: Runner) -> dict[str, Any]:
    """Ask the application, judge its answer; anything that failed is a Problem."""
    project = Project.from_parameters(parameters["project"])
    service = str(parameters["service"])
    workers = [item for item in read_containers(project.name, runner) if item.service == service and item.state == "running"]
    if not workers:
        raise Problem(
            "Asking the Celery workers failed",
            f"no container of {service} is running",
            f"Read the log: docker compose logs {service}.",
            checks=[],
            nodes=[],
            canaries=[],
        )
    answer = ask_celery(
        [item.name for item in workers],
        parameters["app"],
        runner,
        project.secrets(),
        timeout=parameters["timeout"],
        canary=parameters["canary"],
    )
    checks = judge_answer(answer, service, len(workers), parameters["unconsumed_queues_allowed"])
    result = {
        "changed": False,
        "checks": [check.to_dict() for check in checks],
        "nodes": answer["nodes"],
        "canaries": answer["canaries"],
    }
    if failed(checks):
        raise Problem("The Celery workers do not work as expected", f"\n{summary(checks)}", "", **result)
    return result


def judge_answer(answer: Mapping[str, Any], service: str, workers: int, allowed: list[str]) -> list[Check]:
    """Judge what the application said of its workers. Pure."""
    nodes, consumed = answer["nodes"], set(answer["consumed"])
    checks = [
        judge(
            f"{service}: workers that answer",
            len(nodes) == workers,
            f"{workers} (one for each running container)",
            f"{len(nodes)}: {', '.join(nodes) or 'none'}",
            f"Read the log: docker compose logs {service}.",
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
            )
        )
    for canary in answer["canaries"]:
        checks.append(
            judge(
                f"queue {canary['queue']}: canary",
                not canary["error"],
                "a task that comes back",
                canary["error"] or f"came back after {canary['seconds']:.3f} s",
                f"The worker answers but does no work: docker compose restart {service}.",
                canary["seconds"],
            )
        )
    return checks


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            "service": {"type": "str", "default": "celery-worker"},
            "app": {"type": "str", "default": "app.core.celery_app"},
            "canary": {"type": "bool", "default": True},
            "unconsumed_queues_allowed": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, SubprocessRunner()))


if __name__ == "__main__":
    main()
