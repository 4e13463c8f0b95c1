# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an emergency stop ends, in which order, and what it writes down before. Pure; by Docker's labels, never by the compose files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService

#: States in which a container has processes, or will have them again without anybody's doing.
ALIVE = ("running", "paused", "restarting")
PROJECT_LABEL = "com.docker.compose.project"


@dataclass(frozen=True)
class Described:
    """What the record tells of a container besides its state: the image it was asked for, and whether Docker starts it again."""

    image: str
    restart_policy: str


@dataclass(frozen=True)
class Shutdown:
    """What has to be done.

    :ivar about: the containers that it is about, dead ones too.
    :ivar groups: names to stop, those of one group at once.
    :ivar paused: names to wake before; a frozen process hears no signal.
    :ivar remove: names of containers to remove.
    :ivar networks: names of networks to remove.
    """

    about: tuple[Container, ...]
    groups: tuple[tuple[str, ...], ...]
    paused: tuple[str, ...]
    remove: tuple[str, ...]
    networks: tuple[str, ...]

    @property
    def stop(self) -> list[str]:
        """Return all names to stop, in order."""
        return [name for group in self.groups for name in group]

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.groups or self.remove or self.networks)


def refuse(containers: Sequence[Container], services: Sequence[StackService], only: Sequence[str], project_name: str, force: bool) -> None:
    """Raise a Problem where nothing must be stopped. Pure."""
    known = [service.name for service in services]
    known += sorted({container.service for container in containers if container.service} - set(known))
    unknown = [name for name in only if name not in known]
    if unknown:
        raise Problem(
            "The shutdown was refused",
            f"{project_name} has no service {', '.join(repr(name) for name in unknown)}; nothing was stopped",
            f"Name one of {', '.join(known) or 'the services, of which there are none'}.",
        )
    databases = {service.name for service in services if service.kind == "postgres"}
    name = f"{project_name}-migration"
    migrating = any(container.name == name and container.state in ALIVE for container in containers)
    if migrating and not force and (not only or databases.intersection(only)):
        raise Problem(
            "The shutdown was refused",
            f"the container {name} runs: it migrates the database, and an end halfway may leave a part behind; nothing was stopped",
            f"Watch it (docker logs --follow {name}), wait for its end (docker wait {name}), then run this again. "
            "To end it all the same, set force (services_shutdown_force=true).",
        )


def decide(containers: Sequence[Container], networks: Sequence[str], services: Sequence[StackService], only: Sequence[str]) -> Shutdown:
    """Return what has to be done, in reverse start order. Pure.

    First goes what nobody listed, and what ``docker compose run`` started: both may need any service, and none needs them.

    :arg only: services to stop and to keep, for the time being; everything goes when empty.
    """
    rank = {service.name: position for position, service in enumerate(services)}
    about = [item for item in containers if not only or (item.service in only and not item.one_off)]
    groups: dict[tuple[int, str], list[str]] = {}
    for item in about:
        if item.state in ALIVE:
            key = (len(rank), "") if item.one_off else (rank.get(item.service, len(rank)), item.service)
            groups.setdefault(key, []).append(item.name)
    return Shutdown(
        about=tuple(about),
        groups=tuple(tuple(names) for _key, names in sorted(groups.items(), key=lambda entry: (-entry[0][0], entry[0][1]))),
        paused=tuple(item.name for item in about if item.state == "paused"),
        remove=() if only else tuple(item.name for item in about),
        networks=() if only else tuple(networks),
    )


def record(shutdown: Shutdown, described: Mapping[str, Described]) -> list[dict[str, Any]]:
    """Return what ran, container by container, without environment and command: they hold secrets. Pure."""
    return [
        {
            **item.brief(),
            "service": item.service,
            "one_off": item.one_off,
            "image": described[item.name].image if item.name in described else "",
            "ports": [f"{port.address}:{port.port}->{port.container_port}" for port in item.published],
        }
        for item in shutdown.about
    ]


def returning(shutdown: Shutdown, described: Mapping[str, Described]) -> list[str]:
    """Return the stopped containers that stay, and that a restart of Docker starts again nevertheless. Pure."""
    kept = [name for name in shutdown.stop if name not in shutdown.remove]
    return [name for name in kept if name in described and described[name].restart_policy == "always"]


def diff(shutdown: Shutdown) -> dict[str, str]:
    """Return what an operator sees of it: each container that changes, with its state before and after. Pure."""
    touched = [item for item in shutdown.about if item.name in shutdown.stop or item.name in shutdown.remove]
    networks = "".join(f"network {name}\n" for name in shutdown.networks)
    kept = [item for item in touched if item.name not in shutdown.remove]
    return {
        "before": "".join(f"{item.name}: {item.state}\n" for item in touched) + networks,
        "after": "".join(f"{item.name}: exited\n" for item in kept),
    }


def parse_described(text: str) -> dict[str, Described]:
    """Parse what :func:`describe_argv` prints, by name of the container. Pure."""
    lines = [line.split("|", 2) for line in text.splitlines() if line.count("|") >= 2]
    return {name.lstrip("/"): Described(image, policy) for name, policy, image in lines}


def describe_argv(names: Sequence[str]) -> list[str]:
    """Return the command that tells of each container what it was asked to be."""
    return ["docker", "container", "inspect", "--format", "{{.Name}}|{{.HostConfig.RestartPolicy.Name}}|{{.Config.Image}}", *names]


def networks_argv(project_name: str) -> list[str]:
    """Return the command that lists the project's networks."""
    return ["docker", "network", "ls", "--filter", f"label={PROJECT_LABEL}={project_name}", "--format", "{{.Name}}"]


def unpause_argv(names: Sequence[str]) -> list[str]:
    """Return the command that wakes paused containers."""
    return ["docker", "unpause", *names]


def stop_argv(names: Sequence[str], grace: int) -> list[str]:
    """Return the command that stops containers, all at once, and kills what still runs after *grace* seconds."""
    return ["docker", "stop", "-t", str(grace), *names]


def kill_argv(names: Sequence[str]) -> list[str]:
    """Return the command that kills containers."""
    return ["docker", "kill", *names]


def remove_argv(names: Sequence[str]) -> list[str]:
    """Return the command that removes containers, and no volume."""
    return ["docker", "rm", "--force", *names]


def remove_networks_argv(names: Sequence[str]) -> list[str]:
    """Return the command that removes networks."""
    return ["docker", "network", "rm", *names]
