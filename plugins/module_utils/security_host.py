# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the containers of this host may do to it: published ports, Docker's socket, users, capabilities, limits."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import firewall
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, require
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.security import Observation, each, unmade

SOCKET = "/var/run/docker.sock"
#: Where the socket lies, and folders through which it or the whole host is reached.
_SOCKET_PATHS = {"/var/run/docker.sock", "/run/docker.sock", "/var/run", "/run", "/var"}
#: Whoever may write here is root on the host; reading some of them is enough. /var/run and /run are told as the socket.
_SYSTEM_PATHS = {
    "/", "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/sys", "/usr", "/var", "/var/lib", "/var/lib/docker",
    "/etc/shadow", "/etc/ssh", "/etc/docker", "/root/.ssh", "/var/lib/containerd", "/run/containerd",
}  # fmt: skip
_ROOT = ("", "0", "root")
#: Log drivers that keep no file that grows for ever; ``local`` rotates by itself.
_UNBOUNDED_LOGS = ("json-file",)


@dataclass(frozen=True)
class Seen:
    """What ``docker container inspect`` says of one container, as far as it matters here.

    :ivar name: the service, or the container's name where it belongs to no project.
    :ivar log_grows: its log grows until the disk is full.
    :ivar published: port in the container ("53/udp" where it is not TCP), address and port on the host.
    :ivar texts: command, entrypoint and health check, for secrets in them.
    """

    name: str
    project: str
    image_id: str
    running: bool
    user: str
    privileged: bool
    capabilities: tuple[str, ...]
    memory: int
    restart: str
    log_driver: str
    log_grows: bool
    host_namespaces: tuple[str, ...]
    mounts: tuple[str, ...]
    published: tuple[tuple[str, str, int], ...]
    environment: Mapping[str, str]
    texts: str


def read(runner: Runner) -> list[Seen]:
    """Return all containers of this host, also those of other projects.

    :raises Problem: Docker does not answer.
    """
    remedy = "Start Docker: systemctl start docker."
    listed = require(runner.run(["docker", "ps", "--all", "--quiet", "--no-trunc"]), "Listing the containers failed", remedy)
    names = listed.stdout.split()
    if not names:
        return []
    # One may go away between the two calls: inspect then exits 1 but still prints the others.
    return parse(runner.run(["docker", "container", "inspect", *names]).stdout)


