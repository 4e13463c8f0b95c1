#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Closes every port of the server that is not meant to be open, also those that Docker publishes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Close every port that is not meant to be open, also those that Docker publishes
version_added: 0.6.0
description:
  - Loads a table of nftables of its own, and a unit of systemd that loads it at each boot before the network is up. The tables of
    Docker and of others are never touched. A restart of Docker leaves this table alone.
  - What Docker publishes passes by the rules for the host's own ports, and by those of ufw. This table judges it by the port that the
    client asked for. What comes from containers is never touched.
  - The ports on which sshd listens, and the one by which this run came in, are open always.
  - New rules are loaded with a way back - a timer on the server takes them back after 30 seconds, unless a new connection from the
    controller has come through them. Only then are they written for the next boot.
  - Where another firewall is on (ufw, firewalld, a table of nftables that drops what comes in), nothing is loaded, and a warning tells so.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - nftables 1.0 or newer, iproute2, util-linux and systemd on the server
attributes:
  check_mode:
    support: full
    description: Lets nft load the rules in an empty network namespace, and compares. Without nft on the server it only shows them.
  diff_mode:
    support: full
    description: Shows the file of rules.
  idempotent:
    support: full
    description: Compares with the rules that the kernel has, not with a file.
options:
  state:
    description: V(absent) takes the rules, the unit and the file away.
    type: str
    choices: [present, absent]
    default: present
  ports:
    description: TCP ports that are open to everyone, those of the stack's proxy.
    type: list
    elements: int
    default: [80, 443]
  allow:
    description: More that is open.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: A port, or a range as V(9100-9110). For what Docker publishes, the port on the host.
        type: str
        required: true
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      from:
        description: Addresses and networks that may; everyone when empty.
        type: list
        elements: str
        default: []
  ssh_from:
    description:
      - Addresses and networks that reach sshd; everyone when empty. Rules that would shut the controller out take themselves back.
    type: list
    elements: str
    default: []
  interfaces:
    description:
      - Interfaces of Docker's networks, by name, or by the beginning of the name and C(*).
      - An interface with a default route is refused here, since the whole world would come in.
    type: list
    elements: str
    default: [docker0, docker_gwbridge, br-*]
  step:
    description: Set by the action plugin of this module; V(try) loads the rules with a way back, V(keep) keeps them.
    type: str
    choices: [try, keep]
    default: try
"""

EXAMPLES = r"""
- name: Close all but the proxy and SSH
  residency.scheduler.firewall:

- name: Let the monitoring in too, and SSH only from the management network
  residency.scheduler.firewall:
    allow:
      - port: "9100"
        from: [192.0.2.10]
    ssh_from: [198.51.100.0/24]
"""

RETURN = r"""
closes:
  description: Ports with their programs that were reached from outside before, and are no more.
  returned: where rules are loaded, or would be
  type: list
  elements: str
  sample: [9100 (prometheus-node)]
foreign:
  description: The other firewall for which this one was left out; empty if there is none.
  returned: O(state=present)
  type: str
  sample: ufw
ssh_ports:
  description: The ports that are open for SSH.
  returned: O(state=present)
  type: list
  elements: str
  sample: ["22"]
"""

import contextlib
import os
from collections.abc import Mapping
from typing import Any, Protocol

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import firewall
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

ARGUMENT_SPEC: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "ports": {"type": "list", "elements": "int", "default": [80, 443]},
    "allow": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "port": {"type": "str", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
            "from": {"type": "list", "elements": "str", "default": []},
        },
    },
    "ssh_from": {"type": "list", "elements": "str", "default": []},
    "interfaces": {"type": "list", "elements": "str", "default": ["docker0", "docker_gwbridge", "br-*"]},
    "step": {"type": "str", "choices": ["try", "keep"], "default": "try"},
}
RULES = "/etc/residency-scheduler/firewall.nft"
SERVICE = "residency-firewall.service"
UNIT = f"/etc/systemd/system/{SERVICE}"
AT_BOOT = f"/etc/systemd/system/sysinit.target.wants/{SERVICE}"
#: As Debian's nftables.service, whose `flush ruleset` would take this table away if it came later.
UNIT_TEXT = f"""\
# Written by residency.scheduler (role server).
[Unit]
Description=Firewall of the Residency Scheduler
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
After=nftables.service
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft --file {RULES}
ExecReload=/usr/sbin/nft --file {RULES}
ExecStop=/usr/sbin/nft delete table {firewall.TABLE}

