# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's firewall: which rules, and what has to be done so that exactly those are loaded. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: A table of our own: those of Docker and of others are never touched, nor do they touch this one.
TABLE = "inet residency_scheduler"
#: Programs whose ports are the way in.
_SSH = ("sshd", "dropbear")
_PORTS = re.compile(r"^(\d{1,5})(?:-(\d{1,5}))?$")
_INTERFACE = re.compile(r"^[A-Za-z0-9_.:-]{1,15}\*?$")
_LISTENER = re.compile(r'^(tcp|udp)\s+\w+\s+\d+\s+\d+\s+(\S+):(\d+)\s+\S+(?:\s+users:\(\("([^"]+)")?', re.MULTILINE)
#: systemd listens in their place until somebody comes in (ssh.socket of Ubuntu).
_SSH_PORT = 22
#: What listens for other hosts on UDP without a process is the kernel's: WireGuard, VXLAN. The others end tunnels as well.
_TUNNELS = ("", "openvpn", "charon", "pluto")
_CONTAINERS = "docker-proxy"
#: Of DHCP clients, whose answers are let in by rules of their own.
_OWN_PORTS = (68, 546)
_WHAT = "Reading the firewall's options failed"


@dataclass(frozen=True)
class Opening:
    """A port, or a range of them ("9100-9110"), that is open; to everyone where no *sources* are named."""

    port: str
    protocol: str = "tcp"
    sources: tuple[str, ...] = ()

    def includes(self, port: int) -> bool:
        """Tell whether a port is one of these."""
        first, _dash, last = self.port.partition("-")
        return int(first) <= port <= int(last or first)


@dataclass(frozen=True)
class Listener:
    """A port on which a program listens; the kernel itself where the program is empty."""

    address: str
    port: int
    program: str
    protocol: str = "tcp"

    def is_local(self) -> bool:
        """Tell whether only this host reaches it."""
        return self.address.startswith(("127.", "[::1]", "[::ffff:127."))

    def told(self) -> str:
        """Return it as people read it."""
        return f"{self.port}{'' if self.protocol == 'tcp' else '/udp'} ({self.program or 'a program that is not shown'})"


