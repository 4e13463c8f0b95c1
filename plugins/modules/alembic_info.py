#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells where the database stands between the revisions of the wanted image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alembic_info
short_description: Tell the database's Alembic revision, and what is pending
version_added: 0.1.0
description:
  - Asks Alembic in a one-shot container of the wanted image, with its entry point bypassed, so that the answer is that of the
    release to be deployed and not of the one that happens to run.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.alembic
  - residency.scheduler.attributes.read_only
options:
  timeout:
    description: Seconds that Alembic may take.
    type: int
    default: 600
  sql:
    description: Also return the SQL of the pending revisions.
    type: bool
    default: false
  history:
    description: Also return every revision of the image.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Look where the database stands
  residency.scheduler.alembic_info:
    project: "{{ scheduler_compose }}"
  register: database

- name: See the whole history
  residency.scheduler.alembic_info:
    project: "{{ scheduler_compose }}"
    history: true

- name: See the SQL of what is pending
  residency.scheduler.alembic_info:
    project: "{{ scheduler_compose }}"
    sql: true
"""

RETURN = r"""
current:
  description: Revisions that the database has; empty for an empty database.
  returned: always
  type: list
  elements: str
  sample: [20251208_task_runs]
heads:
  description: Heads of the image.
  returned: always
  type: list
  elements: str
  sample: [20251222_shift_index]
unknown:
  description: Revisions that the database has and the image does not know.
  returned: always
  type: list
  elements: str
  sample: []
pending:
  description: Revisions that an upgrade would run, oldest first.
  returned: always
  type: list
  elements: dict
  sample: [{revision: 20251220_shift_batch, message: Add the batch of a shift}]
at_head:
  description: Whether the database has exactly the heads of the image.
  returned: always
  type: bool
  sample: false
sql:
  description: SQL of the pending revisions, as Alembic's offline mode prints it.
  returned: when O(sql) is set and something is pending
  type: str
  sample: ALTER TABLE shifts ADD COLUMN batch INTEGER;
history:
  description:
    - Every revision of the image, oldest first, with those it comes after, and whether the database has it. More than one head, or
      a branch point without a merge point, is a broken history.
  returned: when O(history) is set
  type: list
  elements: dict
  sample:
    - {revision: 20251201_initial, message: Initial, after: [], applied: true, head: false, branch_point: false, merge_point: false}
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.alembic import ALEMBIC_SPEC, Revisions, ask
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish


def run(parameters: Mapping[str, Any], runner: Runner) -> dict[str, Any]:
    """Ask, and return where the database stands."""
    answer = ask(parameters, runner, sql=parameters["sql"], history=parameters["history"])
    result = {"changed": False, **Revisions.from_answer(answer).to_dict()}
    return {**result, **{key: answer[key] for key in ("sql", "history") if answer.get(key)}}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            **ALEMBIC_SPEC,
            "timeout": {"type": "int", "default": 600},
            "sql": {"type": "bool", "default": False},
            "history": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, SubprocessRunner()))


if __name__ == "__main__":
    main()
