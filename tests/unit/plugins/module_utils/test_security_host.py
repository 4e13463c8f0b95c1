# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers and ports: recorded JSON of Docker, and one change for each thing that can be wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import security_host
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.security import Observation
from ansible_collections.residency.scheduler.plugins.module_utils.security_host import Seen

RECORDED = "docker-26.1-inspect-small-stack.json"
PROJECT = "small"


@pytest.fixture(name="stack")
def stack_fixture(recorded: Callable[[str], str]) -> list[dict[str, Any]]:
    """The recorded containers, mended: they have no limits, no restart policy, and run as root."""
    containers: list[dict[str, Any]] = json.loads(recorded(RECORDED))
    for item in containers:
        item["Config"]["User"] = "1001:1001"
        item["HostConfig"] |= {"Memory": 536870912, "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}}
        item["HostConfig"]["LogConfig"] = {"Type": "json-file", "Config": {"max-size": "10m"}}
        item["State"]["Running"] = True
    return containers


def told(observations: list[Observation]) -> dict[str, str]:
    return {item.id: item.found for item in observations if not item.good}


def project(stack: list[dict[str, Any]]) -> list[Seen]:
    return security_host.of_project(security_host.parse(json.dumps(stack)), PROJECT)


def container(stack: list[dict[str, Any]], service: str) -> dict[str, Any]:
    return next(item for item in stack if item["Config"]["Labels"]["com.docker.compose.service"] == service)


def test_a_good_stack(stack: list[dict[str, Any]]) -> None:
    seen = security_host.observe_containers(project(stack), [])
    assert told(seen) == {}
    assert {item.rule for item in seen} == {
        f"containers.{name}" for name in ("root", "privileged", "capabilities", "namespaces", "host_paths", "memory", "restart", "logs")
    }
    assert seen[0].found == "good in crash, hungry, nginx, redis, worker"


@pytest.mark.parametrize(
    ("where", "change", "rule", "found"),
    [
        ("Config", {"User": ""}, "root", "starts as root"),
        ("Config", {"User": "0:1001"}, "root", "starts as root"),
        ("Config", {"User": "root"}, "root", "starts as root"),
        ("HostConfig", {"Privileged": True}, "privileged", "privileged"),
        ("HostConfig", {"CapAdd": ["CAP_SYS_ADMIN", "NET_BIND_SERVICE"]}, "capabilities", "SYS_ADMIN"),
        ("HostConfig", {"NetworkMode": "host"}, "namespaces", "the host's: network"),
        ("HostConfig", {"PidMode": "host", "IpcMode": "host"}, "namespaces", "the host's: process, IPC"),
        ("HostConfig", {"Memory": 0}, "memory", "no limit"),
        ("HostConfig", {"RestartPolicy": {"Name": "no"}}, "restart", "stays down"),
        ("HostConfig", {"LogConfig": {"Type": "json-file", "Config": {}}}, "logs", "json-file without max-size"),
    ],
)
def test_each_bad_container(where: str, change: dict[str, Any], rule: str, found: str, stack: list[dict[str, Any]]) -> None:
    container(stack, "redis")[where] |= change
    assert told(security_host.observe_containers(project(stack), ["NET_BIND_SERVICE"])) == {f"containers.{rule}:redis": found}


def test_one_bad_replica_is_enough(stack: list[dict[str, Any]]) -> None:
    next(item for item in stack if item["Name"] == "/small-worker-2")["HostConfig"]["Privileged"] = True
    assert told(security_host.observe_containers(project(stack), [])) == {"containers.privileged:worker": "privileged"}


@pytest.mark.parametrize(("source", "bad"), [("/etc", True), ("/", True), ("/var/lib/docker", True), ("/etc/hostname", False)])
def test_folders_of_the_host(source: str, bad: bool, stack: list[dict[str, Any]]) -> None:
    container(stack, "nginx")["Mounts"] = [{"Type": "bind", "Source": source, "Destination": "/x", "RW": False}]
    assert told(security_host.observe_containers(project(stack), [])) == ({"containers.host_paths:nginx": source} if bad else {})


def test_a_stack_that_does_not_run_is_no_good_stack() -> None:
    assert not any(item.good or item.made for item in security_host.observe_containers([], []))


# ---- network -------------------------------------------------------------------------------------------------------------


def socket_file(folder: Path, mode: int) -> str:
    path = folder / "docker.sock"
    path.write_text("", encoding="utf-8")
    path.chmod(mode)
    return str(path)


def network(stack: list[dict[str, Any]], folder: Path, mode: int = 0o660) -> dict[str, str]:
    seen = security_host.observe_network(security_host.parse(json.dumps(stack)), PROJECT, ["nginx"], socket_file(folder, mode))
    return {name: found for name, found in told(seen).items() if "owner" not in found or os.getuid() == 0 or mode != 0o660}


def test_only_the_proxy_is_published(stack: list[dict[str, Any]], tmp_path: Path) -> None:
    assert network(stack, tmp_path) == {}
    seen = security_host.observe_network(security_host.parse(json.dumps(stack)), PROJECT, ["nginx"], socket_file(tmp_path, 0o660))
    assert next(item.found for item in seen if item.rule == "network.published") == "good in nginx:443, nginx:80"
    # A proxy by name alone is somebody else's.
    seen = security_host.observe_network(security_host.parse(json.dumps(stack)), "other", ["nginx"], socket_file(tmp_path, 0o660))
    assert told(seen)["network.published:nginx:443"] == "on 0.0.0.0:8443, [::]:8443"


def test_published_past_the_proxy(stack: list[dict[str, Any]], tmp_path: Path) -> None:
    ports = {"6379/tcp": [{"HostIp": "0.0.0.0", "HostPort": "6379"}, {"HostIp": "::", "HostPort": "6379"}], "53/udp": None}
    container(stack, "redis")["NetworkSettings"]["Ports"] = ports
    container(stack, "hungry")["NetworkSettings"]["Ports"] = {"9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9000"}]}
    assert network(stack, tmp_path) == {"network.published:redis:6379": "on 0.0.0.0:6379, [::]:6379"}


