# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""diagnosis_facts: what is noted of containers and of the host, from recorded output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Config, parse_config
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_facts import (
    Seen,
    all_needed,
    environment_names,
    needs,
    parse_meminfo,
    parse_seen,
    read_docker,
    read_host,
    read_memory_kills,
    read_stats,
)
from ansible_collections.residency.scheduler.plugins.module_utils.stack import parse_services

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERVICES = parse_services(
    [{"name": "db", "kind": "postgres"}, {"name": "backend", "kind": "http", "port": 8000}, {"name": "nginx", "kind": "proxy"}]
)
EMPTY = Seen("p-x", "x", 7, "running", "none", 0, False, 0, 9.0, "", "", "", 0, {}, (), (), {})


def test_containers_are_noted_without_the_values_of_their_environment(recorded: Callable[[str], str]) -> None:
    seen = parse_seen(recorded("docker-26.1-inspect-small-stack.json"), NOW)
    assert [item.name for item in seen] == sorted(item.name for item in seen)
    running = [item for item in seen if item.state == "running"]
    assert running
    assert all(item.pid and item.up and item.networks for item in running)
    values = {value for item in seen for value in item.environment.values() if len(value) > 8}
    assert values
    shown = str([item.to_dict() for item in seen])
    assert not [value for value in values if value in shown]


def test_who_needs_whom_is_told_by_compose_by_urls_and_by_the_kind() -> None:
    containers = [
        replace(EMPTY, service="backend", depends_on=("redis",), environment={"URL": "postgresql://u:p@db:6000/x", "A": "http://elsewhere"}),
        replace(EMPTY, service="nginx"),
        replace(EMPTY, service="redis", environment={"BROKEN": "http://[", "SELF": "redis://redis:6379"}),
    ]
    needed = needs(containers, SERVICES)
    assert needed == {"backend": {"redis": 0, "db": 6000}, "nginx": {"backend": 8000}, "redis": {}}
    assert all_needed("nginx", needed) == {"backend", "redis", "db"}
    assert all_needed("db", needed) == set()


def test_settings_that_differ_are_named_and_never_shown() -> None:
    config = parse_config('{"services": {"x": {"environment": {"SAME": "1", "OTHER": "new", "ADDED": "2"}}}}')
    container = replace(EMPTY, environment={"SAME": "1", "OTHER": "old", "PATH": "/bin"})
    found = environment_names([container], config, {})
    assert found == {"p-x": {"names": ["OTHER", "PATH", "SAME"], "differ": ["OTHER"], "missing": ["ADDED"]}}
    # Where Compose does not read its files, the names of .env are left.
    found = environment_names([container], None, {"OTHER": "new", "UNUSED": "3"})
    assert found["p-x"] == {"names": ["OTHER", "PATH", "SAME"], "differ": ["OTHER"], "missing": []}
    assert environment_names([container], Config({}, ()), {})["p-x"]["differ"] == []


def test_the_host_tells_of_disk_memory_and_load(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:        1000 kB\nMemAvailable:     250 kB\nHugePages_Total:       0\n", encoding="utf-8")
    (tmp_path / "loadavg").write_text("0.50 0.40 0.30 1/100 12345\n", encoding="utf-8")
    # A folder that is not there is on the file system of the one above it; one file system is told once.
    host = read_host([str(tmp_path), str(tmp_path / "not" / "there")], str(tmp_path))
    assert len(host["file_systems"]) == 1
    assert host["file_systems"][0]["paths"] == [str(tmp_path), str(tmp_path / "not" / "there")]
    assert host["file_systems"][0]["size"] > host["file_systems"][0]["free"] > 0
    assert 0 < host["file_systems"][0]["inodes_free_share"] <= 1
    assert host["memory"] == {"memtotal": 1024000, "memavailable": 256000, "swaptotal": 0, "swapfree": 0}
    assert host["load"] == [0.5, 0.4, 0.3]
    assert parse_meminfo("") == {}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([("docker version", "26.1.5\n")], {"answers": True, "version": "26.1.5", "why": ""}),
        (
            [
                ("docker version", CommandResult(("docker",), 1, "", "Cannot connect to the Docker daemon", 0.1)),
                ("systemctl is-active", CommandResult(("systemctl",), 3, "failed\n", "", 0.1)),
                ("journalctl", "one\nunable to configure the Docker daemon with file /etc/docker/daemon.json\n"),
            ],
            {"answers": False, "why": "Cannot connect to the Docker daemon", "unit": "failed"},
        ),
        (
            [
                ("docker version", CommandResult(("docker",), -9, "", "", 10.0, timed_out=True)),
                ("systemctl is-active", "active\n"),
                ("journalctl", ""),
            ],
            {"answers": False, "why": "no answer within 10 s", "unit": "active", "journal": []},
        ),
    ],
)
def test_docker_answers_or_it_is_told_why_not(answers: Any, expected: dict[str, Any], runner: Any) -> None:
    fake = runner(*answers)
    found = read_docker(fake)
    assert {name: found[name] for name in expected} == expected
    assert fake.finished()


def test_kills_by_the_kernel_are_counted_by_container(runner: Any) -> None:
    asked = "docker events --since 600s --until 0s --filter event=oom --filter label=com.docker.compose.project=p"
    seen = [replace(EMPTY, name="p-backend", id="a1"), replace(EMPTY, name="p-db", id="b2")]
    assert read_memory_kills("p", seen, 600.0, runner((asked, "a1\nof-before\na1\n"))) == {"p-backend": 2}


def test_figures_by_container(runner: Any) -> None:
    line = '{"BlockIO":"1MB / 2MB","CPUPerc":"0.10%","Container":"abc","ID":"abc","MemPerc":"1.5%","MemUsage":"30MiB / 2GiB","Name":"p-db",'
    found = read_stats(["p-db"], runner(("docker stats --no-stream", line + '"NetIO":"1kB / 2kB","PIDs":"7"}\n')))
    figures = {"CPUPerc": "0.10%", "MemUsage": "30MiB / 2GiB", "MemPerc": "1.5%", "NetIO": "1kB / 2kB", "BlockIO": "1MB / 2MB", "PIDs": "7"}
    assert found == [{"Name": "p-db", **figures}]
    assert read_stats([], runner()) == []
