#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stops a compose project, or services of it, by Docker's labels alone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_shutdown
short_description: Stop a compose project, or services of it, in an emergency
version_added: 0.4.0
description:
  - Works by the labels of the containers alone; compose files and C(.env) may be broken or missing.
  - What runs is written down before anything stops. Then the containers stop in reverse start order, those of one service at once, and
    are removed with the networks of the project. Volumes stay, and so do images.
  - Services that O(only) names are stopped and kept. With the restart policy C(unless-stopped), a reboot does not start them again.
  - Everything has a deadline. Frozen containers are woken first; what does not stop is killed; what is not ended even so is a failure.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker
extends_documentation_fragment:
  - residency.scheduler.compose.stack
attributes:
  check_mode:
    support: full
    description: Tells what would be stopped and removed, and changes nothing.
  diff_mode:
    support: full
    description: Shows each container and network that changes.
  idempotent:
    support: full
    description: Where nothing is left to stop or to remove, nothing is done, and no record is written.
options:
  project_name:
    description: Name of the compose project.
    type: str
    required: true
  services:
    description:
      - The stack in start order, as in the inventory's C(scheduler_services). It is stopped the other way round, after the services
        of the project that it does not list, and after containers of C(docker compose run).
  only:
    description: Names of services to stop and to keep. The whole project goes when empty.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds that a container has to end by itself, before it is killed.
    type: int
    default: 10
  force:
    description:
      - Whether a running migration of the database may be ended. Without it, the task fails while the container C(PROJECT-migration)
        runs, unless O(only) names services other than the database.
    type: bool
    default: false
  record_dir:
    description:
      - Folder for the records, one JSON file for each shutdown. Where it cannot be written to, the shutdown goes on with a warning,
        and RV(ran) is all that is left of it.
    type: path
    required: true
  reason:
    description: Why, for the record.
    type: str
    default: ""
  by:
    description: Who, for the record.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Stop everything
  residency.scheduler.stack_shutdown:
    project_name: residency-scheduler
    services: "{{ scheduler_services }}"
    record_dir: /var/lib/residency-scheduler/shutdowns
    reason: Somebody reads what they should not

- name: Stop the API, also over a reboot
  residency.scheduler.stack_shutdown:
    project_name: residency-scheduler
    services: "{{ scheduler_services }}"
    only: [backend]
    record_dir: /var/lib/residency-scheduler/shutdowns
"""

RETURN = r"""
stopped:
  description: Names of the containers that were stopped, in order; in check mode, that would be.
  returned: always
  type: list
  elements: str
  sample: [residency-scheduler-nginx, residency-scheduler-backend]
removed:
  description: Names of the containers and networks that were removed; in check mode, that would be.
  returned: always
  type: list
  elements: str
  sample: [residency-scheduler-backend, residency-scheduler-nginx, residency-scheduler_default]
ran:
  description: What was there before, as the record has it.
  returned: always
  type: list
  elements: dict
  sample:
    - name: residency-scheduler-backend
      service: backend
      one_off: false
      image: residency-scheduler-backend:v1.0.0-41943aae
      image_id: sha256:81b182bdefae
      state: running
      health: healthy
      started: "2025-12-22T02:00:00+00:00"
      restarts: 0
      exit_code: 0
      oom_killed: false
      ports: ["0.0.0.0:8000->8000"]
record:
  description: Path of the record; empty where none was written.
  returned: always
  type: str
  sample: /var/lib/residency-scheduler/shutdowns/20251222T020000Z.json
seconds:
  description: How long it took, in seconds.
  returned: always
  type: float
  sample: 11.3
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import shutdown as shutdowns
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container, read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.files import write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish
from ansible_collections.residency.scheduler.plugins.module_utils.shutdown import Described, Shutdown
from ansible_collections.residency.scheduler.plugins.module_utils.stack import SERVICES_SPEC, StackService, parse_services

#: Seconds for what is done at once where Docker is well.
SWIFT = 30.0


