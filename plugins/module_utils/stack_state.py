# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stack should look like, read from its project; and the last words of those that do not."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project, read_config
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_images, read_log
from ansible_collections.residency.scheduler.plugins.module_utils.health import Verdict, Wanted
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService, parse_services


def read_wanted(project: Project, services: Sequence[StackService], only: Sequence[str], runner: Runner) -> list[Wanted]:
    """Return replicas and image of each service, in start order.

    :arg only: names of the services to return; all when empty.
    :raises Problem: a service that is listed is not in the compose files, unless it is optional.
    """
    config = read_config(project, runner)
    missing = [service.name for service in services if service.name not in config.services and not service.optional]
    unknown = [name for name in only if name not in config.services]
    if missing or unknown:
        raise Problem(
            "Reading scheduler_services failed",
            f"{', '.join(missing or unknown)} is not a service of the compose files",
            f"Known are: {', '.join(config.services)}.",
        )
    images = read_images([service.image for service in config.services.values()], runner)
    # A service of the compose files that nobody listed runs all the same: its containers are looked at, after all others.
    listed = {service.name for service in services}
    others = parse_services([{"name": name, "kind": "container"} for name in config.services if name not in listed])
    return [
        Wanted(service, config.services[service.name].replicas, images.ids.get(config.services[service.name].image))
        for service in [*services, *others]
        if service.name in config.services and (not only or service.name in only)
    ]


def logs_of_sick(verdicts: Sequence[Verdict], runner: Runner, secrets: Sequence[str]) -> dict[str, list[str]]:
    """Return the last lines that the containers of each service logged that is not healthy, without secrets."""
    return {
        verdict.service: [line for container in verdict.containers for line in read_log(container.name, runner, secrets)]
        for verdict in verdicts
        if verdict.status != "healthy"
    }
