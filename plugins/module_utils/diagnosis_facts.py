# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a diagnosis notes of a host and of a project's containers. Pure, but for the reading of files and of Docker."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, require
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Config
from ansible_collections.residency.scheduler.plugins.module_utils.containers import parse_containers, parse_time
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService

#: Seconds that Docker has to say its version, before it counts as down.
DOCKER_SECONDS = 10.0
#: Ports on which the kinds listen where the stack names none.
PORTS = {"postgres": 5432, "redis": 6379, "http": 80}


@dataclass(frozen=True)
class Seen:
    """One container, as far as a diagnosis looks at it.

    :ivar pid: of its first process on the host; 0 where it does not run.
    :ivar up: seconds since its last start; None where it does not run.
    :ivar depends_on: services that its compose file has it wait for.
    :ivar health_log: Docker's last health probes, "exit code: output".
    :ivar environment: its variables with their values, which no report shows.
    """

    name: str
    service: str
    pid: int
    state: str
    health: str
    exit_code: int
    oom_killed: bool
    restarts: int
    up: float | None
    started: str
    finished: str
    image: str
    memory_limit: int
    networks: Mapping[str, str]
    depends_on: tuple[str, ...]
    health_log: tuple[str, ...]
    environment: Mapping[str, str]
    one_off: bool = False
    id: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return what a report shows of it."""
        shown = {name: value for name, value in vars(self).items() if name != "environment"}
        return {**shown, "networks": dict(self.networks), "depends_on": list(self.depends_on), "health_log": list(self.health_log)}


def parse_seen(text: str, now: datetime) -> list[Seen]:
    """Parse ``docker container inspect``, sorted by name."""
    items = {str(item["Name"]).lstrip("/"): item for item in json.loads(text or "[]")}
    found = []
    for container in parse_containers(text):
        item = items[container.name]
        state, labels = item["State"], item["Config"].get("Labels") or {}
        networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
        log = ((state.get("Health") or {}).get("Log") or [])[-3:]
        finished = parse_time(str(state.get("FinishedAt") or ""))
        # "db:service_healthy:false,redis:service_healthy:false"
        waits_for = str(labels.get("com.docker.compose.depends_on") or "")
        found.append(
            Seen(
                name=container.name,
                service=container.service,
                pid=int(state.get("Pid") or 0),
                state=container.state,
                health=container.health,
                exit_code=container.exit_code,
                oom_killed=container.oom_killed,
                restarts=container.restarts,
                up=(now - container.started).total_seconds() if container.state == "running" else None,
                started=container.started.isoformat(timespec="seconds"),
                finished=finished.isoformat(timespec="seconds") if finished.year > 1 else "",
                image=str(item["Config"].get("Image") or ""),
                memory_limit=int((item.get("HostConfig") or {}).get("Memory") or 0),
                networks={name: str((network or {}).get("IPAddress") or "") for name, network in sorted(networks.items())},
                depends_on=tuple(part.partition(":")[0] for part in waits_for.split(",") if part),
                health_log=tuple(f"{entry.get('ExitCode')}: {' '.join(str(entry.get('Output') or '').split())}" for entry in log),
                environment=container.environment,
                one_off=container.one_off,
                id=str(item.get("Id") or ""),
            )
        )
    return found


# ---- the host ------------------------------------------------------------------------------------------------------------


def read_host(paths: Sequence[str], proc: str = "/proc") -> dict[str, Any]:
    """Return file systems (bytes, share of inodes that is free), memory in bytes, load, and the number of CPUs."""
    systems: dict[int, dict[str, Any]] = {}
    for path in paths:
        there = path
        while not os.path.exists(there):
            there = os.path.dirname(there)
        device = os.stat(there).st_dev
        known = systems.get(device)
        if known is not None:
            known["paths"] += [path] if path not in known["paths"] else []
            continue
        room = os.statvfs(there)
        systems[device] = {
            "paths": [path],
            "size": room.f_blocks * room.f_frsize,
            "free": room.f_bavail * room.f_frsize,
            "inodes_free_share": round(room.f_favail / room.f_files, 4) if room.f_files else 1.0,
        }
    memory = parse_meminfo(_read(os.path.join(proc, "meminfo")))
    load = _read(os.path.join(proc, "loadavg")).split()
    return {
        "file_systems": list(systems.values()),
        "memory": {name.lower(): memory.get(name, 0) for name in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")},
        "load": [float(number) for number in load[:3]],
        "cpus": os.cpu_count() or 0,
        "kernel": os.uname().release,
    }


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the figures of ``/proc/meminfo`` in bytes."""
    return {name: int(number) * 1024 for name, number in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def read_docker(runner: Runner) -> dict[str, Any]:
    """Return whether Docker answers, its version, and why it does not: what systemd and its journal say."""
    try:
        asked = runner.run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=DOCKER_SECONDS)
    except Problem as problem:  # there is no such program
        return {"answers": False, "version": "", "why": problem.why, "unit": "", "journal": []}
    if asked.rc == 0:
        return {"answers": True, "version": asked.stdout.strip(), "why": "", "unit": "", "journal": []}
    why = f"no answer within {DOCKER_SECONDS:.0f} s" if asked.timed_out else asked.last_lines(1)
    return {"answers": False, "version": "", "why": why, **_unit(runner)}


