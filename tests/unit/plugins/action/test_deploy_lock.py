# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy_lock, by real runs of ansible-playbook that end well, that die, and that meet each other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.action import deploy_lock as plugin
from ansible_collections.residency.scheduler.plugins.module_utils import run_lock

#: .../ansible_collections/residency/scheduler/plugins/action/deploy_lock.py
COLLECTIONS = Path(plugin.__file__).parents[5]
PLAYBOOK = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "environment": "{{ ansible_facts.scheduler_environment | default({}) }}",
        "tasks": [
            {"residency.scheduler.deploy_lock": {"path": "{{ lock }}", "by": "tests", "takeover": "{{ takeover | default('') }}"}},
            {"residency.scheduler.deploy_lock": {"path": "{{ lock }}"}},
            {"ansible.builtin.command": {"argv": ["sleep", "{{ seconds }}"]}},
            {"residency.scheduler.release_info": {"state_dir": "/nonexistent"}},
        ],
    }
]


class Controller:
    """Starts runs against one lock."""

    def __init__(self, folder: Path) -> None:
        self.lock = str(folder / "a.lock")
        self._playbook = folder / "play.yml"
        self._settings = folder / "ansible.cfg"
        self._settings.touch()
        self._playbook.write_text(json.dumps(PLAYBOOK), encoding="utf-8")

    def start(self, seconds: float, **variables: str) -> subprocess.Popen[str]:
        """Start a run that works for some seconds; its output goes into a pipe."""
        command = [sys.executable, "-m", "ansible.cli.playbook", "-i", "localhost,", "-c", "local", str(self._playbook)]
        extra = {"lock": self.lock, "seconds": seconds, "ansible_python_interpreter": sys.executable, **variables}
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_CONFIG": str(self._settings),
            "ANSIBLE_NOCOLOR": "1",
        }
        environment.pop("ANSIBLE_FORCE_COLOR", None)
        words = [*command, "-e", json.dumps(extra)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    def start_and_wait(self, seconds: float) -> subprocess.Popen[str]:
        """Start a run, and wait until it is at work under the lock."""
        run = self.start(seconds)
        assert run_lock.wait_until(lambda: run_lock.working(self.lock, "nobody"), 30), run.stdout and run.kill()
        return run


@pytest.fixture(name="controller")
def controller_fixture(tmp_path: Path) -> Controller:
    """A controller."""
    return Controller(tmp_path)


def end(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Return exit code and output; the end of the output has to come with the end of the run."""
    output = run.communicate(timeout=60)[0]
    return run.returncode, " ".join(output.split())


def test_a_run_that_ends_frees_the_lock_and_its_output(controller: Controller) -> None:
    code, output = end(controller.start(0))
    assert code == 0, output
    assert run_lock.wait_until(lambda: not run_lock.is_held(controller.lock), 4)


def test_a_second_run_is_refused_while_the_first_works(controller: Controller) -> None:
    first = controller.start_and_wait(15)
    code, output = end(controller.start(0))
    assert code == 2
    assert "Starting was refused: another run works on this server: play.yml of tests on" in output
    assert end(first)[0] == 0


def test_after_a_kill_the_next_run_waits_only_for_what_still_works(controller: Controller) -> None:
    first = controller.start_and_wait(4)
    first.send_signal(signal.SIGKILL)
    first.wait()
    started = time.monotonic()
    code, output = end(controller.start(0))
    assert code == 0, output
    # What the killed run had begun came to its end first.
    assert time.monotonic() - started > 1.5
    if first.stdout:
        first.stdout.close()


def test_a_run_whose_lock_was_taken_over_does_nothing_more(controller: Controller) -> None:
    first = controller.start_and_wait(10)
    code, output = end(controller.start(0, takeover="it hangs"))
    assert code == 0, output
    code, output = end(first)
    assert code == 2
    assert "Going on was refused: this run has lost the server's lock" in output


def test_a_controller_that_has_ended_is_not_alive_though_nobody_has_noticed() -> None:
    main = subprocess.Popen(["sleep", "60"])
    started = plugin._started(main.pid)
    assert plugin._alive(main.pid, started)
    main.kill()
    os.waitid(os.P_PID, main.pid, os.WEXITED | os.WNOWAIT)
    assert not plugin._alive(main.pid, started)
    main.wait()
    assert not plugin._alive(main.pid, started)
