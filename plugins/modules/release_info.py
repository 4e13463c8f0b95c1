#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the ledger of releases."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Read the server's ledger of releases
version_added: 0.1.0
description:
  - Returns the records that M(residency.scheduler.release) wrote.
author:
  - Residency Scheduler operations team (@residency-scheduler)
extends_documentation_fragment:
  - residency.scheduler.attributes.read_only
options:
  state_dir:
    description: Folder for the server's state.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Read the ledger
  residency.scheduler.release_info:
    state_dir: /var/lib/residency-scheduler
  register: ledger

- name: Show the last good release
  ansible.builtin.debug:
    var: ledger.last_good.version
"""

RETURN = r"""
releases:
  description:
    - All records, oldest first, each with its last verdict and what was noted with it.
    - C(proven) tells whether it ever was good, C(pruned) whether its images are gone.
  returned: always
  type: list
  elements: dict
  sample: [{id: 20251222T020000Z-v1.0.0, version: v1.0.0, verdict: good}]
last_good:
  description: The release that was called good last; empty if there is none.
  returned: always
  type: dict
  sample: {id: 20251222T020000Z-v1.0.0, version: v1.0.0, verdict: good}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish


def run(state_dir: str) -> dict[str, object]:
    """Read the ledger and return it with its last good record."""
    records = ledger.read_records(state_dir)
    return {"changed": False, "releases": records, "last_good": dict(ledger.last_good(records) or {})}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec={"state_dir": {"type": "path", "required": True}}, supports_check_mode=True)
    finish(module, lambda: run(module.params["state_dir"]))


if __name__ == "__main__":
    main()
