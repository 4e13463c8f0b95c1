# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall's rules, and what is read of a host; molecule's scenario server connects to real ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.firewall import (
    Found,
    Listener,
    Opening,
    Wanted,
    check_interfaces,
    closes,
    foreign,
    is_done,
    parse_listeners,
    parse_openings,
    parse_uplinks,
    refuse,
    render,
    ways_in,
)
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

BRIDGES = ("docker0", "br-*")
PUBLIC = (Opening("80"), Opening("443"))
WANTED = Wanted(PUBLIC, (Opening("22"),), BRIDGES)


def entry(port: object, protocol: str = "tcp", sources: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"port": port, "protocol": protocol, "from": list(sources)}


def chain(text: str, name: str) -> list[str]:
    """Return the rules of one chain."""
    return [line.strip() for line in text.partition(f"chain {name} {{")[2].partition("\t}")[0].strip().splitlines()]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (entry("9100"), Opening("9100")),
        (entry("9100-9110", "udp"), Opening("9100-9110", "udp")),
        (entry("53", "udp", ("192.0.2.1", "2001:db8::/32")), Opening("53", "udp", ("192.0.2.1/32", "2001:db8::/32"))),
        # nft would refuse networks that overlap.
        (entry("22", sources=("10.1.0.0/16", "10.0.0.0/8", "10.2.3.4")), Opening("22", "tcp", ("10.0.0.0/8",))),
    ],
)
def test_openings(given: dict[str, Any], expected: Opening) -> None:
    assert parse_openings([given]) == (expected,)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (entry("0"), "'0' is no port"),
        (entry("65536"), "'65536' is no port"),
        (entry("http"), "'http' is no port"),
        (entry("90-80"), "'90-80' is no port"),
        (entry("80-80"), "'80-80' is no port"),
        (entry("80; flush ruleset"), "is no port"),
        (entry("80", sources=("10.0.0.1/8",)), "'10.0.0.1/8' is no network"),
        (entry("80", sources=("ward.example.org",)), "is no network"),
    ],
)
def test_a_malformed_opening_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_openings([given])
    assert named in caught.value.message()


def test_the_rules_for_the_host() -> None:
    rules = chain(render(WANTED), "input")
    assert rules[0] == "type filter hook input priority filter - 10; policy drop;"
    assert rules[-4:] == ["tcp dport 22 accept", "tcp dport 80 accept", "tcp dport 443 accept", "counter"]
    assert {'iifname "lo" accept', "ct state established,related accept", 'iifname "br-*" accept'} < set(rules)
    # Without the neighbour discovery in it, IPv6 would end.
    assert "meta l4proto { icmp, ipv6-icmp } accept" in rules


def test_the_rules_for_what_docker_publishes() -> None:
    text = render(WANTED)
    assert chain(text, "forward") == [
        "type filter hook forward priority filter - 10; policy accept;",
        "ct state established,related accept",
        'iifname "docker0" accept',
        'iifname "br-*" accept',
        "ct status dnat goto published",
        'oifname "docker0" goto published',
        'oifname "br-*" goto published',
    ]
    # SSH is the host's, and nothing that Docker publishes.
    assert chain(text, "published") == [
        "meta l4proto tcp ct original proto-dst 80 accept",
        "meta l4proto tcp ct original proto-dst 443 accept",
        "counter drop",
    ]


def test_sources_by_their_family() -> None:
    text = render(Wanted((Opening("53", "udp", ("192.0.2.0/24", "192.0.3.1/32", "2001:db8::/32")),), (), BRIDGES))
    assert chain(text, "published")[:2] == [
        "ip saddr { 192.0.2.0/24, 192.0.3.1/32 } meta l4proto udp ct original proto-dst 53 accept",
        "ip6 saddr { 2001:db8::/32 } meta l4proto udp ct original proto-dst 53 accept",
    ]


def test_only_our_table_is_ever_touched() -> None:
    statements = [line for line in render(WANTED).splitlines() if line and not line.startswith(("#", "\t", "}"))]
    assert statements == [
        "table inet residency_scheduler",
        "delete table inet residency_scheduler",
        "table inet residency_scheduler {",
    ]


def test_who_listens(recorded) -> None:
    assert parse_listeners(recorded("ss-6.15-listening.txt")) == [
        Listener("0.0.0.0", 22, "sshd"),
        Listener("0.0.0.0", 80, "docker-proxy"),
        Listener("0.0.0.0", 9000, "python3"),
        Listener("127.0.0.1", 41569, "containerd"),
        Listener("127.0.0.11", 34043, ""),
        Listener("[::]", 22, "sshd"),
        Listener("[::]", 80, "docker-proxy"),
        Listener("0.0.0.0", 51820, "", "udp"),
        Listener("127.0.0.1", 323, "chronyd", "udp"),
        Listener("0.0.0.0", 68, "dhclient", "udp"),
    ]


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.0.0.53%lo", True),
        ("[::1]", True),
        ("[::ffff:127.0.0.1]", True),
        ("*", False),
        ("[::]", False),
        ("192.0.2.1", False),
    ],
)
def test_who_is_reached_from_outside(address: str, local: bool) -> None:
    assert Listener(address, 1, "x").is_local() is local


