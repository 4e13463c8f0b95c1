# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the monitor's program out of the collection, and hands it to the module."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.residency.scheduler.plugins.plugin_utils.program import build


class ActionModule(ActionBase):
    """Sends the program beside the module, as a file: parameters may be shown, and this one is long."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("state", "present") == "absent":
            return dict(self._execute_module(module_args=arguments, task_vars=task_vars))
        try:
            program = build("monitor")
        except ValueError as error:
            raise AnsibleActionFail(f"Building the monitor's program failed: {error}. This is a defect of the collection.") from error
        folder = self._make_tmp_path()
        try:
            sent = self._transfer_data(self._connection._shell.join_path(folder, "monitor.pyz"), program)
            self._fixup_perms2((folder, sent))
            return dict(self._execute_module(module_args={**arguments, "program": sent}, task_vars=task_vars))
        finally:
            self._remove_tmp_path(folder)
