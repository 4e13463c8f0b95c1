#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies a folder into an encrypted restic repository, and reads a part of it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restic_copy
short_description: Copy a folder into an encrypted restic repository
version_added: 0.3.0
description:
  - Makes the repository where there is none, takes a snapshot of O(path), and then lets restic check the repository's structure and
    read O(check_subset) of its data back. What restic stores is encrypted with O(password).
  - The password goes in by standard input; it is in no argument, environment or file.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - restic 0.14 or newer on the managed host
attributes:
  check_mode:
    support: full
    description: Tells that a snapshot would be taken.
  diff_mode:
    support: none
    description: Restic counts what is new in the result.
  idempotent:
    support: none
    description: Each call takes a snapshot.
options:
  repository:
    description: The repository, as for C(restic --repo).
    type: str
    required: true
  password:
    description: Password of the repository.
    type: str
    required: true
  path:
    description: Folder to copy.
    type: path
    required: true
  environment:
    description: What the repository's storage needs, by name.
    type: dict
    default: {}
  check_subset:
    description: How much of the data is read back, as for C(restic check --read-data-subset).
    type: str
    default: 5%
  timeout:
    description: Seconds that one step may take.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Copy the backups off the server
  residency.scheduler.restic_copy:
    repository: sftp:backup@vault.example.org:/srv/residency-scheduler
    password: "{{ vault_restic_password }}"
    path: /var/lib/residency-scheduler/backups/postgres
"""

RETURN = r"""
snapshot:
  description: Id of the snapshot.
  returned: except in check mode
  type: str
  sample: 4f1a2b3c
files_new:
  description: How many files were not in the repository yet.
  returned: except in check mode
  type: int
  sample: 4
initialized:
  description: Whether the repository was made.
  returned: except in check mode
  type: bool
  sample: false
checks:
  description: The evidence for the checklist.
  returned: except in check mode
  type: list
  elements: dict
  sample: [{subject: "database: copy off the server", verdict: pass, topic: backup_offsite}]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.command import SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish
from ansible_collections.residency.scheduler.plugins.module_utils.restic import run

ARGUMENT_SPEC: dict[str, Any] = {
    "repository": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "path": {"type": "path", "required": True},
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "check_subset": {"type": "str", "default": "5%"},
    "timeout": {"type": "int", "default": 3600},
}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    os.environ.update({str(name): str(value) for name, value in module.params["environment"].items()})
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
