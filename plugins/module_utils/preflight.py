# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that a deployment starts from: facts behind one small adapter, and what they have to be."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, redact_url, show
from ansible_collections.residency.scheduler.plugins.module_utils.git_refs import is_local, local_path
from ansible_collections.residency.scheduler.plugins.module_utils.preflight_secrets import check_secrets
from ansible_collections.residency.scheduler.plugins.module_utils.preflight_variables import check_variables

#: A machine that is sold with 4096 MB shows less to its system; the kernel and the firmware keep some.
_MEMORY_TOLERANCE = 0.9
_DOCKER_FOLDER = "/var/lib/docker"
_APT_LISTS = "/var/lib/apt/lists"
#: What tells that a program sets the clock: chrony; ntpsec or openntpd; and that systemd starts its own at each boot.
_TIME_DAEMONS = {
    "/usr/sbin/chronyd": "chronyd",
    "/usr/sbin/ntpd": "ntpd",
    "/etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service": "systemd-timesyncd",
}
#: systemd's words for a unit that is meant to run.
_MEANT_TO_RUN = ("active", "failed")


class System(Protocol):
    """What can be asked of a host without a change; the unit tests put a written one in its place."""

    def read(self, path: str) -> str:
        """Return a file's text; empty if it cannot be read."""

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or folder."""

    def entries(self, path: str) -> list[str]:
        """Return the names in a folder; none if it cannot be read."""

    def free_bytes(self, path: str) -> int:
        """Return the bytes that are free on the file system of an existing path."""

    def cpus(self) -> int:
        """Return the number of CPUs."""

    def uid(self) -> int:
        """Return the effective user's id."""

    def has_program(self, name: str) -> bool:
        """Tell whether a program is on the PATH."""

    def has_python_module(self, name: str) -> bool:
        """Tell whether this interpreter finds a Python module."""

    def year(self) -> int:
        """Return the year that the clock shows."""

    def has_address(self, address: str) -> bool:
        """Tell whether an address is one of this host's."""


class RealSystem:
    """This host."""

    def read(self, path: str) -> str:
        """Return a file's text; empty if it cannot be read."""
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or folder."""
        return os.path.exists(path)

    def entries(self, path: str) -> list[str]:
        """Return the names in a folder; none if it cannot be read."""
        try:
            return sorted(os.listdir(path))
        except OSError:
            return []

    def free_bytes(self, path: str) -> int:
        """Return the bytes that are free on the file system of an existing path."""
        return shutil.disk_usage(path).free

    def cpus(self) -> int:
        """Return the number of CPUs."""
        return os.cpu_count() or 1

    def uid(self) -> int:
        """Return the effective user's id."""
        return os.geteuid()

    def has_program(self, name: str) -> bool:
        """Tell whether a program is on the PATH."""
        return shutil.which(name) is not None

    def has_python_module(self, name: str) -> bool:
        """Tell whether this interpreter finds a Python module."""
        return importlib.util.find_spec(name) is not None

    def year(self) -> int:
        """Return the year that the clock shows."""
        return datetime.now(UTC).year

    def has_address(self, address: str) -> bool:
        """Tell whether an address is one of this host's."""
        try:
            # The kernel lets nobody have a socket at another's.
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((address, 0))
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Inputs:
    """What the inventory gives: variables, secrets, and what the repository answered (None if it was not asked).

    :ivar supplied: names of required secrets that need not be given.
    """

    variables: Mapping[str, Any]
    secrets: Any
    required_secrets: tuple[str, ...]
    repository: Mapping[str, Any] | None
    supplied: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Limits:
    """What the host has to have at least, and the systems by id with their versions."""

    cpus: int
    memory_mb: int
    disk_gb: float
    docker: str
    compose: str
    supported: Mapping[str, tuple[str, ...]]

    @classmethod
    def from_parameters(cls, minimum: Mapping[str, Any], supported: Sequence[Mapping[str, Any]]) -> Limits:
        """Build the limits from the module's options."""
        return cls(
            cpus=minimum["cpus"],
            memory_mb=minimum["memory_mb"],
            disk_gb=minimum["disk_gb"],
            docker=minimum["docker"],
            compose=minimum["compose"],
            supported={system["id"]: tuple(system["versions"]) for system in supported},
        )


