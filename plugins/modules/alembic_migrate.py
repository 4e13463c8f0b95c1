#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrates the database to a revision of the wanted image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alembic_migrate
short_description: Migrate the database to a revision of the wanted image
version_added: 0.1.0
description:
  - Runs the revisions up, or down, to O(target) in a one-shot container of the wanted image, with its entry point bypassed.
  - Refuses, before anything is changed, an image with more than one head and a database that the image does not know.
  - Going down is refused unless O(allow_downgrade) says so, and wherever a revision has no real downgrade.
  - Afterwards the revisions in the database have to be exactly the wanted ones. After a failure the message says where the
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
    description: Returns the steps.
  diff_mode:
    support: full
    description: Shows the revision before and after, and the revisions between.
  idempotent:
    support: full
    description: A database that is at the target is not touched.
options:
  target:
    description: The revision to migrate to; V(heads) for all there are, V(base) for none.
    type: str
    default: heads
  allow_downgrade:
    description: Whether the way may lead down. Downgrades drop columns and tables, with the rows in them.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Migrate to the head of the release
  residency.scheduler.alembic_migrate:
    project: "{{ scheduler_compose }}"

- name: Go back to the revision of the release before, with the image of the newer one
  residency.scheduler.alembic_migrate:
    project: "{{ scheduler_compose }}"
    target: 20251208_task_runs
    allow_downgrade: true

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
  description: Revisions that were run (or would be), in that order.
  returned: always
  type: list
  elements: dict
  sample: [{revision: 20251220_shift_batch, message: Add the batch of a shift, direction: upgrade}]
seconds:
  description: How long the migration took, in seconds.
  returned: when something was pending, except in check mode
  type: float
  sample: 1.1
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.alembic import ALEMBIC_SPEC, Revisions, ask, refuse_unsafe
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Look, refuse what is unsafe, migrate, and prove that the database is at the target."""
    target = str(parameters["target"])
    look = ask(parameters, runner, target=target)
    before = Revisions.from_answer(look)
    refuse_unsafe(before)
    steps = look["steps"]
    refuse_downgrade(before, steps, target, parameters["allow_downgrade"])
    result = {"changed": bool(steps), "before": list(before.current), "applied": steps, "diff": _diff(before, steps)}
    if check_mode or not steps:
        return {**result, **before.to_dict()}
    answer = ask(parameters, runner, target=target, run=True)
    after = Revisions.from_answer(answer)
    wanted = {"heads": after.heads, "base": ()}.get(target, (target,))
    if answer["error"] or after.current != wanted:
        secrets = Project.from_parameters(parameters["project"]).secrets()
        raise failure(before, after, wanted, redact(answer["error"], secrets))
    return {**result, **after.to_dict(), "seconds": answer["seconds"]}


def refuse_downgrade(before: Revisions, steps: Sequence[Mapping[str, Any]], target: str, allowed: bool) -> None:
    """Raise a Problem where the way leads down and may not, or cannot. Pure."""
    down = [step for step in steps if step["direction"] == "downgrade"]
    if down and not allowed:
        raise Problem(
            "The migration was refused",
            f"{target} lies before {_names(before.current)}, so {', '.join(step['revision'] for step in down)} would be undone",
            "Set allow_downgrade if that is meant: what these revisions added is dropped, with the rows in it.",
            **before.to_dict(),
        )
    stuck = [step["revision"] for step in down if not step["reversible"]]
    if stuck:
        raise Problem(
            "The migration was refused",
            f"{', '.join(stuck)} has no downgrade, so the database cannot go back to {target} that way",
            "Restore a backup from before it, or correct the release and go forward.",
            **before.to_dict(),
        )


def failure(before: Revisions, after: Revisions, wanted: tuple[str, ...], error: str) -> Problem:
    """Return the Problem that says exactly where the database stands. Pure."""
    if after.current == before.current:
        standing = f"the database is unchanged, at {_names(after.current)}"
    else:
        standing = f"it went from {_names(before.current)} to {_names(after.current)}, and not to {_names(wanted)}"
    return Problem(
        "The migration failed",
        f"{error or 'Alembic reported success'}; {standing}",
        "Correct the release and deploy again; until then the release that runs goes on serving. Never `alembic stamp`.",
        before=list(before.current),
        **after.to_dict(),
    )


def _names(revisions: tuple[str, ...]) -> str:
    return ", ".join(revisions) or "no revision"


def _diff(before: Revisions, steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    lines = "".join(f"{step['direction']} {step['revision']}: {step['message']}\n" for step in steps)
    present = f"{_names(before.current)}\n"
    return {"before_header": "database", "after_header": "database", "before": present, "after": present + lines}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            **ALEMBIC_SPEC,
            "target": {"type": "str", "default": "heads"},
            "allow_downgrade": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
