# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports on which containers listen, and whether they reach each other: both as the containers' own network sees it.

The images have no netstat and no ping. The host's kernel tells the first, and the host's Python, in a container's network, finds out the
second: the name is asked of the container's own name servers, and the port is connected to.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import app_script, diagnosis_probe
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_facts import Seen

#: The state of a socket that listens (include/net/tcp_states.h of Linux).
_LISTEN = "0A"
#: Seconds that a name server, and a service, have for their answer.
TIMEOUT = 3.0


def listening(text: str) -> set[tuple[str, int]]:
    """Return addresses and ports on which something listens, from ``/proc/PID/net/tcp`` or ``tcp6``. Pure."""
    found = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTEN:
            address, _colon, port = fields[1].partition(":")
            found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """Return an address of the kernel's table: words of 32 bits in the host's order, in hexadecimal."""
    raw = b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    return str(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))


def read_listening(pid: int, proc: str = "/proc") -> list[str]:
    """Return "address:port" of each listening socket in the network of process *pid*; but for Docker's own name server."""
    found = set()
    for table in ("tcp", "tcp6"):
        found |= listening(_read(f"{proc}/{pid}/net/{table}"))
    return [f"{address}:{port}" for address, port in sorted(found, key=lambda item: (item[1], item[0])) if address != "127.0.0.11"]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:  # it has ended, or has no such table
        return ""


def examine(
    containers: Sequence[Seen], needed: Mapping[str, Mapping[str, int]], runner: Runner, secrets: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return for each running container where it listens, and how it reaches whom it needs."""
    running = [item for item in containers if item.pid]
    with ThreadPoolExecutor(max_workers=max(1, len(running))) as pool:
        reached = pool.map(lambda item: _reach(item, needed.get(item.service, {}), runner, secrets), running)
        return {
            item.name: {"listens": read_listening(item.pid), "networks": dict(item.networks), "reaches": found}
            for item, found in zip(running, reached, strict=True)
        }


def _reach(container: Seen, needed: Mapping[str, int], runner: Runner, secrets: Sequence[str]) -> list[dict[str, Any]]:
    targets = [[name, port] for name, port in sorted(needed.items()) if port]
    if not targets:
        return []
    etc = f"/proc/{container.pid}/root/etc"
    parameters = {
        "targets": targets,
        "servers": re.findall(r"^nameserver\s+(\S+)", _read(f"{etc}/resolv.conf"), re.MULTILINE),
        "hosts": parse_hosts(_read(f"{etc}/hosts")),
        "timeout": TIMEOUT,
    }
    answer = app_script.run(
        ["nsenter", "--target", str(container.pid), "--net", sys.executable, "-I", "-"],
        diagnosis_probe,
        parameters,
        runner,
        what=f"Looking from the network of {container.name} failed",
        remedy="It needs nsenter (util-linux).",
        secrets=secrets,
        timeout=3 * TIMEOUT + 10,
    )
    return list(answer["reached"])


def parse_hosts(text: str) -> dict[str, str]:
    """Return the addresses by name of an ``/etc/hosts``; the first one counts. Pure."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        for name in words[1:]:
            found.setdefault(name, words[0])
    return found
