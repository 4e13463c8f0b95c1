# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a long wait of the module visible: what is being waited for, how long already, and until when."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

#: Seconds between two lines of progress.
INTERVAL = 10


class ActionModule(ActionBase):
    """Calls the module again and again, with a line of progress in between, until it has decided or the time is over."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the last call's result, with the seconds of the whole wait."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        started = time.monotonic()
        while True:
            call = arguments if arguments.get("report_after") else {**arguments, "report_after": INTERVAL}
            result: dict[str, Any] = dict(self._execute_module(module_args=call, task_vars=task_vars))
            elapsed = time.monotonic() - started
            until = float(result.get("waiting_until") or 0)
            if not result.get("failed") or call is arguments or not until or elapsed >= until:
                return {**result, "seconds": round(elapsed, 3)} if "seconds" in result else result
            self._display.display(progress(result, elapsed, until), color="dark gray")
            arguments["restarts_before"] = result["restarts_before"]


def progress(result: Mapping[str, Any], elapsed: float, until: float) -> str:
    """Return the line of progress: the services that are not healthy yet, and the first check that failed for each."""
    waiting = []
    for service in result.get("services") or []:
        failed = [check for check in service["checks"] if check["verdict"] == "fail"]
        if service["status"] != "healthy":
            why = f"{failed[0]['subject']}: {failed[0]['found']}" if failed else service["status"]
            waiting.append(f"{service['service']} ({why[:100]})")
    return f"  waiting, {elapsed:.0f} of {until:.0f} s, for {', '.join(waiting)}"
