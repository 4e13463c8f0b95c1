# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds what is wrong with settings that the controller itself uses."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.residency.scheduler.plugins.module_utils import hooks, notification
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding


class ActionModule(ActionBase):
    """Needs nothing of the managed host."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the findings; they fail nothing here."""
        super().run(tmp, task_vars)
        # Raw, since Ansible would quote a value of the wrong type, and some are secret.
        _result, given = self.validate_argument_spec({"channels": {"type": "raw", "default": []}, "hooks": {"type": "raw", "default": {}}})
        found = notification.findings(given["channels"])
        if not found:
            found += [
                Finding(f"notify_channels ({channel.name}).ca_file", f"no file at {channel.ca_file}", "a PEM file", "Correct its path.")
                for channel in notification.parse(given["channels"])
                if channel.ca_file and not os.path.isfile(channel.ca_file)
            ]
        found += hooks.findings(given["hooks"])
        return {"changed": False, "findings": [finding.to_dict() for finding in found]}
