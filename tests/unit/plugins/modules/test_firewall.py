# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""firewall: when rules are tried, kept, left alone and taken away; molecule's scenario server connects to real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import firewall

PARAMETERS: dict[str, Any] = {
    "state": "present",
    "ports": [80, 443],
    "allow": [],
    "ssh_from": [],
    "interfaces": ["docker0", "br-*"],
    "step": "try",
}
DROPS = {"family": "inet", "table": "mine", "name": "in", "type": "filter", "hook": "input", "policy": "drop"}


class Server:
    """A host with a kernel that has at most our table; a command that it does not know fails the test."""

    def __init__(self, *, nft: bool = True, others: Sequence[dict[str, Any]] = ()) -> None:
        self.nft, self.others = nft, others
        self.files: dict[str, str] = {}
        self.loaded = ""
        self.timer = False
        self.changes: list[str] = []

    def has_nft(self) -> bool:
        return self.nft

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def exists(self, path: str) -> bool:
        return path in self.files

    def write(self, path: str, text: str) -> None:
        self.changes.append(f"write {path}")
        self.files[path] = text

    def remove(self, path: str) -> None:
        self.changes.append(f"remove {path}")
        self.files.pop(path, None)

    def connection_port(self) -> int:
        return 22

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        assert timeout > 0
        line = " ".join(argv)
        answers = {
            "ss --no-header --listening --tcp --udp --numeric --processes": 'tcp LISTEN 0 5 *:9000 *:* users:(("python3",pid=1,fd=3))\n',
            firewall.LISTING: self.loaded,
            f"unshare --net sh -c nft --file - && {firewall.LISTING}": f"listed {stdin}",
            "systemctl is-active firewalld.service": "inactive\n",
            "nft --json list ruleset": json.dumps({"nftables": [{"chain": chain} for chain in self.others]}),
        }
        if line not in answers:
            self.change(line, stdin)
        return CommandResult(tuple(argv), 0, answers.get(line, ""), "", 0.1)

    def change(self, line: str, stdin: str) -> None:
        """Do what a command does."""
        self.changes.append(line)
        if line == "nft --file -":
            assert self.timer, "rules are never loaded without a way back"
            self.loaded = f"listed {stdin}"
        elif line.startswith("systemd-run"):
            assert f"--on-active={firewall.UNDO_SECONDS}" in line
            self.timer = True
        elif line == f"systemctl stop {firewall.UNDO}.timer":
            self.timer = False
        elif line == f"systemctl enable --now {firewall.SERVICE}":
            assert firewall.RULES in self.files
            self.files[firewall.AT_BOOT] = ""
        elif line in (f"systemctl disable --now {firewall.SERVICE}", "nft delete table inet residency_scheduler"):
            self.files.pop(firewall.AT_BOOT, None)
            self.loaded = ""
        else:
            assert line == "systemctl daemon-reload", line


def run(server: Server, *, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    return firewall.run({**PARAMETERS, **given}, check_mode, server, server)


def set_up() -> Server:
    """Return a server whose firewall is on."""
    server = Server()
    run(server)
    run(server, step="keep")
    server.changes.clear()
    return server


def test_rules_are_tried_and_then_kept() -> None:
    server = Server()
    first = run(server)
    assert (first["changed"], first["pending_seconds"], first["closes"]) == (True, 30, ["9000 (python3)"])
    assert "server_firewall_allow" in first["warnings"][0]
    assert server.timer
    assert not server.files, "the next boot must not have rules that nobody came in through"
    run(server, step="keep")
    assert not server.timer
    assert set(server.files) == {firewall.RULES, firewall.UNIT, firewall.AT_BOOT}
    # Kept for the next boot before the way back is given up.
    assert server.changes[-1] == f"systemctl stop {firewall.UNDO}.timer"


def test_the_second_run_changes_nothing() -> None:
    server = set_up()
    result = run(server)
    assert (result["changed"], result["closes"], "warnings" in result, "pending_seconds" in result) == (False, [], False, False)
    assert not server.changes


@pytest.mark.parametrize("path", [firewall.RULES, firewall.UNIT, firewall.AT_BOOT])
def test_what_the_next_boot_lacks_is_a_change(path: str) -> None:
    server = set_up()
    del server.files[path]
    assert run(server)["changed"]


def test_rules_that_somebody_changed_in_the_kernel_are_a_change() -> None:
    server = set_up()
    server.loaded = server.loaded.replace("counter drop", "")
    assert run(server)["changed"]


def test_a_check_loads_nothing() -> None:
    server = Server()
    result = run(server, check_mode=True)
    assert result["changed"]
    assert "tcp dport 22 accept" in result["diff"]["after"]
    assert not server.changes


def test_a_check_without_nft_shows_the_rules() -> None:
    result = run(Server(nft=False), check_mode=True)
    assert result["changed"]
    assert "tcp dport 22 accept" in result["diff"]["after"]
    with pytest.raises(Problem, match="Loading the firewall failed"):
        run(Server(nft=False))


def test_rules_that_took_themselves_back_are_not_kept() -> None:
    server = Server()
    run(server)
    server.loaded = ""
    with pytest.raises(Problem, match="Keeping the firewall failed"):
        run(server, step="keep")
    assert not server.files


@pytest.mark.parametrize("check_mode", [True, False])
def test_another_firewall_is_left_alone(check_mode: bool) -> None:
    server = Server(others=[DROPS])
    result = run(server, check_mode=check_mode)
    assert (result["changed"], result["foreign"]) == (False, "the table of nftables inet mine")
    assert "it was left alone" in result["warnings"][0]
    assert not server.changes


def test_ufw_is_known_by_its_file() -> None:
    server = Server()
    server.files["/etc/ufw/ufw.conf"] = "# comment\nENABLED=yes\n"
    assert run(server)["foreign"] == "ufw"
    server.files["/etc/ufw/ufw.conf"] = "ENABLED=no\n"
    assert run(server)["foreign"] == ""


def test_ours_stays_ours_where_another_one_came_later() -> None:
    server = set_up()
    server.others = [DROPS]
    assert run(server, allow=[{"port": "9000", "protocol": "tcp", "from": []}])["changed"]


def test_it_is_taken_away() -> None:
    server = set_up()
    assert run(server, state="absent", check_mode=True)["changed"]
    assert not server.changes
    assert run(server, state="absent")["changed"]
    assert (server.files, server.loaded) == ({}, "")
    assert not run(server, state="absent")["changed"]


def test_the_connection_of_a_program_under_sudo() -> None:
    # `env` hides the variable from the program, as sudo does, but not from the shell that called it.
    script = 'env --unset=SSH_CONNECTION sh -c "echo; sleep 60"; :'
    environment = {"SSH_CONNECTION": "192.0.2.1 50000 198.51.100.1 2022", "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout
        shell.stdout.readline()
        children = firewall.read_text(f"/proc/{shell.pid}/task/{shell.pid}/children").split()
        found = firewall.connection_port(int(children[0]))
        os.killpg(shell.pid, signal.SIGKILL)
    assert found == 2022
