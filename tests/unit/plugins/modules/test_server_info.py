# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server has, as its files, dpkg and systemd tell it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import server_info


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    assert server_info.read(str(path)) is None
    path.write_text("{}\r\n", encoding="utf-8", newline="")
    path.chmod(0o640)
    expected = {"content": "{}\r\n", "mode": "0640", "owner": os.geteuid(), "group": os.getegid()}
    assert server_info.read(str(path)) == expected


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff\xfe")], ids=["a folder", "no text"])
def test_what_cannot_be_read_is_not_taken_for_missing(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "daemon.json")
    with pytest.raises(Problem, match=r"daemon\.json failed"):
        server_info.read(str(tmp_path / "daemon.json"))


def test_packages(runner) -> None:
    # A removed package whose settings stayed, one that was cut, and one that dpkg never heard of.
    told = "git ii \npython3-redis rc \ndocker.io iF \nrunc hi \n"
    fake = runner(("dpkg-query --show", CommandResult(("dpkg-query",), 1, told, "no packages found matching nosuch", 0.1)))
    names = ["git", "python3-redis", "docker.io", "runc", "nosuch"]
    assert server_info.missing(names, fake) == ["python3-redis", "docker.io", "nosuch"]
    assert server_info.missing([], runner()) == []


RUNS = "ActiveState=active\nUnitFileState=enabled\n"


@pytest.mark.parametrize(
    ("settings", "program", "said", "settled"),
    [
        (-10, -10, RUNS, True),
        (10, -10, RUNS, False),
        (-10, None, RUNS, True),
        (-10, -10, "ActiveState=inactive\nUnitFileState=enabled\n", False),
        (-10, -10, "ActiveState=active\nUnitFileState=disabled\n", False),
        (None, -10, RUNS, False),
    ],
)
def test_docker(tmp_path: Path, runner, settings: int | None, program: int | None, said: str, settled: bool) -> None:
    now = time.time()
    for name, age in (("daemon.json", settings), ("dockerd", program)):
        if age is not None:
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (now + age, now + age))
    # The program's inode is as old as this test: its age by content says nothing.
    (tmp_path / "docker.pid").touch()
    os.utime(tmp_path / "docker.pid", (now + 1, now + 1))
    fake = runner(("systemctl show docker.service", said))
    paths = [str(tmp_path / name) for name in ("daemon.json", "docker.pid", "dockerd")]
    assert server_info.settled(paths[0], paths[1], [paths[2], "/nowhere/dockerd"], fake) is settled


def test_a_program_that_is_newer_than_docker(tmp_path: Path, runner) -> None:
    for name in ("daemon.json", "docker.pid", "dockerd"):
        (tmp_path / name).touch()
        # As a package does: with the age of its build.
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    pair = [str(tmp_path / name) for name in ("daemon.json", "docker.pid")]
    assert server_info.settled(*pair, [str(tmp_path / "dockerd")], runner()) is False
    assert server_info.settled(*pair, [], runner(("systemctl show", RUNS))) is True
    assert server_info.settled(pair[0], str(tmp_path / "none"), [], runner()) is False


def test_all_at_once(tmp_path: Path, runner) -> None:
    (tmp_path / "stamp").touch()
    os.utime(tmp_path / "stamp", (time.time() - 420, time.time() - 420))
    parameters = {"files": [str(tmp_path / "x")], "packages": ["git"], "settings": "/x", "pid_file": "/x", "programs": []}
    found = server_info.run(parameters, runner(("dpkg-query", "git ii \n")), [str(tmp_path / "none"), str(tmp_path / "stamp")])
    assert 420 <= found.pop("lists_age") < 430
    assert found == {"changed": False, "files": {}, "missing": [], "docker_settled": False}
    assert server_info.run({**parameters, "packages": []}, runner(), [])["lists_age"] is None
