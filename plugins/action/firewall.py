# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a firewall's rules only if a new connection comes through them."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Lets the module load the rules for half a minute, connects anew, and lets it keep them."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        super().run(tmp, task_vars)
        first = self._ask("try", task_vars)
        started = time.monotonic()
        seconds = first.pop("pending_seconds", 0)
        if not seconds:
            return first
        # The connection of before is one that the rules let through in any case.
        self._connection.reset()
        try:
            second = self._ask("keep", task_vars)
        except AnsibleConnectionFailure as error:
            time.sleep(max(0.0, seconds + 2 - (time.monotonic() - started)))
            self._connection.reset()
            return {
                "failed": True,
                "msg": (
                    f"Loading the firewall failed: a new connection did not come through its rules ({error}). The server has taken them "
                    "back by itself, and has those of before. Look at server_firewall_ssh_from: it has to have the controller's address."
                ),
            }
        return second if second.get("failed") else first

    def _ask(self, step: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        return dict(self._execute_module(module_args={**self._task.args, "step": step}, task_vars=task_vars))