@dataclass(frozen=True)
class Wanted:
    """What the firewall lets through.

    :ivar public: to processes of the host, and to what Docker publishes.
    :ivar ssh: to processes of the host.
    :ivar interfaces: of Docker's networks; what comes from there is never touched.
    """

    public: tuple[Opening, ...]
    ssh: tuple[Opening, ...]
    interfaces: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What there is on the host.

    :ivar loaded: our table as nft lists it; empty where it is not loaded.
    :ivar listed: how nft would list the table that is wanted.
    :ivar saved: whether the files and the unit for the next boot are as they have to be.
    """

    loaded: str
    listed: str
    saved: bool


def parse_openings(entries: Sequence[Mapping[str, Any]]) -> tuple[Opening, ...]:
    """Return the openings of a module option.

    :raises Problem: a port or an address is malformed.
    """
    return tuple(_opening(str(entry["port"]), str(entry["protocol"]), entry["from"]) for entry in entries)


def _opening(port: str, protocol: str, sources: Sequence[str]) -> Opening:
    match = _PORTS.match(port)
    numbers = [int(number) for number in match.groups() if number] if match else [0]
    if not all(0 < number < 65536 for number in numbers) or numbers != sorted(set(numbers)):
        raise Problem(_WHAT, f"{port!r} is no port", "Give a number from 1 to 65535, or a range as 9100-9110.")
    return Opening(port, protocol, _networks(sources))


def _networks(sources: Sequence[str]) -> tuple[str, ...]:
    networks = [_network(source) for source in sources]
    # nft takes no networks that overlap.
    ipv4 = ipaddress.collapse_addresses(network for network in networks if isinstance(network, ipaddress.IPv4Network))
    ipv6 = ipaddress.collapse_addresses(network for network in networks if isinstance(network, ipaddress.IPv6Network))
    return (*map(str, ipv4), *map(str, ipv6))


def _network(source: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(source)
    except ValueError as error:
        raise Problem(_WHAT, f"{source!r} is no network ({error})", "Give an address, or a network as 192.0.2.0/24.") from error


def ways_in(listeners: Iterable[Listener], connection_port: int, sources: Sequence[str]) -> tuple[Opening, ...]:
    """Return the openings for SSH: where sshd listens, and where the connection of this very run came in."""
    ports = {
        listener.port
        for listener in listeners
        if (listener.program in _SSH or (listener.program == "systemd" and listener.port == _SSH_PORT)) and not listener.is_local()
    }
    networks = _networks(sources)
    return tuple(Opening(str(port), "tcp", networks) for port in sorted(ports | ({connection_port} if connection_port else set())))


def parse_listeners(text: str) -> list[Listener]:
    """Parse ``ss --no-header --listening --tcp --udp --numeric --processes``."""
    return [Listener(address, int(port), program, protocol) for protocol, address, port, program in _LISTENER.findall(text)]


def closes(wanted: Wanted, listeners: Iterable[Listener]) -> list[Listener]:
    """Return what is reached from outside today, and would be no more; one of each port."""
    openings = (*wanted.public, *wanted.ssh)
    found = {
        (listener.port, listener.protocol): listener
        for listener in listeners
        if not listener.is_local()
        and not any(opening.includes(listener.port) and opening.protocol == listener.protocol for opening in openings)
        and not (listener.protocol == "udp" and listener.port in _OWN_PORTS)
    }
    return [found[key] for key in sorted(found)]


def refuse(wanted: Wanted, closed: Sequence[Listener]) -> None:
    """Refuse rules that would shut somebody out who is meant to come in.

    :raises Problem: there is no way in by SSH, or a tunnel ends here, or a container publishes a port, that nobody has named.
    """
    ways = [*wanted.ssh, *(opening for opening in wanted.public if opening.includes(_SSH_PORT) and opening.protocol == "tcp")]
    doubtful = [item for item in closed if item.program == _CONTAINERS or (item.protocol == "udp" and item.program in _TUNNELS)]
    if not ways:
        why = "no port was found on which SSH comes in"
    elif doubtful:
        why = f"it would close {', '.join(item.told() for item in doubtful)}: what containers publish, or the end of a tunnel"
    else:
        return
    remedy = "Name what has to stay open in server_firewall_allow ([{port: 51820, protocol: udp}]); server_firewall: false goes without."
    raise Problem("Loading the firewall was refused", why, f"Nothing was loaded. {remedy} docs/server.md has more.")


def parse_uplinks(ipv4: str, ipv6: str) -> set[str]:
    """Return the interfaces of default routes, of ``/proc/net/route`` and ``/proc/net/ipv6_route``."""
    rows = [line.split() for line in ipv4.splitlines()[1:]]
    rows6 = [line.split() for line in ipv6.splitlines()]
    found = {row[0] for row in rows if row[1] == row[7] == "00000000"}
    return found | {row[9] for row in rows6 if row[0] == "0" * 32 and row[1] == "00" and row[9] != "lo"}


def check_interfaces(interfaces: Sequence[str], uplinks: Iterable[str]) -> tuple[str, ...]:
    """Return Docker's interfaces.

    :raises Problem: one is no name, or the whole world comes in through it.
    """
    for name in interfaces:
        if not _INTERFACE.match(name):
            raise Problem(_WHAT, f"{name!r} is no name of an interface", "Give a name, or its beginning and * (br-*).")
    for uplink in sorted(uplinks):
        if any(fnmatchcase(uplink, name) for name in interfaces):
            why = f"{uplink}, which leads to other hosts, is among the interfaces of Docker's networks ({', '.join(interfaces)})"
            raise Problem("Loading the firewall was refused", why, "Name Docker's bridges alone in server_firewall_interfaces.")
    return tuple(interfaces)


def render(wanted: Wanted) -> str:
    """Return the file for nft; loading it replaces our table, or does nothing at all."""
    inside = [f'iifname "{name}" accept' for name in wanted.interfaces]
    into = [f'oifname "{name}" goto published' for name in wanted.interfaces]
    host = [rule for opening in (*wanted.ssh, *wanted.public) for rule in _rules(opening, "{protocol} dport {port} accept")]
    # The port that the client asked for; Docker has put the container's in its place already.
    published = [
        rule for opening in wanted.public for rule in _rules(opening, "meta l4proto {protocol} ct original proto-dst {port} accept")
    ]
    return "\n".join(
        [
            "# Written by residency.scheduler (role server): changes here are lost. `table` makes the table where it is missing,",
            "# so that `delete` works, and all of it is one transaction.",
            f"table {TABLE}",
            f"delete table {TABLE}",
            f"table {TABLE} {{",
            *_chain(
                "input",
                "type filter hook input priority filter - 10; policy drop;",
                'iifname "lo" accept',
                "ct state established,related accept",
                *inside,
                "meta l4proto { icmp, ipv6-icmp } accept",
                # Answers to a DHCP client.
                "udp sport 67 udp dport 68 accept",
                "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
                *host,
                "counter",
            ),
            # What is accepted here is still judged by Docker's own rules, which come later.
            *_chain(
                "forward",
                "type filter hook forward priority filter - 10; policy accept;",
                "ct state established,related accept",
                *inside,
                "ct status dnat goto published",
                *into,
            ),
            *_chain("published", *published, "counter drop"),
            "}",
            "",
        ]
    )


def _chain(name: str, *lines: str) -> list[str]:
    return [f"\tchain {name} {{", *(f"\t\t{line}" for line in lines), "\t}"]


def _rules(opening: Opening, form: str) -> list[str]:
    """Return a rule for each family of addresses; one where everyone may."""
    rule = form.format(protocol=opening.protocol, port=opening.port)
    if not opening.sources:
        return [rule]
    families = {"ip": [text for text in opening.sources if ":" not in text], "ip6": [text for text in opening.sources if ":" in text]}
    return [f"{family} saddr {{ {', '.join(networks)} }} {rule}" for family, networks in families.items() if networks]


def foreign(ruleset: str, services: Sequence[str]) -> str:
    """Return which other firewall judges what comes in; empty if none does.

    :arg ruleset: ``nft --json list ruleset``.
    :arg services: programs that are known to be one, and are on.
    """
    if services:
        return services[0]
    try:
        items = json.loads(ruleset)["nftables"]
    except (ValueError, KeyError) as error:
        why = f"nft --json list ruleset printed something else ({error!r})"
        raise Problem("Looking for another firewall failed", why, "Compare `nft --version`.") from error
    chains = [item["chain"] for item in items if item.get("chain", {}).get("hook") == "input" and item["chain"].get("type") == "filter"]
    names = {(chain["family"], chain["table"], chain["name"]): chain.get("policy") for chain in chains}
    closed = {name for name, policy in names.items() if policy == "drop"}
    for rule in (item["rule"] for item in items if "rule" in item):
        name = (rule["family"], rule["table"], rule["chain"])
        if name in names and _drops_all(rule["expr"]):
            closed.add(name)
    return " ".join(("the table of nftables", *min(closed)[:2])) if closed else ""


def _drops_all(expressions: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a rule drops whatever comes to it."""
    kinds = {kind for expression in expressions for kind in expression}
    return bool(kinds & {"drop", "reject"}) and not kinds & {"match", "xt", "limit"}


def is_done(found: Found) -> bool:
    """Tell whether the rules that are wanted are loaded, and will be at the next boot."""
    return found.saved and found.loaded == found.listed != ""