def parse(text: str) -> list[Seen]:
    """Parse ``docker container inspect``."""
    try:
        return [_seen(item) for item in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        why = f"docker container inspect printed something else ({error!r})"
        raise Problem("Looking at the containers failed", why, "Compare `docker version`.") from error


def _seen(item: Mapping[str, Any]) -> Seen:
    config, host = item["Config"], item["HostConfig"]
    labels = config.get("Labels") or {}
    logs = host.get("LogConfig") or {}
    modes = {"network": host.get("NetworkMode"), "process": host.get("PidMode"), "IPC": host.get("IpcMode")}
    words = [item.get("Path"), *(item.get("Args") or []), *((config.get("Healthcheck") or {}).get("Test") or [])]
    ports = (item.get("NetworkSettings") or {}).get("Ports") or {}
    return Seen(
        name=str(labels.get("com.docker.compose.service") or str(item["Name"]).lstrip("/")),
        project=str(labels.get("com.docker.compose.project") or ""),
        image_id=str(item["Image"]),
        running=bool(item["State"]["Running"]),
        user=str(config.get("User") or ""),
        privileged=bool(host.get("Privileged")),
        capabilities=tuple(str(name).removeprefix("CAP_") for name in host.get("CapAdd") or ()),
        memory=int(host.get("Memory") or 0),
        restart=str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        log_driver=str(logs.get("Type") or ""),
        log_grows=logs.get("Type") in _UNBOUNDED_LOGS and not (logs.get("Config") or {}).get("max-size"),
        host_namespaces=tuple(name for name, mode in modes.items() if mode == "host"),
        mounts=tuple(str(mount["Source"]) for mount in item.get("Mounts") or () if mount.get("Type") == "bind"),
        published=tuple(
            (key.partition("/")[0] if key.endswith("/tcp") else key, str(binding.get("HostIp") or "0.0.0.0"), int(binding["HostPort"]))
            for key, bindings in sorted(ports.items())
            for binding in bindings or ()
        ),
        environment=dict(str(entry).partition("=")[::2] for entry in config.get("Env") or ()),
        texts="\0".join(str(word) for word in words if word),
    )


def of_project(containers: Iterable[Seen], project: str) -> list[Seen]:
    """Return the running containers of *project*."""
    return [item for item in containers if item.project == project and item.running]


def observe_network(containers: Sequence[Seen], project: str, proxies: Sequence[str], socket_path: str = SOCKET) -> list[Observation]:
    """Judge what this host offers to the network, and who reaches Docker's socket."""
    return [*_published(containers, project, proxies), _socket_mode(socket_path), *_socket_mounted(containers)]


def _published(containers: Sequence[Seen], project: str, proxies: Sequence[str]) -> list[Observation]:
    bad: dict[str, set[str]] = {}
    good = set()
    for item in containers:
        if not item.running:
            continue
        is_proxy = item.project == project and item.name in proxies
        for inside, address, port in item.published:
            if is_proxy or address in ("::1", "localhost") or address.startswith("127."):
                good.add(f"{item.name}:{inside}")
            else:
                bad.setdefault(f"{item.name}:{inside}", set()).add(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    told = {target: f"on {', '.join(sorted(where))}" for target, where in bad.items()}
    return each("network.published", told, sorted(good), "no port is published")


def _socket_mode(path: str) -> Observation:
    try:
        # The link is /var/run, a folder; the socket itself is no link.
        status = os.stat(path)
    except OSError as error:
        return unmade("network.socket_mode", f"{path}: {error.strerror}")
    mode = stat.S_IMODE(status.st_mode)
    return Observation("network.socket_mode", mode & ~0o660 == 0 and status.st_uid == 0, f"{path} {mode:04o}, owner {status.st_uid}")


def _socket_mounted(containers: Sequence[Seen]) -> list[Observation]:
    bad = {item.name: f"mounts {', '.join(found)}" for item in containers if (found := sorted(_SOCKET_PATHS & set(item.mounts)))}
    return each("network.socket_mounted", bad, [], f"in none of {len(containers)}")


def observe_containers(services: Sequence[Seen], allowed: Sequence[str]) -> list[Observation]:
    """Judge the running containers of the project, by service."""
    if not services:
        rules = ("root", "privileged", "capabilities", "namespaces", "host_paths", "memory", "restart", "logs")
        return [unmade(f"containers.{name}", "no container of the project is running") for name in rules]

    def judge(rule: str, faults: Sequence[str]) -> list[Observation]:
        bad = {item.name: fault for item, fault in zip(services, faults, strict=True) if fault}  # of replicas, one bad one is enough
        return each(f"containers.{rule}", bad, sorted({item.name for item in services}))

    return [
        *judge("privileged", ["privileged" if item.privileged else "" for item in services]),
        *judge("capabilities", [", ".join(name for name in item.capabilities if name not in allowed) for item in services]),
        *judge("namespaces", [f"the host's: {', '.join(item.host_namespaces)}" * bool(item.host_namespaces) for item in services]),
        *judge("host_paths", [", ".join(sorted(_SYSTEM_PATHS & set(item.mounts))) for item in services]),
        *judge("root", ["starts as root" if item.user.partition(":")[0] in _ROOT else "" for item in services]),
        *judge("memory", ["" if item.memory else "no limit" for item in services]),
        *judge("restart", ["stays down" if item.restart == "no" else "" for item in services]),
        *judge("logs", [f"{item.log_driver} without max-size" if item.log_grows else "" for item in services]),
    ]


def observe_daemon(runner: Runner) -> list[Observation]:
    """Ask Docker for its own settings."""
    result = runner.run(["docker", "info", "--format", "{{json .LiveRestoreEnabled}}"])
    said = result.stdout.strip()
    if result.rc != 0 or said not in ("true", "false"):
        return [unmade("containers.live_restore", result.last_lines(1) or "docker info says nothing of it")]
    return [Observation("containers.live_restore", said == "true", "on" if said == "true" else "off")]


def observe_firewall(runner: Runner) -> Observation:
    """Look for a chain of nftables that drops what comes in; ufw and firewalld have one as well."""
    listed = runner.run(["nft", "--json", "list", "ruleset"], timeout=10)
    if listed.rc != 0:
        return Observation("network.firewall", False, f"nft does not tell: {listed.last_lines(1) or f'exit code {listed.rc}'}")
    name = firewall.foreign(listed.stdout, [])
    return Observation("network.firewall", bool(name), name or "nothing of nftables drops what comes in")
