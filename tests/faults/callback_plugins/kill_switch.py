# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills the controller at a chosen task, and keeps a journal of the tasks that began and of those that changed something.

RESIDENCY_JOURNAL: file for one JSON line per task, and one per task that changed something. RESIDENCY_KILL_AT: number of the task, from 1,
before which ansible-playbook ends by SIGKILL; with RESIDENCY_KILL_AFTER, so many seconds into that task.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: kill_switch
type: aggregate
short_description: Kill the controller at a chosen task
description: For fault tests; counts the tasks, and ends ansible-playbook by SIGKILL.
"""


class CallbackModule(CallbackBase):
    """Counts the tasks of the run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_switch"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._at = int(os.environ.get("RESIDENCY_KILL_AT") or 0)
        self._after = float(os.environ.get("RESIDENCY_KILL_AFTER") or 0)
        self._journal = os.environ.get("RESIDENCY_JOURNAL") or os.devnull

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        """Note the task, and end here if it is the one."""
        self._count += 1
        self._note({"number": self._count, "time": time.time(), "task": task.get_name()})
        if self._count == self._at:
            if self._after:
                threading.Timer(self._after, _end).start()
            else:
                _end()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note that the task changed something."""
        if result._result.get("changed"):
            self._note({"changed": self._count})

    def _note(self, event: dict[str, Any]) -> None:
        with open(self._journal, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
