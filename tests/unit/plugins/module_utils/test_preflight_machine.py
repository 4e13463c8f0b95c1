# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine at this hour, a row per branch; its own addresses and its resolver for real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, WARNS
from ansible_collections.residency.scheduler.plugins.module_utils.preflight import RealSystem
from ansible_collections.residency.scheduler.plugins.module_utils.preflight_machine import (
    Lookup,
    Machine,
    decide,
    has_dns,
    read_machine,
)

GOOD = Machine(2026, True, 7200.0, False, (), None)
DOMAIN = "scheduler.example.com"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"synchronized": None, "uptime": None}, None),
        ({"synchronized": False}, (WARNS, "clock", "a clock that follows no other")),
        ({"year": 1970, "synchronized": False}, (STOPS, "clock", "the year 1970")),
        ({"year": 2025}, None),
        ({"uptime": 42.4}, (WARNS, "uptime", "a start 42 s ago")),
        ({"uptime": 120.0}, None),
        ({"reboot_required": True}, (WARNS, "restart", "one that is pending")),
        ({"reboot_required": True, "reboot_packages": ("a", "b")}, (WARNS, "restart", "one that is pending, for a, b")),
        (
            {"reboot_required": True, "reboot_packages": tuple("abcdefg")},
            (WARNS, "restart", "one that is pending, for a, b, c, d, e and 2 more"),
        ),
        ({"lookup": Lookup(DOMAIN, ("192.0.2.1", "192.0.2.2"), ("192.0.2.2",))}, None),
        ({"lookup": Lookup(DOMAIN, (), ())}, (WARNS, "scheduler_domain", f'"{DOMAIN}", which does not resolve on the server')),
        (
            {"lookup": Lookup(DOMAIN, (), (), timed_out=True)},
            (WARNS, "scheduler_domain", f'"{DOMAIN}", which does not resolve on the server within 5 s'),
        ),
        (
            {"lookup": Lookup(DOMAIN, ("192.0.2.1",), ())},
            (WARNS, "scheduler_domain", f'"{DOMAIN}" at 192.0.2.1, no address of this server'),
        ),
        ({"lookup": Lookup(DOMAIN, ("192.0.2.9",), ())}, None),
    ],
)
def test_what_is_found(change: dict[str, Any], expected: tuple[str, str, str] | None) -> None:
    findings = decide(replace(GOOD, **change), ["192.0.2.9"])
    assert [(finding.severity, finding.subject, finding.found) for finding in findings] == ([expected] if expected else [])
    assert all(finding.wanted and finding.remedy for finding in findings)


@pytest.mark.parametrize(
    ("domain", "known"),
    [
        ("localhost", False),
        ("a.localhost", False),
        ("A.Test", False),
        ("a.example", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        (DOMAIN, True),
        ("scheduler", True),
    ],
)
def test_names_that_are_looked_up(domain: str, known: bool) -> None:
    assert has_dns(domain) is known


class Server:
    """A server that systemd runs, and whose address is 192.0.2.1."""

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self._files = {"/run/systemd/system": "", **(files or {})}

    def read(self, path: str) -> str:
        return self._files.get(path, "")

    def exists(self, path: str) -> bool:
        return path in self._files

    def has_program(self, name: str) -> bool:
        return name in ("timedatectl", "getent")

    def year(self) -> int:
        return 2026

    def has_address(self, address: str) -> bool:
        return address == "192.0.2.1"


def test_reading(runner) -> None:
    files = {
        "/proc/uptime": "12.34 5.67\n",
        "/var/run/reboot-required": "*** System restart required ***\n",
        "/var/run/reboot-required.pkgs": "linux-image-amd64\nlibc6\nlibc6\n",
    }
    addresses = "192.0.2.1       STREAM scheduler.example.com\n192.0.2.1       DGRAM  \n2001:db8::1     STREAM \n"
    fake = runner(("timedatectl show -p NTPSynchronized", "NTPSynchronized=no\n"), (f"getent ahosts {DOMAIN}", addresses))
    lookup = Lookup(DOMAIN, ("192.0.2.1", "2001:db8::1"), ("192.0.2.1",))
    assert read_machine(DOMAIN, Server(files), fake) == Machine(2026, False, 12.34, True, ("linux-image-amd64", "libc6"), lookup)
    assert fake.finished()


@pytest.mark.parametrize(("answer", "known"), [("NTPSynchronized=yes\n", True), ("", None), ("Failed to connect\n", None)])
def test_the_clock(runner, answer: str, known: bool | None) -> None:
    assert read_machine("", Server(), runner(("timedatectl", answer))).synchronized is known


def test_a_resolver_that_does_not_answer(runner) -> None:
    late = CommandResult(("getent",), -9, "", "", 5.0, timed_out=True)
    machine = read_machine(DOMAIN, Server(), runner(("timedatectl", ""), ("getent", late)))
    assert machine.lookup == Lookup(DOMAIN, (), (), timed_out=True)


def test_this_machine() -> None:
    system = RealSystem()
    assert system.has_address("127.0.0.1")
    assert not system.has_address("192.0.2.1")
    assert not system.has_address("2001:db8::1")
    assert not system.has_address("no address")
    assert system.year() >= 2025
    machine = read_machine("nowhere.invalid", system, SubprocessRunner())
    assert machine.uptime is not None
    assert machine.uptime > 0
    assert machine.lookup is None or machine.lookup.addresses == ()
