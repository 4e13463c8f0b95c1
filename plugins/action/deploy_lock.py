# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Binds a lock on the server to the life of the run on the controller."""

from __future__ import annotations

import getpass
import os
import re
import signal
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.residency.scheduler.plugins.module_utils.run_lock import REPLACED, TAKEN, holder_script

#: Seconds between two looks whether the run still lives.
INTERVAL = 0.3


class ActionModule(ActionBase):
    """Looks, starts a keeper that holds the lock over a connection of its own, and lets the module confirm it."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        super().run(tmp, task_vars)
        if self._task.check_mode:
            # Facts of an earlier run may come from a cache.
            return {"changed": False, "ansible_facts": {"scheduler_environment": {}}, "interrupted": "", "waited_seconds": 0.0}
        # A worker process runs this; its parent is the run itself.
        main = os.getppid()
        arguments = {**self._task.args, "run": run_name(main)}
        first = self._ask(arguments, task_vars)
        if first.get("failed") or arguments.get("state", "present") == "absent":
            return first
        if not first["held"]:
            record = {
                "run": arguments["run"],
                "by": str(arguments.get("by") or _user()),
                "host": socket.gethostname(),
                "playbook": _playbook(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
                "reason": str(arguments.get("takeover") or ""),
            }
            path = str(arguments.get("path") or "/run/residency-scheduler/residency-scheduler.lock")
            self._keep(main, path, record)
        second = self._ask({**arguments, "step": "confirm"}, task_vars)
        return second if second.get("failed") else {**second, "interrupted": first["interrupted"]}

    def _ask(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        return dict(self._execute_module(module_args=arguments, task_vars=task_vars))

    def _keep(self, main: int, path: str, record: dict[str, Any]) -> None:
        """Start the keeper: a process that lives as long as the run, and leaves nothing of its output with the terminal."""
        if os.fork():
            return
        try:
            os.setsid()
            _let_go_of_output()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self._display.verbosity = 0
            threading.Thread(target=_end_with, args=(main, _started(main)), daemon=True).start()
            again = False
            while True:
                code = self._hold(holder_script(path, record, again=again))
                if code == REPLACED or (code == TAKEN and not again):
                    break
                # The connection was cut, and the run goes on: the lock is still its own. If taken, it is by the old connection, which
                # the server has not given up yet; somebody else would have replaced the record first.
                again = True
                time.sleep(1)
        finally:
            os._exit(0)

    def _hold(self, script: str) -> int:
        try:
            return int(self._low_level_execute_command(script, sudoable=True)["rc"])
        except Exception:  # whatever a connection plugin makes of a server that cannot be reached
            return -1


def run_name(main: int) -> str:
    """Return the name of the run whose main process is *main*: no other run on any controller has it."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{socket.gethostname()}-{main}-{_started(main)}")


def _started(pid: int) -> str:
    """Return when a process started, in a unit of the kernel's; empty where /proc does not tell, or where it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            words = stream.read().rpartition(")")[2].split()
    except OSError:
        return ""
    # A zombie has ended; only its parent has not noticed.
    return "" if words[0] in ("Z", "X") else words[19]


def _alive(pid: int, started: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _started(pid) == started


def _end_with(main: int, started: str) -> None:
    """End this process group, and with it the connection, as soon as the run has ended."""
    while _alive(main, started):
        time.sleep(INTERVAL)
    os.killpg(0, signal.SIGKILL)


def _let_go_of_output() -> None:
    """Give the terminal, or the pipe that is read to its end, back: whoever reads it must not wait for this process."""
    shown = {target for number in (0, 1, 2) if (target := _target(number))}
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        if int(name) > 2 and _target(int(name)) in shown - {os.devnull}:
            os.close(int(name))


def _target(number: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def _playbook() -> str:
    """Return the name of the playbook on the command line."""
    return next((os.path.basename(word) for word in sys.argv[1:] if word.endswith((".yml", ".yaml"))), os.path.basename(sys.argv[0]))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some execution environments
        return f"user id {os.getuid()}"