def run(
    parameters: Mapping[str, Any],
    check_mode: bool,
    runner: Runner,
    warn: Callable[[str], None],
    *,
    find: Callable[[str], str | None] = shutil.which,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Any]:
    """Look, decide, write down what runs, stop it, and look again."""
    began = time.monotonic()
    result: dict[str, Any] = {"changed": False, "stopped": [], "removed": [], "ran": [], "record": "", "seconds": 0.0}
    if find("docker") is None:
        warn("There is no docker on this host, so there was nothing to stop.")
        return result
    services, only = parse_services(parameters["services"]), list(parameters["only"])
    if parameters["timeout"] < 0:
        raise Problem("The shutdown was refused", f"timeout is {parameters['timeout']}", "Give the seconds to wait, 0 for none.")
    containers, wanted = _look(parameters["project_name"], services, only, runner)
    shutdowns.refuse(containers, services, only, parameters["project_name"], parameters["force"])
    described = _describe(wanted, runner)
    for name in shutdowns.returning(wanted, described):
        remedy = f"docker update --restart unless-stopped {name}"
        warn(f"{name} has the restart policy always: a restart of Docker or of the server starts it again. To keep it down: {remedy}")
    result |= {
        "changed": wanted.changed,
        "stopped": wanted.stop,
        "removed": [*wanted.remove, *wanted.networks],
        "ran": shutdowns.record(wanted, described),
        "diff": shutdowns.diff(wanted),
    }
    if wanted.changed and not check_mode:
        if wanted.about:
            result["record"] = _write(parameters, result["ran"], now(), warn)
        said = _apply(wanted, parameters["timeout"], runner)
        _containers, left = _look(parameters["project_name"], services, only, runner)
        result |= _evidence(wanted, left)
        result["changed"] = bool(result["stopped"] or result["removed"])
        result["seconds"] = round(time.monotonic() - began, 1)
        _judge(parameters["project_name"], left, said, result, warn)
    return result


def _look(name: str, services: Sequence[StackService], only: Sequence[str], runner: Runner) -> tuple[list[Container], Shutdown]:
    """Return the project's containers, and what there is to do about them."""
    containers = read_containers(name, runner, one_off=True)
    listed = require(runner.run(shutdowns.networks_argv(name)), "Listing the networks failed", "Start Docker: systemctl start docker.")
    return containers, shutdowns.decide(containers, listed.stdout.split(), services, only)


def _describe(wanted: Shutdown, runner: Runner) -> dict[str, Described]:
    names = [item.name for item in wanted.about]
    return shutdowns.parse_described(runner.run(shutdowns.describe_argv(names)).stdout) if names else {}


def _write(parameters: Mapping[str, Any], ran: Sequence[Mapping[str, Any]], moment: datetime, warn: Callable[[str], None]) -> str:
    """Write the record and return its path; a full disk must not keep a stack up that has to go down."""
    stem = os.path.join(parameters["record_dir"], f"{moment:%Y%m%dT%H%M%S}")
    path, number = f"{stem}Z.json", 1
    while os.path.exists(path):
        path, number = f"{stem}Z-{number + 1}.json", number + 1
    record = {
        "project": parameters["project_name"],
        "at": moment.isoformat(timespec="seconds"),
        **{key: parameters[key] for key in ("by", "reason", "only", "force")},
        "containers": list(ran),
    }
    try:
        write_text(path, json.dumps(record, indent=2) + "\n", 0o640)
    except Problem as problem:
        warn(f"There is no record of what ran. {problem.message()}")
        return ""
    return path


def _apply(wanted: Shutdown, grace: int, runner: Runner) -> str:
    """Stop and remove; return the last words of what failed. Whether it worked is read off the containers, not off exit codes."""
    done = []
    if wanted.paused:
        done.append(runner.run(shutdowns.unpause_argv(wanted.paused), timeout=SWIFT))
    for group in wanted.groups:
        stopped = runner.run(shutdowns.stop_argv(group, grace), timeout=grace + SWIFT)
        done.append(stopped)
        if stopped.rc != 0:
            done.append(runner.run(shutdowns.kill_argv(group), timeout=SWIFT))
    if wanted.remove:
        done.append(runner.run(shutdowns.remove_argv(wanted.remove), timeout=2 * SWIFT))
    if wanted.networks:
        done.append(runner.run(shutdowns.remove_networks_argv(wanted.networks), timeout=SWIFT))
    return "; ".join(" ".join(item.last_lines(3).split()) or f"{item.argv[1]} took too long" for item in done if item.rc != 0)


def _evidence(wanted: Shutdown, left: Shutdown) -> dict[str, list[str]]:
    there = {*(item.name for item in left.about), *left.networks}
    return {
        "stopped": [name for name in wanted.stop if name not in left.stop],
        "removed": [name for name in (*wanted.remove, *wanted.networks) if name not in there],
    }


def _judge(name: str, left: Shutdown, said: str, result: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Raise a Problem about what still runs; what is left and does no harm is a warning."""
    if left.stop:
        raise Problem(
            f"Shutting {name} down failed",
            f"still running, or started again meanwhile: {', '.join(left.stop)}" + (f" ({said})" if said else ""),
            "End the deployment that may be running, then run this again. If it stays, restart Docker: systemctl restart docker.",
            **result,
        )
    rest = [item.name for item in left.about if item.name in left.remove and item.state != "removing"] + list(left.networks)
    if rest:
        warn(f"Nothing of {name} runs, and {', '.join(rest)} could not be removed: {said or 'no reason was given'}")


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project_name": {"type": "str", "required": True},
            "services": SERVICES_SPEC,
            "only": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 10},
            "force": {"type": "bool", "default": False},
            "record_dir": {"type": "path", "required": True},
            "reason": {"type": "str", "default": ""},
            "by": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner(), module.warn))


if __name__ == "__main__":
    main()
