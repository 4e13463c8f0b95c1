# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks for names and connects to ports. Runs with the host's Python in the network of a container, which may have no Python."""

from __future__ import annotations

import os
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def main(targets: list[list[Any]], servers: list[str], hosts: dict[str, str], timeout: float) -> dict[str, Any]:
    """Return how each of *targets*, a name and a port, is reached.

    :arg servers: name servers of the container.
    :arg hosts: addresses that its ``/etc/hosts`` has.
    :arg timeout: seconds for a name server, and for a connection.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(targets))) as pool:
        return {"reached": list(pool.map(lambda target: _reach(str(target[0]), int(target[1]), servers, hosts, timeout), targets))}


def _reach(name: str, port: int, servers: list[str], hosts: dict[str, str], timeout: float) -> dict[str, Any]:
    started, address, error = time.monotonic(), "", ""
    try:
        address = hosts.get(name) or _resolve(name, servers, timeout)
        with socket.create_connection((address, port), timeout=timeout):
            pass
    except TimeoutError:
        error = f"no answer within {timeout:.0f} s"
    except (OSError, ValueError) as failure:
        error = getattr(failure, "strerror", None) or str(failure)
    return {"name": name, "port": port, "address": address, "error": error, "seconds": round(time.monotonic() - started, 3)}


def _resolve(name: str, servers: list[str], timeout: float) -> str:
    """Return the first IPv4 address of *name*.

    By hand: the resolver of the C library would read the host's settings, not the container's.
    """
    failure = "the container has no name server"
    for server in (item for item in servers if ":" not in item):
        try:
            return ask(name, server, timeout)
        except (TimeoutError, OSError, ValueError) as error:
            failure = f"name server {server}: {error}"
    raise ValueError(failure)


def ask(name: str, server: str, timeout: float, port: int = 53) -> str:
    """Return the first IPv4 address that a name server has for *name* (RFC 1035).

    :raises ValueError: there is none.
    """
    number = os.urandom(2)
    question = b"".join(bytes([len(label)]) + label for label in name.encode().split(b".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect((server, port))
        # Recursion desired, one question: type A, class IN.
        sock.send(number + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + question + struct.pack(">HH", 1, 1))
        answer = sock.recv(4096)
    if answer[:2] != number:
        raise ValueError("an answer to another question")
    code, count = answer[3] & 0x0F, struct.unpack(">H", answer[6:8])[0]
    at = 12 + len(question) + 4
    for _number in range(count):
        at = _skip_name(answer, at)
        kind, _class, _ttl, length = struct.unpack(">HHIH", answer[at : at + 10])
        if kind == 1:
            return socket.inet_ntoa(answer[at + 10 : at + 10 + length])
        at += 10 + length
    raise ValueError(f"{name} is not known (code {code})")


def _skip_name(answer: bytes, at: int) -> int:
    """Return where a name in an answer ends: labels up to an empty one, or a pointer of two bytes."""
    while answer[at]:
        if answer[at] & 0xC0:
            return at + 2
        at += answer[at] + 1
    return at + 1
