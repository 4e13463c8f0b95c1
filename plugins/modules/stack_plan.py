#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares the running stack with the wanted one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_plan
short_description: Tell which services have to be created, replaced or reloaded, and why
version_added: 0.1.0
description:
  - Compares the running containers of a compose project with the wanted configuration - image id, configuration hash, number
    of replicas - and returns the services that differ, in start order, each with the reason.
  - A proxy that runs since before a service behind it has to be reloaded; nginx resolves the addresses of its upstreams once,
    and answers 502 from the old one afterwards. The same goes for files that are mounted into it, above all its certificate.
  - Nothing is remembered between runs; the plan is derived from what runs, so a run that was cut is finished by the next one.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.compose.stack
options:
  back:
    description:
      - Whether the way leads to an earlier release. Then beat is replaced before the workers, so that nobody sends an old worker tasks
        that it does not know and would discard.
    type: bool
    default: false
    version_added: 0.4.0
  stand_ins:
    description:
      - Whether, while a service of kind V(http) is replaced, a container of the wanted release answers in its place, as long as a proxy
        in front of it goes on. Both releases answer for some seconds then.
    type: bool
    default: true
    version_added: 0.4.0
  drain_marker:
    description: File that M(residency.scheduler.celery_drain) keeps while the workers are drained.
    type: path
    version_added: 0.4.0
attributes:
  check_mode:
    support: full
    description: Changes nothing at any time.
  diff_mode:
    support: full
    description: Shows the running and the wanted image and state of each service that differs.
  idempotent:
    support: full
    description: Changes nothing at any time.
"""

EXAMPLES = r"""
- name: Compare the running stack with the wanted one
  residency.scheduler.stack_plan:
    project: "{{ scheduler_compose }}"
    services: "{{ scheduler_services }}"
  register: plan

- name: Show what differs
  ansible.builtin.debug:
    msg: "{{ plan.actions }}"
"""

RETURN = r"""
actions:
  description:
    - What has to be done, in that order; empty when the running stack is the wanted one. Besides services to C(create), C(replace),
      C(start), C(scale), C(remove) or C(reload) there is C(drain) before workers are replaced, C(resume) after a run that was cut, and
      C(sweep) for a C(container) that such a run left half-made.
    - C(stand_in) starts a C(container) that answers while the service's own is replaced; C(sweep) ends it.
    - C(prove) names the services that have to answer after the action. What a proxy is reloaded for is proven after that reload.
  returned: always
  type: list
  elements: dict
  sample:
    - {service: backend, action: replace, reason: "image 1f0c2a9b7d11 runs, 83bb51e0a1ce is wanted", prove: []}
    - {service: nginx, action: reload, reason: "it resolved backend before that was replaced", prove: [backend, nginx]}
"""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import celery
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project, read_config, read_hashes
from ansible_collections.residency.scheduler.plugins.module_utils.containers import (
    STAND_IN,
    read_containers,
    read_images,
    read_processes,
)
from ansible_collections.residency.scheduler.plugins.module_utils.plan import Running, WantedService, decide
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish
from ansible_collections.residency.scheduler.plugins.module_utils.stack import SERVICES_SPEC, StackService, parse_services


def run(parameters: dict[str, Any], runner: Runner) -> dict[str, Any]:
    """Read both sides, decide, and return the actions with a diff."""
    project = Project.from_parameters(parameters["project"])
    services = parse_services(parameters["services"])
    wanted = _wanted(project, services, runner)
    running = _running(project, services, runner)
    marker = parameters["drain_marker"]
    actions = decide(
        wanted,
        running,
        back=parameters["back"],
        drained=_drained(marker) if marker else None,
        stand_in=(lambda service: f"{project.name}-{service}{STAND_IN}") if parameters["stand_ins"] else None,
    )
    return {
        "changed": False,
        "actions": [action.to_dict() for action in actions],
        "diff": {
            "before": "".join(f"{action.service}: {action.before}\n" for action in actions),
            "after": "".join(f"{action.service}: {action.after}\n" for action in actions),
        },
    }


def _wanted(project: Project, services: list[StackService], runner: Runner) -> list[WantedService]:
    config = read_config(project, runner)
    hashes = read_hashes(project, runner)
    images = read_images([service.image for service in config.services.values()], runner)
    listed = [service.name for service in services]
    # A service of the compose files that nobody listed starts after all others.
    order = [name for name in listed if name in config.services] + [name for name in config.services if name not in listed]
    kinds = {service.name: service.kind for service in services}
    return [
        WantedService(
            name=name,
            kind=kinds.get(name, "container"),
            replicas=config.services[name].replicas,
            image=config.services[name].image,
            image_id=images.ids.get(config.services[name].image),
            config_hash=hashes.get(name, ""),
            files_changed=_newest(config.services[name].bind_sources),
        )
        for name in order
    ]


def _drained(marker: str) -> datetime | None:
    """Return since when the workers are drained; None if they are not. Where they were still at work, no worker counts as drained."""
    try:
        written = os.stat(marker).st_mtime
    except FileNotFoundError:
        return None
    return datetime.fromtimestamp(written if celery.read_drained(marker)[1] else 0, UTC)


def _newest(paths: Iterable[str]) -> datetime | None:
    """Return when a file at or below *paths* was last written or renamed; what cannot be read does not count."""
    files = [path for path in paths if os.path.isfile(path)]
    files += [os.path.join(folder, name) for path in paths for folder, _folders, names in os.walk(path) for name in names]
    # The time of the inode's change: a certificate that was copied may keep the old one's time of modification.
    times = [os.stat(name).st_ctime for name in files if os.path.isfile(name)]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _running(project: Project, services: list[StackService], runner: Runner) -> list[Running]:
    proxies = {service.name for service in services if service.kind == "proxy"}
    found = []
    for container in read_containers(project.name, runner, one_off=True):
        if container.one_off and not container.stand_in:
            continue
        age = None
        if container.service in proxies and container.state == "running":
            # The workers are as old as the last reload, the master as the container. One that drains its last connections
            # ("worker process is shutting down") is of the configuration before.
            processes = read_processes(container.name, runner)
            age = max((item.age for item in processes if item.command.rstrip().endswith("worker process")), default=None)
        found.append(Running.from_container(container, oldest_worker_age=age))
    return found


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            "services": SERVICES_SPEC,
            "back": {"type": "bool", "default": False},
            "stand_ins": {"type": "bool", "default": True},
            "drain_marker": {"type": "path"},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, SubprocessRunner()))


if __name__ == "__main__":
    main()
