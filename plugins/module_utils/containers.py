# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running containers of a compose project, as Docker reports them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, redact, require

#: How the name of a container ends that answers for a service while its own one is replaced.
STAND_IN = "-stand-in"
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d) ?")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: What Docker says of a container that has no processes (any more, or not yet again).
_ENDED = re.compile(r"No such container: |[Cc]ontainer \S+ is (?:not running|restarting)")


@dataclass(frozen=True)
class Published:
    """A container port that the host publishes, e.g. 443 of the container on 0.0.0.0:8443."""

    container_port: int
    address: str
    port: int


@dataclass(frozen=True)
class Container:
    """One container of a service; times are aware UTC datetimes, intervals are seconds.

    :ivar log_limit: size at which Docker begins the log anew (``max-size``); empty for none.
    """

    name: str
    service: str
    image_id: str
    state: str
    health: str
    restarts: int
    exit_code: int
    oom_killed: bool
    started: datetime
    address: str
    config_hash: str
    environment: Mapping[str, str]
    command: tuple[str, ...]
    published: tuple[Published, ...]
    health_deadline: float
    one_off: bool = False
    hostname: str = ""
    log_driver: str = ""
    log_limit: str = ""

    @property
    def half_made(self) -> bool:
        """Tell whether it is what Compose prepared in place of another, and did not come to put there before it was killed.

        Compose creates the new container as ``OLDID_NAME``, removes the old one, and renames. Where that was cut, the next
        ``up`` fails for ever: the name is taken (docker/compose, pkg/compose/convergence.go, recreateContainer).
        """
        return self.state == "created" and bool(re.match(r"[0-9a-f]{12}_", self.name))

    @property
    def stand_in(self) -> bool:
        """Tell whether it answers for its service while that one's own container is replaced."""
        return self.one_off and self.name.endswith(STAND_IN)

    def brief(self) -> dict[str, Any]:
        """Return what a report shows of it (no environment, no command: they hold secrets)."""
        return {
            "name": self.name,
            "state": self.state,
            "health": self.health,
            "restarts": self.restarts,
            "exit_code": self.exit_code,
            "oom_killed": self.oom_killed,
            "started": self.started.isoformat(timespec="seconds"),
            "image_id": self.image_id,
        }


def read_containers(project_name: str, runner: Runner, *, one_off: bool = False) -> list[Container]:
    """Return the project's containers, stopped ones too, sorted by name.

    :arg one_off: those of ``docker compose run`` as well, which are no part of a service.
    """
    labels = ["--filter", f"label=com.docker.compose.project={project_name}"]
    labels += [] if one_off else ["--filter", "label=com.docker.compose.oneoff=False"]
    listed = require(
        runner.run(["docker", "ps", "--all", "--quiet", "--no-trunc", *labels]),
        "Listing the containers failed",
        "Start Docker: systemctl start docker.",
    )
    names = listed.stdout.split()
    if not names:
        return []
    # A container may go away between the two calls: inspect then exits 1 but still prints the others.
    inspected = runner.run(["docker", "container", "inspect", *names])
    return parse_containers(inspected.stdout)


def parse_containers(text: str) -> list[Container]:
    """Parse ``docker container inspect``."""
    return sorted((_container(item) for item in json.loads(text or "[]")), key=lambda item: item.name)


def _container(item: Mapping[str, Any]) -> Container:
    state, config = item["State"], item["Config"]
    labels = config.get("Labels") or {}
    environment = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])
    networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
    log = (item.get("HostConfig") or {}).get("LogConfig") or {}
    addresses = [str(network["IPAddress"]) for network in networks.values() if network.get("IPAddress")]
    return Container(
        name=str(item["Name"]).lstrip("/"),
        service=str(labels.get("com.docker.compose.service", "")),
        image_id=str(item["Image"]),
        state=str(state["Status"]),
        health=str((state.get("Health") or {}).get("Status") or "none"),
        restarts=int(item.get("RestartCount") or 0),
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        started=parse_time(str(state.get("StartedAt") or "")),
        address=addresses[0] if addresses else "",
        config_hash=str(labels.get("com.docker.compose.config-hash", "")),
        environment=environment,
        command=tuple(config.get("Cmd") or ()),
        published=_published(item),
        health_deadline=_health_deadline(config.get("Healthcheck") or {}),
        one_off=labels.get("com.docker.compose.oneoff") == "True",
        hostname=str(config.get("Hostname") or ""),
        log_driver=str(log.get("Type") or ""),
        log_limit=str((log.get("Config") or {}).get("max-size") or ""),
    )


def _published(item: Mapping[str, Any]) -> tuple[Published, ...]:
    ports = (item.get("NetworkSettings") or {}).get("Ports") or {}
    found = []
    for key, bindings in ports.items():
        for binding in bindings or []:
            found.append(Published(int(key.split("/")[0]), str(binding.get("HostIp") or "0.0.0.0"), int(binding["HostPort"])))
    return tuple(sorted(found, key=lambda entry: (entry.container_port, entry.address)))


