# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ordered stack of services, as the inventory's ``scheduler_services`` describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

KINDS = ("postgres", "redis", "http", "celery_worker", "celery_beat", "proxy", "container")

#: The argument spec of the option ``services``; documented in the fragment ``stack``.
SERVICES_SPEC: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "required": True,
    "options": {
        "name": {"type": "str", "required": True},
        "kind": {"type": "str", "choices": list(KINDS), "default": "container"},
        "port": {"type": "int"},
        "path": {"type": "str", "default": "/"},
        "optional": {"type": "bool", "default": False},
        "docker_health": {"type": "str", "choices": ["required", "advice"]},
    },
}


@dataclass(frozen=True)
class StackService:
    """One service of the stack.

    :ivar kind: which protocol its probe speaks; one of :data:`KINDS`.
    :ivar docker_health_is_advice: Docker's own health verdict does not count. The default for Celery's kinds: they
        inherit the HTTP health check of the image that they share with the API, and are "unhealthy" for ever.
    """

    name: str
    kind: str
    port: int | None
    path: str
    optional: bool
    docker_health_is_advice: bool


def parse_services(values: Sequence[Mapping[str, Any]]) -> list[StackService]:
    """Return the services in start order; a name given twice is a Problem."""
    services = []
    for value in values:
        advice = value.get("docker_health")
        services.append(
            StackService(
                name=str(value["name"]),
                kind=str(value["kind"]),
                port=value.get("port"),
                path=str(value.get("path") or "/"),
                optional=bool(value.get("optional")),
                docker_health_is_advice=advice == "advice" if advice else str(value["kind"]).startswith("celery"),
            )
        )
    names = [service.name for service in services]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Problem("Reading scheduler_services failed", f"{', '.join(twice)} is listed twice", "List each service once.")
    return services