def _unit(runner: Runner) -> dict[str, Any]:
    try:
        unit = runner.run(["systemctl", "is-active", "docker.service"], timeout=5).stdout.strip()
        journal = runner.run(["journalctl", "--unit", "docker.service", "--lines", "20", "--no-pager", "--output", "cat"], timeout=10)
    except Problem:  # no systemd
        return {"unit": "", "journal": []}
    return {"unit": unit, "journal": journal.stdout.splitlines()}


def read_stats(names: Sequence[str], runner: Runner) -> list[dict[str, str]]:
    """Return the figures of ``docker stats`` by container: shares of CPU and memory, traffic, processes."""
    if not names:
        return []
    asked = runner.run(["docker", "stats", "--no-stream", "--format", "{{json .}}", *names], timeout=20)
    text = require(asked, "Asking for docker stats failed", "Repeat it by hand.").stdout
    wanted = ("Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [{key: str(item.get(key, "")) for key in wanted} for item in sorted(found, key=lambda item: str(item.get("Name")))]


def read_memory_kills(project: str, containers: Sequence[Seen], seconds: float, runner: Runner) -> dict[str, int]:
    """Return how often the kernel killed a process for its memory within the last *seconds*, by container; Docker keeps 256 events."""
    chosen = ["--filter", "event=oom", "--filter", f"label=com.docker.compose.project={project}"]
    form = ["--format", "{{ .Actor.ID }}"]
    asked = runner.run(["docker", "events", "--since", f"{seconds:.0f}s", "--until", "0s", *chosen, *form], timeout=20)
    kills = Counter(require(asked, "Asking for Docker's events failed", "Repeat it by hand.").stdout.split())
    # By their ids: an earlier container had the same name.
    return {item.name: kills[item.id] for item in containers if kills[item.id]}


# ---- services and their environment --------------------------------------------------------------------------------------


def environment_names(containers: Sequence[Seen], config: Config | None, env_file: Mapping[str, str]) -> dict[str, Any]:
    """Return the names of each container's variables, and those whose value is another one than it would be given today. Pure.

    :arg config: the resolved project; without it, only names that the env file has too are compared.
    """
    found: dict[str, Any] = {}
    for container in containers:
        given = container.environment
        service = config.services.get(container.service) if config else None
        wanted = service.environment if service else {name: value for name, value in env_file.items() if name in given}
        found[container.name] = {
            "names": sorted(given),
            "differ": sorted(name for name, value in wanted.items() if name in given and given[name] != value),
            "missing": sorted(name for name in wanted if name not in given),
        }
    return found


def ports(services: Sequence[StackService]) -> dict[str, int]:
    """Return the port on which each service listens, where that is known. Pure."""
    known = {service.name: service.port or PORTS.get(service.kind) for service in services}
    return {name: port for name, port in known.items() if port}


def needs(containers: Sequence[Seen], services: Sequence[StackService]) -> dict[str, dict[str, int]]:
    """Return whom each service needs, and on which port (0 where it is unknown). Pure.

    Told by the compose files' ``depends_on``, by URLs in the environment, and by the kind: a proxy needs what speaks HTTP.
    """
    known, listening = {service.name for service in services} | {item.service for item in containers}, ports(services)
    web = [service.name for service in services if service.kind == "http"]
    proxies = {service.name for service in services if service.kind == "proxy"}
    found: dict[str, dict[str, int]] = {}
    for container in containers:
        mine = found.setdefault(container.service, {})
        for name in [*container.depends_on, *(web if container.service in proxies else [])]:
            mine.setdefault(name, listening.get(name, 0))
        for value in container.environment.values():
            host, port = _host(value)
            if host in known:
                mine[host] = port or listening.get(host, 0)
        mine.pop(container.service, None)
    return found


def _host(value: str) -> tuple[str, int]:
    """Return host and port of a URL; nothing where it is none."""
    if "://" not in value:
        return "", 0
    try:
        parts = urlsplit(value)
        return parts.hostname or "", parts.port or 0
    except ValueError:
        return "", 0


def all_needed(name: str, needed: Mapping[str, Mapping[str, int]]) -> set[str]:
    """Return whom a service needs, also by way of others. Pure."""
    found: set[str] = set()
    queue = [name]
    while queue:
        for other in needed.get(queue.pop(), {}):
            if other not in found and other != name:
                found.add(other)
                queue.append(other)
    return found


def age(stamp: str, now: datetime) -> float:
    """Return the seconds since an ISO 8601 time; a time without a zone is UTC."""
    time = datetime.fromisoformat(stamp)
    return (now - (time if time.tzinfo else time.replace(tzinfo=UTC))).total_seconds()
