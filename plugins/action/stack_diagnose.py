# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the causes on the terminal, and writes the support bundle on the controller."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.residency.scheduler.plugins.plugin_utils import diagnosis_text, support_bundle

#: Lines of each log that stay in the task's result; the bundle has them all.
LOG_LINES = 20


class ActionModule(ActionBase):
    """Calls the module, and hands its result to a person."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result, with the path of the bundle."""
        super().run(tmp, task_vars)
        result: dict[str, Any] = dict(self._execute_module(module_args=dict(self._task.args), task_vars=task_vars))
        if result.get("failed"):
            return result
        host, now = str((task_vars or {}).get("inventory_hostname", "")), datetime.now(UTC)
        folder = str(self._task.args.get("bundle_dir") or "")
        result["bundle"] = ""
        if folder and not self._task.check_mode:
            path = support_bundle.path(folder, host, now)
            try:
                support_bundle.write(path, host, now, result)
                result["bundle"] = path
            except OSError as error:
                why = f"{error.strerror or error}. Set scheduler_reports_dir to another folder."
                self._display.warning(f"The support bundle could not be written to {folder}: {why}")
        for text, colour in diagnosis_text.render(result, host):
            self._display.display(text, color=colour)
        result["logs"] = {name: lines[-LOG_LINES:] for name, lines in result["logs"].items()}
        first = result["causes"][0] if result["causes"] else {}
        summary = {"first_cause": first.get("id", ""), "subject": first.get("subject", ""), "causes": len(result["causes"])}
        # As set_stats does: AWX shows it as the job's artifacts.
        data = {f"residency_scheduler_{host}_diagnosis": {**summary, "bundle": os.path.basename(result["bundle"])}}
        return {**result, "ansible_stats": {"data": data, "per_host": False, "aggregate": True}}
