# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a deployment's way on a server that is in use: who listens on its ports, and local changes in its checkout."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Sequence

from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, show

#: State of a listening socket in /proc/net/tcp (Linux, include/net/tcp_states.h).
_LISTEN = "0A"
#: Local changes that are named.
_NAMED = 5


def check_ports(ports: Sequence[int], project: str, runner: Runner | None) -> list[Finding]:
    """Return a finding for each port that somebody else has: a container of another project, or a process of the host.

    :arg project: name of the compose project whose own containers may have them.
    :arg runner: None where there is no Docker.
    """
    findings = []
    listening = read_listeners(ports)
    for port in ports:
        containers = _publishing(port, runner) if runner else {}
        foreign = sorted(name for name, owner in containers.items() if owner != project)
        if foreign:
            remedy = f"Stop it (docker stop {foreign[0]}), or give it another port."
            findings.append(_taken(port, f"published by the container {', '.join(foreign)}", remedy))
        # The stack's own containers are behind Docker's process there.
        elif port in listening and not containers:
            name, pid = listening[port]
            remedy = f"Look at `ps -fp {pid}`, stop that service and keep it from starting again, or give it another port."
            findings.append(_taken(port, f"in use by {name} (process {pid})" if pid else "in use by a process that is not shown", remedy))
    return findings


def _taken(port: int, found: str, remedy: str) -> Finding:
    return Finding(f"port {port}", found, "a free port, or the stack's own proxy", f"{remedy} preflight_ports lists what is looked at.")


def _publishing(port: int, runner: Runner) -> dict[str, str]:
    """Return the containers that publish a port, and their compose projects."""
    words = ["docker", "ps", "--filter", f"publish={port}", "--format", '{{.Names}}|{{.Label "com.docker.compose.project"}}']
    result = runner.run(words, timeout=10)
    # A container's own port of that number, which it publishes under another one, matches Docker's filter too.
    found = dict(line.partition("|")[::2] for line in result.stdout.splitlines() if "|" in line)
    return {name: owner for name, owner in found.items() if _publishes(name, port, runner)}


def _publishes(container: str, port: int, runner: Runner) -> bool:
    words = ["docker", "port", container]
    return any(line.rstrip().endswith(f":{port}") for line in runner.run(words, timeout=10).stdout.splitlines())


def read_listeners(ports: Collection[int]) -> dict[int, tuple[str, int]]:
    """Return name and process id of those who listen on one of *ports*; the id is 0 where that process is not shown."""
    inodes: dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for fields in (line.split() for line in _lines(table)[1:]):
            port = int(fields[1].rpartition(":")[2], 16)
            if fields[3] == _LISTEN and port in ports:
                inodes[fields[9]] = port
    found: dict[int, tuple[str, int]] = dict.fromkeys(inodes.values(), ("", 0))
    for path in glob.glob("/proc/[0-9]*/fd/*") if inodes else []:
        try:
            inode = os.readlink(path).removeprefix("socket:[").removesuffix("]")
        except OSError:  # it has ended since
            continue
        if inode in inodes:
            pid = int(path.split("/")[2])
            found[inodes[inode]] = ("".join(_lines(f"/proc/{pid}/comm")).strip() or "a process", pid)
    return found


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.readlines()
    except OSError:
        return []


def check_checkout(home: str, marker: str, runner: Runner) -> list[Finding]:
    """Return a finding where tracked files of the checkout have local changes; a run that was cut left those that the marker tells of."""
    if not os.path.isdir(os.path.join(home, ".git")) or os.path.exists(marker):
        return []
    result = runner.run(["git", "-C", home, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no"], timeout=30)
    if "dubious ownership" in result.stderr:
        # Git would refuse to fetch there as well.
        remedy = f"Give it to that user (`chown -R root: {home}`), or allow it: `git config --global --add safe.directory {home}`."
        return [Finding("scheduler_home", "a checkout of another user, which git refuses to read", "one of the user that deploys", remedy)]
    names = [line[3:] for line in result.stdout.splitlines()] if result.rc == 0 else []
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    remedy = f"Look at `git -C {home} diff`; keep what is wanted by `git -C {home} stash`."
    found = f"local changes in {show(', '.join(names[:_NAMED]))}{more}"
    return [Finding("scheduler_home", found, "files as their commit has them", remedy)]


def check_certbot(program: bool, runner: Runner) -> list[Finding]:
    """Return a finding where certbot is to be used, and can be neither called nor installed.

    :arg program: whether it is there already.
    """
    if program or runner.run(["apt-cache", "show", "--no-all-versions", "certbot"], timeout=20).rc == 0:
        return []
    remedy = "Run `apt-get update`, or add the part of the distribution that has it (Ubuntu: universe)."
    return [Finding("certbot", "no such package", "certbot of the distribution, for environment_certificate: acme", remedy)]
