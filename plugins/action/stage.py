# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes on the controller when a stage of the run begins."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.residency.scheduler.plugins.module_utils.run_lock import STAGE
from ansible_collections.residency.scheduler.plugins.module_utils.stages import begin


class ActionModule(ActionBase):
    """Needs nothing of the managed host."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the run's stages so far, and this one, as a fact."""
        super().run(tmp, task_vars)
        _result, given = self.validate_argument_spec({"name": {"type": "str", "required": True}})
        known = ((task_vars or {}).get("ansible_facts") or {}).get("scheduler_stages") or []
        # A worker process runs this; its parent is the run itself.
        stages = begin(known, given["name"], str(os.getppid()), datetime.now(UTC))
        # Others are told the stage of the run that holds the server's lock.
        environment = ((task_vars or {}).get("ansible_facts") or {}).get("scheduler_environment")
        carried = {"scheduler_environment": {**environment, STAGE: given["name"]}} if environment else {}
        return {"changed": False, "ansible_facts": {"scheduler_stages": stages, **carried}}
