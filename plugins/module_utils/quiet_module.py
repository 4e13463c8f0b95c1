# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that keeps its parameters out of the host's log."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


class QuietModule(AnsibleModule):
    """For modules with secrets inside of lists and mappings.

    Ansible writes such parameters into the journal as Python shows them, and then looks for the secrets as they are: one with a quote, a
    backslash or a line end is not found any more (``AnsibleModule._log_invocation``).
    """

    def _log_invocation(self) -> None:
        self.log("Invoked; its parameters may hold secrets")
