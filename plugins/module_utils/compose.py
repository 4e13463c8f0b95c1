# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker Compose project: the commands that address it, and its resolved configuration.

Every command gives the project's name, every file and the env file: without all of them Compose sees another project
(measured with Compose 2.26: ``down`` with fewer files leaves containers running and exits 0).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import dotenv
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, require
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: The argument spec of the option ``project``, shared by all modules; documented in the fragment ``compose``.
PROJECT_SPEC: dict[str, Any] = {
    "type": "dict",
    "required": True,
    "options": {
        "name": {"type": "str", "required": True},
        "directory": {"type": "path", "required": True},
        "files": {"type": "list", "elements": "path", "required": True},
        "env_file": {"type": "path", "required": True},
    },
}


@dataclass(frozen=True)
class Project:
    """A compose project on this host: its name, folder, files in order, and ``.env`` file (absolute paths)."""

    name: str
    directory: str
    files: tuple[str, ...]
    env_file: str

    @classmethod
    def from_parameters(cls, value: Mapping[str, Any]) -> Project:
        """Build the project from the module option; relative files are taken from the directory."""
        directory = os.path.normpath(str(value["directory"]))
        return cls(
            name=str(value["name"]),
            directory=directory,
            files=tuple(os.path.join(directory, str(name)) for name in value["files"]),
            env_file=os.path.join(directory, str(value["env_file"])),
        )

    def argv(self, *words: str, extra_file: str | None = None) -> list[str]:
        """Return the command line for ``docker compose WORDS`` on this project.

        :arg extra_file: one more compose file, after the others; ``-`` is the standard input.
        """
        command = ["docker", "compose", "--project-name", self.name, "--project-directory", self.directory]
        command += ["--env-file", self.env_file]
        for name in self.files + ((extra_file,) if extra_file else ()):
            command += ["--file", name]
        return command + list(words)

    def secrets(self) -> tuple[str, ...]:
        """Return the secret values of the ``.env`` file, to be blotted out of whatever is quoted; none if there is no file."""
        text = read_text(self.env_file)
        return dotenv.secret_values(dotenv.parse(text), dotenv.secret_names(text))

    def environment(self) -> dict[str, str]:
        """Return the values of the ``.env`` file; none if there is no file."""
        return dotenv.parse(read_text(self.env_file))


@dataclass(frozen=True)
class Service:
    """One service of the resolved configuration.

    :ivar build: the resolved ``build`` section, or None where the image comes ready-made.
    :ivar cpus: the CPU limit in cores, or None.
    :ivar ports: ports that the host publishes, in the long form of the compose specification.
    :ivar memory: the memory limit of each container in bytes; 0 for none.
    :ivar cpus_in_deploy: the limit stands in ``deploy.resources.limits``, not in the service's own ``cpus``.
    :ivar bind_sources: paths on the host that are mounted into the containers.
    :ivar writable_sources: those of them that the containers may write to.
    :ivar bind_targets: where they are mounted, in the same order.
    """

    name: str
    image: str
    build: Mapping[str, Any] | None
    replicas: int
    container_name: str | None
    cpus: float | None
    bind_sources: tuple[str, ...]
    writable_sources: tuple[str, ...]
    cpus_in_deploy: bool
    environment: Mapping[str, str]
    ports: tuple[Mapping[str, Any], ...] = ()
    memory: int = 0
    bind_targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """The resolved configuration: services by name, and host folders that bind-mounted volumes need."""

    services: Mapping[str, Service]
    bind_devices: tuple[str, ...]


def read_config(project: Project, runner: Runner, *, extra: str | None = None) -> Config:
    """Return the project's resolved configuration.

    :arg extra: the text of one more compose file.
    :raises Problem: Compose rejects the files; its own words are quoted without secrets.
    """
    result = runner.run(
        project.argv("config", "--format", "json", extra_file="-" if extra is not None else None),
        stdin=extra or "",
    )
    require(
        result,
        f"Reading the compose project {project.name} failed",
        f"Correct {', '.join(project.files)} or {project.env_file}.",
        project.secrets(),
    )
    return parse_config(result.stdout)


def read_unpinned(project: Project, runner: Runner) -> Config:
    """Return the configuration of a release that has no compose file of ours yet.

    Compose refuses to resolve a service with both ``container_name`` and replicas: the name is taken off for the reading, and each service
    that has one gets its own name in its place.

    :raises Problem: Compose rejects the files.
    """
    named = set()
    for name in project.files:
        lone = Project(project.name, project.directory, (name,), project.env_file)
        result = runner.run(lone.argv("config", "--no-consistency", "--no-interpolate", "--no-normalize", "--format", "json"))
        if result.rc == 0:
            named |= {name for name, service in (json.loads(result.stdout).get("services") or {}).items() if service.get("container_name")}
    resets = "".join(f"  {name}: {{container_name: !reset null}}\n" for name in sorted(named))
    config = read_config(project, runner, extra=f"services:\n{resets}" if resets else None)
    return Config(
        {name: replace(service, container_name=name if name in named else None) for name, service in config.services.items()},
        config.bind_devices,
    )


def read_hashes(project: Project, runner: Runner) -> dict[str, str]:
    """Return each service's configuration hash, the one that Compose stores in a container's labels."""
    result = runner.run(project.argv("config", "--hash", "*"))
    require(result, "Hashing the compose configuration failed", "Correct the compose files.", project.secrets())
    return dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if len(line.split()) == 2)


def parse_config(text: str) -> Config:
    """Parse ``docker compose config --format json``."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise Problem(
            "Reading the compose project failed",
            f"`docker compose config --format json` printed no JSON ({error})",
            "Compose 2.0 or newer is needed; compare `docker compose version`.",
        ) from error
    services = {name: _service(name, value) for name, value in sorted(data.get("services", {}).items())}
    devices = []
    for volume in (data.get("volumes") or {}).values():
        options = (volume or {}).get("driver_opts") or {}
        if "bind" in str(options.get("o", "")).split(",") and options.get("device"):
            devices.append(str(options["device"]))
    return Config(services=services, bind_devices=tuple(sorted(devices)))


def _service(name: str, value: Mapping[str, Any]) -> Service:
    deploy = value.get("deploy") or {}
    limits = (deploy.get("resources") or {}).get("limits") or {}
    cpus = limits.get("cpus") or value.get("cpus")
    environment = {key: "" if text is None else str(text) for key, text in (value.get("environment") or {}).items()}
    binds = [mount for mount in value.get("volumes") or [] if mount.get("type") == "bind" and mount.get("source")]
    return Service(
        name=name,
        image=str(value.get("image") or ""),
        build=value.get("build"),
        replicas=int(deploy.get("replicas", value.get("scale", 1)) or 0),
        container_name=value.get("container_name"),
        cpus=float(cpus) if cpus else None,
        cpus_in_deploy=bool(limits.get("cpus")),
        bind_sources=tuple(str(mount["source"]) for mount in binds),
        writable_sources=tuple(str(mount["source"]) for mount in binds if not mount.get("read_only")),
        environment={key: text.replace("$$", "$") for key, text in environment.items()},
        ports=tuple(port for port in value.get("ports") or [] if port.get("published")),
        # Compose resolves "2G" to bytes, as text.
        memory=int(limits.get("memory") or value.get("mem_limit") or 0),
        bind_targets=tuple(str(mount["target"]) for mount in binds),
    )
