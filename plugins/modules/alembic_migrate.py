#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrates the database to the heads of the wanted image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alembic_migrate
short_description: Migrate the database to the head of the wanted image
version_added: 0.1.0
description:
  - Runs the pending revisions in a one-shot container of the wanted image, with its entry point bypassed.
  - Refuses, before anything is changed, an image with more than one head and a database that the image does not know.
  - Afterwards the revisions in the database have to be the heads of the image. After a failure the message says where the
    database stands.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.alembic
attributes:
  check_mode:
    support: full
    description: Returns what is pending.
  diff_mode:
    support: full
    description: Shows the revision before and after, and the revisions between.
  idempotent:
    support: full
    description: A database at the head is not touched.
"""

EXAMPLES = r"""
- name: Migrate to the head of the release
  residency.scheduler.alembic_migrate:
    project: "{{ scheduler_compose }}"

- name: See what a migration would do
  residency.scheduler.alembic_migrate:
    project: "{{ scheduler_compose }}"
  check_mode: true
  diff: true
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
before:
  description: Revisions that the database had before.
  returned: always
  type: list
  elements: str
  sample: [20251208_task_runs]
applied:
  description: Revisions that were run (or would be), oldest first.
  returned: always
  type: list
  elements: dict
  sample: [{revision: 20251220_shift_batch, message: Add the batch of a shift}]
seconds:
  description: How long the migration took, in seconds.
  returned: when something was pending, except in check mode
  type: float
  sample: 1.1
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.alembic import ALEMBIC_SPEC, Revisions, ask, refuse_unsafe
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Look, refuse what is unsafe, migrate, and prove that the database is at the head."""
    before = Revisions.from_answer(ask(parameters, runner))
    refuse_unsafe(before)
    result = {"changed": bool(before.pending), "before": list(before.current), "applied": [dict(entry) for entry in before.pending]}
    result["diff"] = _diff(before)
    if check_mode or not before.pending:
        return {**result, **before.to_dict()}
    answer = ask(parameters, runner, target="heads")
    after = Revisions.from_answer(answer)
    if answer["error"] or not after.at_head:
        secrets = Project.from_parameters(parameters["project"]).secrets()
        raise failure(before, after, redact(answer["error"], secrets))
    return {**result, **after.to_dict(), "seconds": answer["seconds"]}


def failure(before: Revisions, after: Revisions, error: str) -> Problem:
    """Return the Problem that says exactly where the database stands. Pure."""
    if after.current == before.current:
        standing = f"the database is unchanged, at {_names(after.current)}"
    else:
        standing = f"it went from {_names(before.current)} to {_names(after.current)}, and {len(after.pending)} revisions are left"
    return Problem(
        "The migration failed",
        f"{error or 'Alembic reported success'}; {standing}",
        "Correct the release and deploy again; until then the release that runs goes on serving. Never `alembic stamp`.",
        before=list(before.current),
        **after.to_dict(),
    )


def _names(revisions: tuple[str, ...]) -> str:
    return ", ".join(revisions) or "no revision"


def _diff(before: Revisions) -> dict[str, str]:
    steps = "".join(f"{entry['revision']}: {entry['message']}\n" for entry in before.pending)
    return {
        "before_header": "database",
        "after_header": "database",
        "before": f"{_names(before.current)}\n",
        "after": f"{_names(before.current)}\n{steps}" if steps else f"{_names(before.current)}\n",
    }


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec={"project": PROJECT_SPEC, **ALEMBIC_SPEC}, supports_check_mode=True)
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