def test_of_another_project_too(stack: list[dict[str, Any]], tmp_path: Path) -> None:
    stranger = container(stack, "redis")
    stranger["Config"]["Labels"] = {}
    stranger["NetworkSettings"]["Ports"] = {"53/udp": [{"HostIp": "192.0.2.1", "HostPort": "53"}]}
    assert network(stack, tmp_path) == {"network.published:small-redis:53/udp": "on 192.0.2.1:53"}
    stranger["State"]["Running"] = False
    assert network(stack, tmp_path) == {}


@pytest.mark.parametrize(("mode", "bad"), [(0o660, False), (0o600, False), (0o666, True), (0o662, True)])
def test_mode_of_the_socket(mode: int, bad: bool, stack: list[dict[str, Any]], tmp_path: Path) -> None:
    assert ("network.socket_mode" in network(stack, tmp_path, mode)) is bad


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    seen = security_host.observe_network([], PROJECT, [], str(tmp_path / "gone"))
    assert [(item.good, item.made) for item in seen if item.rule == "network.socket_mode"] == [(False, False)]


@pytest.mark.parametrize("source", ["/var/run/docker.sock", "/run/docker.sock", "/var/run"])
def test_the_socket_in_a_container(source: str, stack: list[dict[str, Any]], tmp_path: Path) -> None:
    container(stack, "worker")["Mounts"] = [{"Type": "bind", "Source": source, "Destination": "/x.sock", "RW": False}]
    assert network(stack, tmp_path) == {"network.socket_mounted:worker": f"mounts {source}"}


# ---- Docker's own answers ------------------------------------------------------------------------------------------------


def test_reading(recorded: Callable[[str], str], runner: Callable[..., Any]) -> None:
    fake = runner(("docker ps --all --quiet --no-trunc", "6c26c81d681d\n"), ("docker container inspect 6c26c81d681d", recorded(RECORDED)))
    assert {item.name for item in security_host.read(fake)} == {"worker", "crash", "hungry", "nginx", "redis"}
    assert security_host.read(runner(("docker ps", ""))) == []


def test_no_docker(runner: Callable[..., Any]) -> None:
    failing = CommandResult((), 1, "", "cannot connect", 0.1)
    with pytest.raises(Problem, match="Listing the containers failed"):
        security_host.read(runner(("docker ps", failing)))
    with pytest.raises(Problem, match="printed something else"):
        security_host.read(runner(("docker ps", "a\n"), ("docker container inspect", failing)))


@pytest.mark.parametrize(
    ("answer", "good", "made"),
    [("true\n", True, True), ("false\n", False, True), ("", False, False), (CommandResult((), 1, "", "no Docker", 0.1), False, False)],
)
def test_live_restore(answer: str | CommandResult, good: bool, made: bool, runner: Callable[..., Any]) -> None:
    (seen,) = security_host.observe_daemon(runner(("docker info", answer)))
    assert (seen.good, seen.made) == (good, made)


@pytest.mark.parametrize(
    ("recording", "good", "found"),
    [
        ("nft-1.0.6-ruleset-own-table.json", True, "the table of nftables inet mine"),
        ("nft-1.0.6-ruleset-firewalld.json", True, "the table of nftables inet firewalld"),
        ("nft-1.0.6-ruleset-docker-fail2ban.json", False, "nothing of nftables drops what comes in"),
    ],
)
def test_a_firewall(runner, recorded, recording: str, good: bool, found: str) -> None:
    seen = security_host.observe_firewall(runner(("nft --json list ruleset", recorded(recording))))
    assert (seen.rule, seen.good, seen.found) == ("network.firewall", good, found)


def test_no_program_that_would_tell_of_a_firewall(runner) -> None:
    missing = CommandResult(("nft",), 127, "", "nft: command not found", 0.1)
    seen = security_host.observe_firewall(runner(("nft", missing)))
    assert (seen.good, seen.found) == (False, "nft does not tell: nft: command not found")
