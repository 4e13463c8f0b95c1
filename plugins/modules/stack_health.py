#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at the whole stack in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_health
short_description: Prove that the services of a compose project run and answer
version_added: 0.1.0
description:
  - Looks at all services at once, and at each by its own protocol - container state and Docker health, restarts, running image
    against the wanted one; then a login to PostgreSQL by network with the application's password, a value written to Redis and
    read back, HTTP from inside and through the published port, and an answer of each Celery worker.
  - With O(wait) it waits until all are healthy. It gives up early when a service cannot come up any more (it exited, or
    restarts again and again), and returns the state reached and the last lines of the log in every case.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
  - psycopg2 (for services of kind postgres)
  - redis (for services of kind redis)
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.compose.stack
  - residency.scheduler.attributes.read_only
options:
  only:
    description: Look at these services only; all when empty.
    type: list
    elements: str
    default: []
  stand_in:
    description: Look at the one container that stands in for each service while its own is replaced.
    type: bool
    default: false
    version_added: 0.4.0
  domain:
    description: Public name of the application, sent as Host and SNI through the proxy.
    type: str
    default: localhost
  celery_app:
    description: The Celery application, as for C(celery -A).
    type: str
    default: app.core.celery_app
  wait:
    description:
      - Seconds to wait at most until all are healthy; V(0) looks once. Where a container's own health check may take longer
        (start period + retries x (interval + timeout)), that time counts.
    type: int
    default: 0
  hold:
    description: Seconds for which everything has to stay healthy before it counts.
    type: int
    default: 0
  fresh:
    description: Services whose containers were made a moment ago; every restart of theirs counts, also one before the task began.
    type: list
    elements: str
    default: []
    version_added: 0.4.0
  probe_timeout:
    description: Seconds that one probe may take.
    type: int
    default: 5
  report_after:
    description:
      - Return the state reached after so many seconds, as a failure with RV(waiting_until), even if O(wait) is not over; V(0) for never.
      - The action plugin of this module uses it to show what is being waited for, and goes on waiting.
    type: int
    default: 0
  restarts_before:
    description: Restart counts by container, RV(restarts_before) of the call before, when one wait is made of several calls.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Look at the whole stack once
  residency.scheduler.stack_health:
    project:
      name: residency-scheduler
      directory: /opt/residency-scheduler
      files: [docker-compose.yml, docker-compose.prod.yml]
      env_file: .env
    services: "{{ scheduler_services }}"

- name: Wait until the database answers, at most one minute
  residency.scheduler.stack_health:
    project: "{{ scheduler_compose }}"
    services: "{{ scheduler_services }}"
    only: [db]
    wait: 60
"""

RETURN = r"""
services:
  description: The verdict on each service, in start order.
  returned: always
  type: list
  elements: dict
  sample:
    - service: db
      status: healthy
      checks:
        - {subject: "db: containers", verdict: pass, expected: 1 running, found: "residency-scheduler-db running", seconds: 0.0, remedy: ""}
      containers:
        - name: residency-scheduler-db
          state: running
          health: healthy
          restarts: 0
          exit_code: 0
          oom_killed: false
          started: "2025-12-22T02:00:00+00:00"
          image_id: sha256:0d4b6f5f6c5e
checks:
  description: All checks of all services as one list, each with what was expected and found.
  returned: always
  type: list
  elements: dict
seconds:
  description: How long it took, in seconds.
  returned: always
  type: float
  sample: 2.3
restarts_before:
  description: Restart counts by container, when the wait began.
  returned: always
  type: dict
  sample: {residency-scheduler-backend: 0}
waiting_until:
  description: Seconds since the start of the call for which waiting may still help; 0 when the verdict is final.
  returned: always
  type: float
  sample: 0.0
logs:
  description: Last lines logged by the containers of each service that is not healthy, without secrets.
  returned: failure
  type: dict
"""

from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.check import summary
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container, read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.health import Clock, SystemClock, Verdict, watch
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish
from ansible_collections.residency.scheduler.plugins.module_utils.service_probe import ProbeContext, probe_service
from ansible_collections.residency.scheduler.plugins.module_utils.stack import SERVICES_SPEC, parse_services
from ansible_collections.residency.scheduler.plugins.module_utils.stack_state import logs_of_sick, read_wanted


def run(parameters: dict[str, Any], runner: Runner, clock: Clock) -> dict[str, Any]:
    """Look at the stack (or wait for it) and return the verdicts; anything less than healthy is a Problem."""
    project = Project.from_parameters(parameters["project"])
    wanted = read_wanted(project, parse_services(parameters["services"]), parameters["only"], runner)
    context = ProbeContext(
        runner=runner,
        environment=project.environment(),
        secrets=project.secrets(),
        domain=parameters["domain"],
        celery_app=parameters["celery_app"],
        timeout=parameters["probe_timeout"],
    )

    def snapshot() -> list[Container]:
        found = read_containers(project.name, runner, one_off=parameters["stand_in"])
        return [item for item in found if item.stand_in == parameters["stand_in"]]

    if parameters["stand_in"]:
        wanted = [replace(entry, replicas=1) for entry in wanted]
    fresh = {item.name: 0 for item in snapshot() if item.service in parameters["fresh"]}
    watched = watch(
        wanted,
        snapshot,
        lambda service, containers: probe_service(service, containers, context),
        clock,
        wait=parameters["wait"],
        hold=parameters["hold"],
        report_after=parameters["report_after"],
        restarts_before={**fresh, **parameters["restarts_before"]},
    )
    verdicts = watched.verdicts
    checks = [check for verdict in verdicts for check in verdict.checks]
    result = {
        "changed": False,
        "services": [verdict.to_dict() for verdict in verdicts],
        "checks": [check.to_dict() for check in checks],
        "seconds": round(watched.seconds, 3),
        "restarts_before": watched.restarts_before,
        "waiting_until": round(watched.waiting_until, 3),
    }
    sick = [verdict for verdict in verdicts if verdict.status != "healthy"]
    if sick:
        raise _problem(sick, summary(checks), watched.seconds, result, logs_of_sick(verdicts, runner, context.secrets))
    return result


def _problem(sick: list[Verdict], lines: str, seconds: float, result: dict[str, Any], logs: dict[str, list[str]]) -> Problem:
    names = ", ".join(verdict.service for verdict in sick)
    tail = "\n".join(line for log in logs.values() for line in log[-10:])
    return Problem(
        "The stack is not healthy",
        f"after {seconds:.0f} s {names} {'is' if len(sick) == 1 else 'are'} not:\n{lines}\n",
        f"Last lines of the log:\n{tail}" if tail else "There is no log.",
        logs=logs,
        **{key: value for key, value in result.items() if key != "changed"},
    )


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            "services": SERVICES_SPEC,
            "only": {"type": "list", "elements": "str", "default": []},
            "stand_in": {"type": "bool", "default": False},
            "domain": {"type": "str", "default": "localhost"},
            "celery_app": {"type": "str", "default": "app.core.celery_app"},
            "wait": {"type": "int", "default": 0},
            "hold": {"type": "int", "default": 0},
            "fresh": {"type": "list", "elements": "str", "default": []},
            "probe_timeout": {"type": "int", "default": 5},
            "report_after": {"type": "int", "default": 0},
            "restarts_before": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, SubprocessRunner(), SystemClock()))


if __name__ == "__main__":
    main()