@dataclass(frozen=True)
class Host:
    """The facts of a host.

    :ivar disk_folder: the folder with the least free space, of those that the deployment fills.
    :ivar docker: version of the engine that answers; empty if none does.
    :ivar docker_client: whether the program docker is there.
    :ivar docker_unit: systemd's word for the engine's unit; empty without systemd.
    :ivar local_repository: whether the repository is a folder that exists here.
    :ivar container: whether the host is one itself, so that its clock is another's.
    :ivar time_daemon: the program that sets the clock; empty if there is none.
    """

    os: str
    os_version: str
    os_name: str
    cpus: int
    memory_mb: int
    disk_gb: float
    disk_folder: str
    root: bool
    systemd: bool
    docker: str
    docker_client: bool
    docker_unit: str
    compose: str
    git: bool
    python_apt: bool
    apt_lists: bool
    checkout: bool
    local_repository: bool
    container: bool
    time_daemon: str

    def to_dict(self) -> dict[str, Any]:
        """Return the facts that later roles ask for."""
        return {
            "os": self.os,
            "os_version": self.os_version,
            "cpus": self.cpus,
            "memory_mb": self.memory_mb,
            "disk_gb": self.disk_gb,
            "docker": self.docker,
            "compose": self.compose,
            "git": self.git,
            "python_apt": self.python_apt,
            "checkout": self.checkout,
            "container": self.container,
            "time_daemon": self.time_daemon,
            "ready_for_apt": self.python_apt and self.apt_lists,
            "ready_for_stack": bool(self.docker and self.compose and self.git and self.checkout),
        }


def read_host(variables: Mapping[str, Any], system: System, runner: Runner) -> Host:
    """Read the facts; a variable that is malformed leaves its fact at "not there"."""
    release = parse_os_release(system.read("/etc/os-release"))
    home = _folder(variables.get("scheduler_home"))
    disk_gb, disk_folder = least_space([_folder(variables.get("scheduler_state_dir")), home, _DOCKER_FOLDER], system)
    systemd = system.exists("/run/systemd/system")
    client = system.has_program("docker")
    repository = variables.get("scheduler_repo")
    return Host(
        os=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        os_name=release.get("PRETTY_NAME", ""),
        cpus=system.cpus(),
        memory_mb=parse_memory(system.read("/proc/meminfo")),
        disk_gb=disk_gb,
        disk_folder=disk_folder,
        root=system.uid() == 0,
        systemd=systemd,
        docker=_answer(["docker", "version", "--format", "{{.Server.Version}}"], runner) if client else "",
        docker_client=client,
        docker_unit=_answer(["systemctl", "is-active", "docker.service"], runner, any_rc=True) if client and systemd else "",
        compose=_answer(["docker", "compose", "version", "--short"], runner) if client else "",
        git=system.has_program("git"),
        python_apt=system.has_python_module("apt_pkg"),
        apt_lists=any(name.endswith(("_Packages", "_Packages.lz4", "_InRelease", "_Release")) for name in system.entries(_APT_LISTS)),
        checkout=_has_checkout(home, variables.get("scheduler_compose_files"), system),
        local_repository=isinstance(repository, str) and is_local(repository) and system.exists(local_path(repository)),
        container=system.exists("/run/systemd/container"),
        time_daemon=next((name for path, name in _TIME_DAEMONS.items() if system.exists(path)), ""),
    )


def parse_os_release(text: str) -> dict[str, str]:
    """Parse ``/etc/os-release``; a line that is none is skipped."""
    values = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.lstrip().startswith("#"):
            try:
                values[name.strip()] = " ".join(shlex.split(value))
            except ValueError:
                continue
    return values


def parse_memory(text: str) -> int:
    """Return the MB (1024 x 1024) of ``MemTotal`` in ``/proc/meminfo``; 0 if it is not there."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    return int(match.group(1)) // 1024 if match else 0


def version_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers that a version starts with ("v2.26.1-4" is 2, 26, 1); none if it starts with none."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
    return tuple(int(number) for number in match.group(1).split(".")) if match else ()


def _folder(value: object) -> str:
    return value if isinstance(value, str) and value.startswith("/") and "\0" not in value else ""


def least_space(folders: Sequence[str], system: System) -> tuple[float, str]:
    """Return the least free GB (10^9 bytes) of the folders' file systems, and the folder."""
    space = []
    for folder in filter(None, folders):
        existing = folder
        while existing != "/" and not system.exists(existing):
            existing = os.path.dirname(existing.rstrip("/")) or "/"
        space.append((round(system.free_bytes(existing) / 1e9, 1), folder))
    return min(space, key=lambda entry: entry[0])


def _answer(argv: Sequence[str], runner: Runner, *, any_rc: bool = False) -> str:
    """Return the first line that a command prints; empty if it fails."""
    result = runner.run(argv, timeout=10.0)
    lines = result.stdout.strip().splitlines()
    return lines[0].strip() if lines and (any_rc or result.rc == 0) and not result.timed_out else ""


