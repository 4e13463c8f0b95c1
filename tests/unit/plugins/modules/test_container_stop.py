# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping containers: whom the signal reaches."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import container_stop

PARAMETERS: dict[str, Any] = {"containers": ["stand-in"], "project_name": None, "service": None, "timeout": 7}


def inspected(**pids: int) -> str:
    """Return what Docker tells of containers by their names; 0 is one that does not run."""
    states = {name: {"Running": pid > 0, "Pid": pid} for name, pid in pids.items()}
    return json.dumps([{"Name": f"/{name}", "Id": f"id-of-{name}", "State": state} for name, state in states.items()])


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait until Docker has noted anything."""
    monkeypatch.setattr(container_stop, "_NOTED", 0.0)


def process(proc: Path, pid: int, program: str, *children: int, container: str = "stand-in") -> None:
    """Show a process, whose name is that of a script."""
    (proc / str(pid) / "task" / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "comm").write_text("entrypoint.sh\n", encoding="utf-8")
    (proc / str(pid) / "cgroup").write_text(f"0::/docker/id-of-{container}\n", encoding="utf-8")
    (proc / str(pid) / "exe").symlink_to(f"/usr/bin/{program}")
    (proc / str(pid) / "task" / str(pid) / "children").write_text("".join(f"{child} " for child in children), encoding="utf-8")


@pytest.mark.parametrize(("name", "told"), [("sh", [11, 12]), ("dash", [11, 12]), ("uvicorn", []), ("tini", [])])
def test_the_child_of_a_shell_is_told(tmp_path: Path, runner, name: str, told: list[int]) -> None:
    process(tmp_path, 10, name, 11, 12)
    fake = runner(("docker container inspect stand-in", inspected(**{"stand-in": 10})), ("docker container stop --time 7 stand-in", ""))
    ended: list[int] = []
    result = container_stop.run(PARAMETERS, False, fake, proc=str(tmp_path), end=ended.append)
    assert ended == told
    assert (result["changed"], result["stopped"], result["signalled"]) == (True, ["stand-in"], ["stand-in"] if told else [])
    assert fake.finished()


def test_all_containers_of_a_service(tmp_path: Path, runner) -> None:
    process(tmp_path, 10, "busybox", 11, container="a")
    parameters = {**PARAMETERS, "containers": [], "project_name": "p", "service": "backend"}
    filters = "label=com.docker.compose.project=p --filter label=com.docker.compose.service=backend"
    fake = runner((filters, "a\nb\nc\n"), ("inspect a b c", inspected(a=10, b=20, c=0)), ("stop --time 7 a b", ""))
    ended: list[int] = []
    # The second has ended since, and another process has its id; the third does not run.
    process(tmp_path, 20, "bash", 21, container="x")
    result = container_stop.run(parameters, False, fake, proc=str(tmp_path), end=ended.append)
    assert (result["stopped"], result["signalled"], ended) == (["a", "b"], ["a"], [11])


@pytest.mark.parametrize("check_mode", [True, False])
def test_what_does_not_run(runner, check_mode: bool) -> None:
    gone = CommandResult(("docker",), 1, "[]\n", "Error response from daemon: No such container: stand-in", 0.1)
    assert container_stop.run(PARAMETERS, check_mode, runner(("inspect", gone)))["changed"] is False
    nobody = {**PARAMETERS, "containers": [], "project_name": "p", "service": "backend"}
    assert container_stop.run(nobody, check_mode, runner(("docker ps", "")))["stopped"] == []


def test_a_check_only_tells(runner) -> None:
    result = container_stop.run(PARAMETERS, True, runner(("inspect", inspected(**{"stand-in": 10}))))
    assert (result["changed"], result["stopped"], result["signalled"]) == (True, ["stand-in"], [])


@pytest.mark.parametrize("words", ["inspect", "stop"])
def test_docker_does_not_answer(runner, words: str) -> None:
    mute = CommandResult(("docker",), 1, "", "Cannot connect to the Docker daemon", 0.1)
    found = inspected(**{"stand-in": 10})
    answers: Sequence[tuple[str, Any]] = [("inspect", found), ("stop", mute)] if words == "stop" else [("inspect", mute)]
    with pytest.raises(Problem, match="Cannot connect"):
        container_stop.run(PARAMETERS, False, runner(*answers), proc="/nowhere")


def test_a_real_shell_and_its_child() -> None:
    # As in an image: the shell waits for its last command, since another one follows.
    with subprocess.Popen(["sh", "-c", "sleep 60; exit 3"]) as shell:
        deadline = time.monotonic() + 5
        while not (children := container_stop.shell_children(shell.pid, "/proc")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(children) == 1
        container_stop.terminate(children[0])
        assert shell.wait(timeout=5) == 3
    # Gone already.
    container_stop.terminate(children[0])
    assert container_stop.shell_children(shell.pid, "/proc") == []
    with subprocess.Popen(["sleep", "60"]) as alone:
        assert container_stop.shell_children(alone.pid, "/proc") == []
        alone.send_signal(signal.SIGTERM)
