# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine at this hour: its clock, its last start, and where the domain's name leads."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.finding import WARNS, Finding, show

#: Before it, this collection did not exist: a clock that shows such a year was never set.
_FIRST_YEAR = 2025
_JUST_STARTED = 120.0
_REBOOT_REQUIRED = "/var/run/reboot-required"
#: Names that no DNS answers for (RFC 6761), or that are examples.
_NO_DNS = ("localhost", "test", "example")
_LOOKUP_SECONDS = 5.0
#: Packages that are named.
_NAMED = 5


class System(Protocol):
    """What is asked of the host."""

    def read(self, path: str) -> str:
        """Return a file's text; empty if it cannot be read."""

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or folder."""

    def has_program(self, name: str) -> bool:
        """Tell whether a program is on the PATH."""

    def year(self) -> int:
        """Return the year that the clock shows."""

    def has_address(self, address: str) -> bool:
        """Tell whether an address is one of this host's."""


@dataclass(frozen=True)
class Lookup:
    """Where a domain leads.

    :ivar addresses: those it resolves to.
    :ivar own: those of them that are this host's.
    :ivar timed_out: the resolver did not answer.
    """

    domain: str
    addresses: tuple[str, ...]
    own: tuple[str, ...]
    timed_out: bool = False


@dataclass(frozen=True)
class Machine:
    """What was found.

    :ivar synchronized: whether the clock follows others; None where nobody knows.
    :ivar uptime: seconds since the start; None where it is not told.
    :ivar reboot_required: whether a package asks for a restart, and
    :ivar reboot_packages: which ones do.
    :ivar lookup: None where the domain was not looked up.
    """

    year: int
    synchronized: bool | None
    uptime: float | None
    reboot_required: bool
    reboot_packages: tuple[str, ...]
    lookup: Lookup | None


def read_machine(domain: str, system: System, runner: Runner) -> Machine:
    """Read the machine; an empty domain is not looked up."""
    uptime = system.read("/proc/uptime").split()
    pending = system.exists(_REBOOT_REQUIRED)
    return Machine(
        year=system.year(),
        synchronized=_synchronized(system, runner),
        uptime=float(uptime[0]) if uptime else None,
        reboot_required=pending,
        reboot_packages=tuple(dict.fromkeys(system.read(f"{_REBOOT_REQUIRED}.pkgs").split())) if pending else (),
        lookup=_look_up(domain, system, runner) if domain and has_dns(domain) and system.has_program("getent") else None,
    )


def _synchronized(system: System, runner: Runner) -> bool | None:
    if not system.exists("/run/systemd/system") or not system.has_program("timedatectl"):
        return None
    answer = runner.run(["timedatectl", "show", "-p", "NTPSynchronized"], timeout=10).stdout.strip()
    return {"NTPSynchronized=yes": True, "NTPSynchronized=no": False}.get(answer)


def has_dns(domain: str) -> bool:
    """Tell whether a domain is a name that DNS may know, and no address."""
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return domain.lower().rstrip(".").rpartition(".")[2] not in _NO_DNS
    return False


def _look_up(domain: str, system: System, runner: Runner) -> Lookup:
    # getaddrinfo itself has no deadline.
    result = runner.run(["getent", "ahosts", domain], timeout=_LOOKUP_SECONDS)
    addresses = tuple(dict.fromkeys(line.split()[0] for line in result.stdout.splitlines() if line.strip()))
    return Lookup(domain, addresses, tuple(address for address in addresses if system.has_address(address)), result.timed_out)


def decide(machine: Machine, addresses: Collection[str]) -> list[Finding]:
    """Return the findings. Pure.

    :arg addresses: addresses of others, such as a load balancer's, that may stand for this host.
    """
    return _clock(machine) + _start(machine) + (_domain(machine.lookup, addresses) if machine.lookup else [])


def _clock(machine: Machine) -> list[Finding]:
    remedy = "Turn the synchronisation on: `timedatectl set-ntp true`, with the package systemd-timesyncd or chrony."
    if machine.year < _FIRST_YEAR:
        return [Finding("clock", f"the year {machine.year}", "the time of day", f"{remedy} Certificates and backups depend on it.")]
    if machine.synchronized is False:
        return [Finding("clock", "a clock that follows no other", "a synchronised one", remedy, WARNS)]
    return []


def _start(machine: Machine) -> list[Finding]:
    findings = []
    if machine.reboot_required:
        names = ", ".join(machine.reboot_packages[:_NAMED])
        more = f" and {len(machine.reboot_packages) - _NAMED} more" if len(machine.reboot_packages) > _NAMED else ""
        found = f"one that is pending{f', for {names}{more}' if names else ''}"
        remedy = "Restart the server in this window or the next one: `systemctl reboot`."
        findings.append(Finding("restart", found, "none", remedy, WARNS))
    if machine.uptime is not None and machine.uptime < _JUST_STARTED:
        remedy = "Find out whether that was meant (`journalctl --boot=-1 --lines=50`); services may be starting still."
        found = f"a start {machine.uptime:.0f} s ago"
        findings.append(Finding("uptime", found, f"{_JUST_STARTED:.0f} s or more", remedy, WARNS))
    return findings


def _domain(lookup: Lookup, addresses: Collection[str]) -> list[Finding]:
    wanted = "a name that leads to this server"
    if not lookup.addresses:
        why = f"does not resolve on the server{f' within {_LOOKUP_SECONDS:.0f} s' if lookup.timed_out else ''}"
        remedy = f"Add its record to the DNS, or correct scheduler_domain; try `getent ahosts {lookup.domain}`."
        return [Finding("scheduler_domain", f"{show(lookup.domain)}, which {why}", wanted, remedy, WARNS)]
    if lookup.own or set(lookup.addresses) & set(addresses):
        return []
    found = f"{show(lookup.domain)} at {', '.join(lookup.addresses[:_NAMED])}, no address of this server"
    remedy = "Correct its record in the DNS. Where a load balancer or a router stands before the server, name its address in"
    return [Finding("scheduler_domain", found, wanted, f"{remedy} preflight_addresses.", WARNS)]
