#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_lint
short_description: Review the SQL of pending migrations
version_added: 0.3.0
description:
  - Gives the SQL of each pending revision to squawk, and fails where it loses data, breaks the code that still runs, or takes a table
    away from its readers or writers for long, unless O(allow) names revision and rule. Comments in the SQL (C(squawk-ignore)) allow
    nothing.
  - A table that the same revision creates is empty, so what is done to it is not reported.
  - A revision that empties a table or deletes rows is an error, too (C(truncate-table), C(delete-rows)), which squawk does not report.
  - Runs on the controller and touches nothing.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - squawk-cli on the controller
extends_documentation_fragment:
  - residency.scheduler.attributes.read_only
options:
  steps:
    description: The pending revisions, as M(residency.scheduler.alembic_migrate) returns them in check mode (C(applied)).
    type: list
    elements: dict
    required: true
  allow:
    description: Errors that are meant, as a list of rules by revision. An entry is of no use to any other revision.
    type: dict
    default: {}
  postgres_version:
    description: Version of PostgreSQL for which the SQL is reviewed; squawk's default when empty.
    type: str
    default: ""
  executable:
    description: Name of squawk's program. It is looked for beside the Python of Ansible, and on the C(PATH).
    type: str
    default: squawk
"""

EXAMPLES = r"""
- name: See what is pending
  residency.scheduler.alembic_migrate:
    project: "{{ scheduler_compose }}"
  check_mode: true
  register: plan

- name: Review it
  residency.scheduler.migration_lint:
    steps: "{{ plan.applied }}"
    allow:
      20251229_drop_note: [ban-drop-column]
"""

RETURN = r"""
findings:
  description: What squawk found, in the order of the revisions.
  returned: when squawk could be asked
  type: list
  elements: dict
  sample:
    - {revision: 20251229_drop_note, rule: ban-drop-column, level: error, message: Dropping a column may break existing clients.,
       statement: ALTER TABLE residents DROP COLUMN note, line: 1, help: "", allowed: true}
checks:
  description: The evidence for the checklist, one for each revision.
  returned: when squawk could be asked
  type: list
  elements: dict
  sample: [{subject: "database: review of 20251229_drop_note", verdict: warn, topic: migration_lint}]
"""