@pytest.mark.parametrize(
    ("listeners", "connection", "expected"),
    [
        ([Listener("0.0.0.0", 22, "sshd"), Listener("[::]", 22, "sshd")], 22, ["22"]),
        ([Listener("0.0.0.0", 22, "sshd"), Listener("[::]", 2022, "sshd")], 0, ["22", "2022"]),
        # systemd holds the socket of ssh.socket until the first connection.
        ([Listener("*", 22, "systemd")], 0, ["22"]),
        ([Listener("*", 22, "systemd"), Listener("*", 111, "rpcbind")], 22, ["22"]),
        ([Listener("127.0.0.1", 2222, "sshd")], 0, []),
    ],
)
def test_the_ways_in_stay_open(listeners: list[Listener], connection: int, expected: list[str]) -> None:
    assert [opening.port for opening in ways_in(listeners, connection, ())] == expected


def test_ssh_may_be_for_some_only() -> None:
    assert ways_in([], 22, ["192.0.2.7"]) == (Opening("22", "tcp", ("192.0.2.7/32",)),)


def test_what_is_going_to_be_closed_is_named() -> None:
    wanted = Wanted((Opening("80"), Opening("9100-9110"), Opening("161", "udp")), (Opening("22"),), BRIDGES)
    listeners = [
        Listener("0.0.0.0", 22, "sshd"),
        Listener("[::]", 80, "docker-proxy"),
        Listener("*", 9105, "exporter"),
        Listener("127.0.0.1", 25, "exim4"),
        Listener("0.0.0.0", 8000, "docker-proxy"),
        Listener("[::]", 8000, "docker-proxy"),
        Listener("0.0.0.0", 161, ""),
        Listener("0.0.0.0", 161, "snmpd", "udp"),
        Listener("0.0.0.0", 51820, "", "udp"),
        Listener("0.0.0.0", 68, "dhclient", "udp"),
    ]
    told = [listener.told() for listener in closes(wanted, listeners)]
    assert told == ["161 (a program that is not shown)", "8000 (docker-proxy)", "51820/udp (a program that is not shown)"]


OPEN, SSH = (Opening("80"),), (Opening("22"),)


@pytest.mark.parametrize(
    ("public", "ssh", "closed", "words"),
    [
        (OPEN, SSH, [Listener("*", 9000, "python3"), Listener("*", 161, "snmpd", "udp")], ""),
        (OPEN, (), [], "no port was found on which SSH comes in"),
        ((*OPEN, Opening("22")), (), [], ""),
        (OPEN, SSH, [Listener("0.0.0.0", 51820, "", "udp")], "51820/udp (a program that is not shown)"),
        (OPEN, SSH, [Listener("*", 1194, "openvpn", "udp")], "1194/udp (openvpn)"),
        (OPEN, SSH, [Listener("0.0.0.0", 5678, "docker-proxy")], "5678 (docker-proxy)"),
    ],
)
def test_nobody_is_shut_out(public: tuple[Opening, ...], ssh: tuple[Opening, ...], closed: list[Listener], words: str) -> None:
    wanted = Wanted(public, ssh, BRIDGES)
    if not words:
        refuse(wanted, closed)
        return
    with pytest.raises(Problem) as caught:
        refuse(wanted, closed)
    assert words in caught.value.message()
    assert "server_firewall_allow" in caught.value.message()


ROUTES = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	804DD50A	0003	0	0	0	00000000	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
"""
ROUTES6 = f"""{"0" * 32} 00 {"0" * 32} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003      ens3
{"0" * 32} 00 {"0" * 32} 00 {"0" * 32} ffffffff 00000001 00000000 00200200       lo
"""


def test_uplinks() -> None:
    assert parse_uplinks(ROUTES, ROUTES6) == {"eth0", "ens3"}
    assert parse_uplinks("", "") == set()


@pytest.mark.parametrize(
    ("interfaces", "uplinks", "named"),
    [
        (["docker0", "br-*"], {"br-lan"}, "br-lan, which leads to other hosts"),
        (["docker0"], {"docker0"}, "docker0, which leads"),
        (["*"], set(), "'*' is no name"),
        (['docker0" accept; #'], set(), "is no name"),
    ],
)
def test_interfaces_through_which_the_world_would_come_in(interfaces: list[str], uplinks: set[str], named: str) -> None:
    with pytest.raises(Problem) as caught:
        check_interfaces(interfaces, uplinks)
    assert named in caught.value.message()


def test_the_bridges_of_docker_are_no_uplinks() -> None:
    assert check_interfaces(BRIDGES, {"eth0", "ens3"}) == BRIDGES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nft-1.0.6-ruleset-firewalld.json", "the table of nftables inet firewalld"),
        ("nft-1.0.6-ruleset-own-table.json", "the table of nftables inet mine"),
        # It refuses single addresses, and lets the rest go on.
        ("nft-1.0.6-ruleset-docker-fail2ban.json", ""),
    ],
)
def test_other_firewalls(name: str, expected: str, recorded) -> None:
    assert foreign(recorded(name), []) == expected


def test_a_policy_that_drops_is_a_firewall() -> None:
    closed = {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "policy": "drop"}
    assert foreign(json.dumps({"nftables": [{"metainfo": {}}, {"chain": closed}]}), []) == "the table of nftables ip filter"
    assert foreign(json.dumps({"nftables": [{"chain": {**closed, "hook": "forward"}}]}), []) == ""


def test_a_known_firewall_is_named() -> None:
    assert foreign("", ["ufw"]) == "ufw"


def test_something_else_than_a_ruleset_is_no_answer() -> None:
    with pytest.raises(Problem, match="Looking for another firewall failed"):
        foreign("nft: error", [])


@pytest.mark.parametrize(
    ("loaded", "listed", "saved", "done"),
    [("a", "a", True, True), ("a", "a", False, False), ("", "a", True, False), ("b", "a", True, False), ("", "", True, False)],
)
def test_what_is_done(loaded: str, listed: str, saved: bool, done: bool) -> None:
    assert is_done(Found(loaded, listed, saved)) is done