[Install]
WantedBy=sysinit.target
"""
LISTENERS = "ss --no-header --listening --tcp --udp --numeric --processes"
LISTING = f"nft --stateless list table {firewall.TABLE}"
#: Takes rules back that nobody has kept: to those of before, or to none.
UNDO = "residency-firewall-undo"
UNDO_SECONDS = 30
UNDO_SCRIPT = f"nft --file {RULES} || nft delete table {firewall.TABLE}"


class Host(Protocol):
    """What is asked of this host, and written there, besides commands."""

    def has_nft(self) -> bool:
        """Tell whether nft is installed."""

    def read(self, path: str) -> str:
        """Return a file's text; empty if there is none."""

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or a link."""

    def write(self, path: str, text: str) -> None:
        """Write a file that everyone may read."""

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

    def connection_port(self) -> int:
        """Return the port by which the SSH connection of this process came in; 0 if it came in otherwise."""


class RealHost:
    """This host."""

    def has_nft(self) -> bool:
        """Tell whether nft is installed."""
        return os.path.exists("/usr/sbin/nft")

    def read(self, path: str) -> str:
        """Return a file's text; empty if there is none."""
        return read_text(path)

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or a link."""
        return os.path.lexists(path)

    def write(self, path: str, text: str) -> None:
        """Write a file that everyone may read."""
        write_text(path, text, 0o644)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def connection_port(self) -> int:
        """Return the port by which the SSH connection of this process came in; 0 if it came in otherwise."""
        return connection_port(os.getpid())


def connection_port(pid: int) -> int:
    """Return the port by which the SSH connection of a process came in; sudo hides it from that, but not from its parents."""
    while pid > 1:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            variables = dict(entry.partition(b"=")[::2] for entry in stream.read().split(b"\0"))
        words = variables.get(b"SSH_CONNECTION", b"").split()
        if len(words) == 4:
            return int(words[3])
        pid = int(read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    return 0


def run(parameters: Mapping[str, Any], check_mode: bool, host: Host, runner: Runner) -> dict[str, Any]:
    """Take the rules away, or look at what there is and load them."""
    if parameters["state"] == "absent":
        return _remove(check_mode, host, runner)
    listeners = firewall.parse_listeners(_ask(runner, LISTENERS.split()).stdout)
    uplinks = firewall.parse_uplinks(host.read("/proc/net/route"), host.read("/proc/net/ipv6_route"))
    everyone = tuple(firewall.Opening(str(port)) for port in parameters["ports"])
    wanted = firewall.Wanted(
        public=everyone + firewall.parse_openings(parameters["allow"]),
        ssh=firewall.ways_in(listeners, host.connection_port(), parameters["ssh_from"]),
        interfaces=firewall.check_interfaces(parameters["interfaces"], uplinks),
    )
    text = firewall.render(wanted)
    closed = firewall.closes(wanted, listeners)
    result: dict[str, Any] = {
        "changed": True,
        "foreign": "",
        "ssh_ports": [opening.port for opening in wanted.ssh],
        "closes": [listener.told() for listener in closed],
        "diff": {"before_header": RULES, "after_header": RULES, "before": host.read(RULES), "after": text},
    }
    if not host.has_nft():
        if check_mode:
            return result
        why = "there is no /usr/sbin/nft"
        raise Problem("Loading the firewall failed", why, "Install the package nftables (the role residency.scheduler.server does).")
    found = _find(text, host, runner)
    if parameters["step"] == "keep":
        _keep(text, found, host, runner)
        return result
    if firewall.is_done(found):
        return {**result, "changed": False, "closes": [], "diff": {"before": "", "after": ""}}
    other = "" if found.loaded else _foreign(host, runner)
    if other:
        told = f"{other} is on: it was left alone, and no firewall was loaded beside it. It may not cover what Docker publishes."
        return {**result, "changed": False, "foreign": other, "closes": [], "diff": {"before": "", "after": ""}, "warnings": [told]}
    if not found.loaded:
        # Later ones were closed to begin with.
        firewall.refuse(wanted, closed)
    if result["closes"]:
        told = f"The firewall closes {', '.join(result['closes'])}. What has to stay open belongs into server_firewall_allow."
        result["warnings"] = [told]
    if check_mode:
        return result
    _load(text, runner)
    return {**result, "pending_seconds": UNDO_SECONDS}


def _ask(runner: Runner, argv: list[str], stdin: str = "") -> CommandResult:
    remedy = "Look at the command's own message; server_firewall: false leaves the firewall out."
    return require(runner.run(argv, stdin=stdin, timeout=30), f"Running {argv[0]} for the firewall failed", remedy)


def _find(text: str, host: Host, runner: Runner) -> firewall.Found:
    """Compare in nft's own words: it lists the rules that are wanted as an empty namespace got them, and those that are loaded."""
    return firewall.Found(
        loaded=runner.run(LISTING.split(), timeout=30).stdout,
        listed=_ask(runner, ["unshare", "--net", "sh", "-c", f"nft --file - && {LISTING}"], text).stdout,
        saved=host.read(RULES) == text and host.read(UNIT) == UNIT_TEXT and host.exists(AT_BOOT),
    )