def _has_checkout(home: str, files: object, system: System) -> bool:
    names = [name for name in files if isinstance(name, str) and "\0" not in name] if isinstance(files, list) else []
    return bool(home and names) and all(system.exists(os.path.join(home, name)) for name in names)


def decide(inputs: Inputs, host: Host, limits: Limits) -> list[Finding]:
    """Return all reasons not to deploy: variables, secrets, repository, host."""
    secret_names = {str(name) for name in inputs.secrets} if isinstance(inputs.secrets, dict) else set()
    findings = check_variables(inputs.variables, frozenset(secret_names | set(inputs.required_secrets)))
    findings += check_secrets(inputs.secrets, inputs.required_secrets, inputs.supplied)
    findings += _repository(inputs, host, {finding.subject for finding in findings})
    return findings + _machine(host, limits) + _docker(host, limits)


def _repository(inputs: Inputs, host: Host, wrong: set[str]) -> list[Finding]:
    """Return what the repository's answer tells, unless its variables are malformed anyway."""
    answer = inputs.repository
    if answer is None or wrong & {"scheduler_repo", "scheduler_version"}:
        return []
    if answer.get("finding"):
        return [Finding.from_dict(answer["finding"])]
    address = str(inputs.variables["scheduler_repo"])
    if not answer.get("git"):
        if is_local(address):
            return [] if host.local_repository else [_no_folder(address)]
        remedy = "Install git on one of them (apt-get install git), so that the repository can be asked before anything is changed."
        return [Finding("git", "git neither on the server nor on the controller", "git on one of them", remedy)]
    if not answer.get("reachable"):
        remedy = f"Correct scheduler_repo, or the network; try `git ls-remote {redact_url(address)}`."
        return [Finding("scheduler_repo", f"{redact_url(address)} unreachable", "a repository that answers", remedy)]
    return []


def _no_folder(address: str) -> Finding:
    remedy = "Correct scheduler_repo, or put the repository there."
    return Finding("scheduler_repo", f"{show(address)}, which does not exist on the server", "a folder on the server", remedy)


def _machine(host: Host, limits: Limits) -> list[Finding]:
    findings = []
    if not host.root:
        findings.append(Finding("become", "an ordinary user", "root", "Set become: true for the play, or run with --become."))
    if host.os_version not in limits.supported.get(host.os, ()):
        wanted = "; ".join(f"{name} {' or '.join(versions)}" for name, versions in limits.supported.items())
        name = host.os_name or f"{host.os} {host.os_version}".strip() or "an unknown system without /etc/os-release"
        remedy = "Use a supported server, or add this system to preflight_supported once you have tried it."
        findings.append(Finding("operating system", f"{name} (ID {host.os or 'unknown'})", wanted, remedy))
    if not host.systemd:
        findings.append(Finding("systemd", "another init", "systemd", "Use a server that systemd runs; Docker is started by it."))
    if host.cpus < limits.cpus:
        findings.append(_too_little("cpus", f"{host.cpus}", f"{limits.cpus} or more", "cpus", "Give the server more CPUs"))
    if host.memory_mb < limits.memory_mb * _MEMORY_TOLERANCE:
        wanted = f"{limits.memory_mb} MB or more (10 % less is accepted)"
        findings.append(_too_little("memory", f"{host.memory_mb} MB", wanted, "memory_mb", "Give the server more memory"))
    if host.disk_gb < limits.disk_gb:
        found = f"{host.disk_gb:g} GB free for {host.disk_folder}"
        findings.append(_too_little("disk", found, f"{limits.disk_gb:g} GB or more", "disk_gb", "Free some space there, or add some"))
    return findings


def _too_little(subject: str, found: str, wanted: str, name: str, remedy: str) -> Finding:
    return Finding(subject, found, wanted, f"{remedy}; preflight_minimum.{name} sets this limit.")


def _docker(host: Host, limits: Limits) -> list[Finding]:
    """Return what is wrong with a Docker that is there; a bare server has none yet."""
    findings = []
    if host.docker_client and not host.docker and host.docker_unit in _MEANT_TO_RUN:
        found = f"no answer from the engine, whose unit is {host.docker_unit}"
        remedy = "Look at `journalctl -u docker -n 50`, then `systemctl restart docker`."
        findings.append(Finding("docker", found, "an engine that answers", remedy))
    upgrade = "Upgrade it (packages docker-ce and docker-compose-plugin of download.docker.com, or the distribution's), or remove it."
    for subject, found, wanted in (("docker", host.docker, limits.docker), ("compose", host.compose, limits.compose)):
        if found and version_numbers(found) < version_numbers(wanted):
            findings.append(Finding(subject, show(found), f"{wanted} or newer", upgrade))
    return findings