def _health_deadline(check: Mapping[str, Any]) -> float:
    """Return the seconds after which Docker itself has to have called a starting container healthy or unhealthy.

    Docker's rule: failures during ``start_period`` do not count, then ``retries`` failures in a row, each at most
    ``interval`` + ``timeout`` after the last. Its defaults: 30 s, 30 s, 3 retries, no start period.
    """
    second = 1_000_000_000
    interval = (check.get("Interval") or 30 * second) / second
    timeout = (check.get("Timeout") or 30 * second) / second
    return float((check.get("StartPeriod") or 0) / second + (check.get("Retries") or 3) * (interval + timeout))


def parse_time(text: str) -> datetime:
    """Parse Docker's RFC 3339 time with nanoseconds; an empty or zero one becomes the year 1."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,6})?\d*(Z|[+-]\d\d:\d\d)$", text)
    if match is None:
        return datetime.min.replace(tzinfo=UTC)
    return datetime.fromisoformat(match.group(1) + (match.group(2) or "") + match.group(3).replace("Z", "+00:00"))


@dataclass(frozen=True)
class ImageIndex:
    """The local images that were asked for: id by reference; a missing image has no entry."""

    ids: Mapping[str, str]


def read_images(references: Sequence[str], runner: Runner) -> ImageIndex:
    """Return the ids of those of *references* - names, or ids themselves - that exist on this host, in one call.

    :raises Problem: Docker does not answer.
    """
    wanted = sorted(set(references))
    if not wanted:
        return ImageIndex({})
    # Exit code 1 says that some are missing; the ones found are printed all the same.
    result = runner.run(["docker", "image", "inspect", "--format", "{{json .RepoTags}}|{{json .RepoDigests}}|{{.Id}}", *wanted])
    if result.rc != 0 and "no such image" not in result.stderr.lower():
        require(result, "Looking for the images failed", "Start Docker: systemctl start docker.")
    ids: dict[str, str] = {}
    for line in result.stdout.splitlines():
        if line.count("|") != 2:
            continue
        tags, digests, image_id = line.split("|")
        for name in [image_id, *(json.loads(tags) or []), *(json.loads(digests) or [])]:
            ids[_plain(name)] = image_id
    return ImageIndex({name: ids[plain] for name in wanted for plain in (_plain(name),) if plain in ids})


def _plain(reference: str) -> str:
    """Return a reference as Docker lists it: an id, or no name of Docker's own registry and a tag or else a digest."""
    if reference.startswith("sha256:"):
        return reference
    name, _at, digest = reference.partition("@")
    for prefix in ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/"):
        name = name.removeprefix(prefix)
    folder, slash, last = name.rpartition("/")
    if digest:
        return f"{folder}{slash}{last.partition(':')[0]}@{digest}"
    return name if ":" in last else f"{name}:latest"


def read_log(
    container: str,
    runner: Runner,
    secrets: Sequence[str],
    *,
    lines: int | None = 50,
    since: str | None = None,
    until: str | None = None,
    timestamps: bool = False,
) -> list[str]:
    """Return the last *lines* lines that a container logged, in the order of their times, without colours and secrets.

    :arg lines: None for all.
    :arg since: only lines from this RFC 3339 time on.
    :arg until: only lines before this RFC 3339 time.
    :arg timestamps: put Docker's RFC 3339 time and a blank before each line.
    """
    argv = ["docker", "logs", "--tail", str(lines or "all"), *(["--since", since] if since else []), *(["--until", until] if until else [])]
    result = runner.run([*argv, "--timestamps", container], timeout=20)
    # Docker hands out what went to stdout and to stderr apart; only the times tell the order.
    text = _ANSI.sub("", result.stdout + result.stderr)
    ordered = sorted(redact(text, secrets).splitlines(), key=lambda line: line.partition(" ")[0])
    return [line if timestamps else _STAMP.sub("", line) for line in ordered[-(lines or 0) :]]


@dataclass(frozen=True)
class Process:
    """A process in a container: its age in seconds, state letters of ps(1), and command line."""

    age: float
    state: str
    command: str


def read_processes(container: str, runner: Runner) -> list[Process]:
    """Return the processes of a container, by ``docker top`` (the host's ps: images need none).

    One that has ended since somebody listed it, as those of ``docker compose run`` do at any moment, has none.
    """
    result = runner.run(["docker", "top", container, "-o", "pid,etimes,stat,args"], timeout=20)
    if result.rc and _ENDED.search(result.stderr):
        return []
    require(result, f"Listing the processes of {container} failed", f"Look at `docker inspect {container}`.")
    processes = []
    for line in result.stdout.splitlines()[1:]:
        fields = line.split(maxsplit=3)
        if len(fields) == 4:
            processes.append(Process(float(fields[1]), fields[2], fields[3]))
    return processes