def _foreign(host: Host, runner: Runner) -> str:
    ufw = "ENABLED=yes" in host.read("/etc/ufw/ufw.conf").splitlines()
    firewalld = runner.run(["systemctl", "is-active", "firewalld.service"], timeout=10).stdout.strip() == "active"
    services = [name for name, on in (("ufw", ufw), ("firewalld", firewalld)) if on]
    return firewall.foreign(_ask(runner, ["nft", "--json", "list", "ruleset"]).stdout, services)


def _load(text: str, runner: Runner) -> None:
    """Load the rules for half a minute."""
    # One of a run that was cut.
    runner.run(["systemctl", "stop", f"{UNDO}.timer"], timeout=30)
    timer = [f"--unit={UNDO}", f"--on-active={UNDO_SECONDS}", "--timer-property=AccuracySec=1s"]
    _ask(runner, ["systemd-run", "--quiet", "--collect", *timer, "sh", "-c", UNDO_SCRIPT])
    _ask(runner, ["nft", "--file", "-"], text)


def _keep(text: str, found: firewall.Found, host: Host, runner: Runner) -> None:
    """Keep the rules that are loaded, as somebody came in through them."""
    if found.loaded != found.listed:
        why = f"the rules that were tried are not there any more, {UNDO_SECONDS} s had passed"
        raise Problem("Keeping the firewall failed", why, "Run it again; nothing was lost.")
    host.write(RULES, text)
    host.write(UNIT, UNIT_TEXT)
    _ask(runner, ["systemctl", "daemon-reload"])
    _ask(runner, ["systemctl", "enable", "--now", SERVICE])
    _ask(runner, ["systemctl", "stop", f"{UNDO}.timer"])


def _remove(check_mode: bool, host: Host, runner: Runner) -> dict[str, Any]:
    before = host.read(RULES)
    changed = any(host.exists(path) for path in (RULES, UNIT, AT_BOOT))
    if changed and not check_mode:
        # The unit's end takes the table away. One of them is missing where a run was cut.
        for argv in (["systemctl", "disable", "--now", SERVICE], ["nft", "delete", "table", *firewall.TABLE.split()]):
            runner.run(argv, timeout=30)
        if runner.run(LISTING.split(), timeout=30).stdout:
            why = f"the table {firewall.TABLE} is still loaded"
            raise Problem("Taking the firewall away failed", why, f"Try `nft delete table {firewall.TABLE}`.")
        host.remove(RULES)
        host.remove(UNIT)
        _ask(runner, ["systemctl", "daemon-reload"])
    return {"changed": changed, "diff": {"before_header": RULES, "after_header": RULES, "before": before, "after": ""}}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: run(module.params, module.check_mode, RealHost(), SubprocessRunner()))


if __name__ == "__main__":
    main()
