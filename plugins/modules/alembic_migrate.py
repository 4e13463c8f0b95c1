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
  - Refuses, before anything is changed, an image with more than one head, a broken history, revision ids that the column cannot
    hold, and a database that the image does not know.
  - Works under an advisory lock on a connection of its own, so that two migrations never run side by side. Its statements wait for
    a lock no longer than O(lock_timeout); then everything is undone, and tried again, up to O(lock_attempts) times.
  - Going down is refused unless O(allow_downgrade) says so, and wherever a revision has no real downgrade.
  - Afterwards the revisions in the database have to be exactly the wanted ones, and no index of it may be invalid. After a failure
    the message says whether the database is unchanged, where it stands, what was left behind, and what to do next. It never stamps.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.alembic
  - residency.scheduler.postgres.migration
attributes:
  check_mode:
    support: full
    description: Returns the steps, each with its SQL, whether it runs in a transaction, what it destroys, and whether it can be undone.
  diff_mode:
    support: full
    description: Shows the revision before and after, and the revisions between with their SQL.
  idempotent:
    support: full
    description: A database that is at the target is not touched.
options:
  timeout:
    description: Seconds that Alembic may take.
    type: int
    default: 600
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
  description: Revisions that were run (or would be), in that order. In check mode each upgrade has its SQL, and what follows from it.
  returned: always
  type: list
  elements: dict
  sample:
    - {revision: 20251220_shift_batch, message: Add the batch of a shift, direction: upgrade, reversible: true, transactional: true,
       destroys: [], sql: "ALTER TABLE shifts ADD COLUMN batch INTEGER;"}
notes:
  description: One line for each step - what it is, whether it runs in a transaction, what it destroys, whether it can be undone.
  returned: always
  type: list
  elements: str
  sample: ["upgrade 20251220_shift_batch: Add the batch of a shift; in a transaction"]
checks:
  description: The evidence for the checklist, how the migration can be taken back; empty when nothing is pending.
  returned: in check mode
  type: list
  elements: dict
  sample: [{subject: "database: way back", verdict: pass, topic: way_back}]
attempts:
  description: How often the migration was started; more than once where a lock could not be had in time.
  returned: when something was pending, except in check mode
  type: int
  sample: 1
seconds:
  description: How long the migration took, in seconds.
  returned: when something was pending, except in check mode
  type: float
  sample: 1.1
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.alembic import (
    ALEMBIC_SPEC,
    LIMITS_SPEC,
    Revisions,
    ask,
    refuse_unsafe,
    tell,
)
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

ARGUMENT_SPEC: dict[str, Any] = {
    "project": PROJECT_SPEC,
    **ALEMBIC_SPEC,
    **LIMITS_SPEC,
    "timeout": {"type": "int", "default": 600},
    "target": {"type": "str", "default": "heads"},
    "allow_downgrade": {"type": "bool", "default": False},
}


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Look, refuse what is unsafe, migrate, and prove that the database is at the target."""
    target = str(parameters["target"])
    look = ask(parameters, runner, target=target, sql=check_mode)
    before = Revisions.from_answer(look)
    refuse_unsafe(before)
    described = {entry["revision"]: entry for entry in before.pending}
    steps = [{**described.get(step["revision"], {}), **step} for step in look["steps"]]
    refuse_downgrade(before, steps, target, parameters["allow_downgrade"])
    notes = [tell(step) for step in steps]
    result = {"changed": bool(steps), "before": list(before.current), "applied": steps, "notes": notes, "diff": _diff(before, steps)}
    if check_mode or not steps:
        return {**result, **before.to_dict(), "checks": [_way_back(steps).to_dict()] if steps else []}
    answer = ask(parameters, runner, target=target, run=True)
    after = Revisions.from_answer(answer)
    wanted = {"heads": after.heads, "base": ()}.get(target, (target,))
    if answer["error"] or after.current != wanted or answer.get("invalid_indexes"):
        secrets = Project.from_parameters(parameters["project"]).secrets()
        raise failure(before, after, wanted, {**answer, "error": redact(answer["error"], secrets)})
    return {**result, **after.to_dict(), "seconds": answer["seconds"], "attempts": answer.get("attempts", 1)}


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


def _way_back(steps: Sequence[Mapping[str, Any]]) -> Check:
    """Return how a migration can be taken back, as evidence for the checklist."""
    stuck = [str(step["revision"]) for step in steps if not step["reversible"]]
    loses = [f"{step['revision']} {what}" for step in steps for what in step.get("destroys") or []]
    told = f"{len(steps)} revisions, each with a downgrade that the new image can run; and the backup"
    if stuck:
        told = f"the backup only, since {', '.join(stuck)} has no downgrade"
    if loses:
        told += f"; only the backup brings back what is lost: {', '.join(loses)}"
    remedy = "Keep the backup that was taken before the migration until the release has proven itself."
    return judge("database: way back", not (stuck or loses), "a way back", told, remedy, otherwise="warn", topic="way_back")


def failure(before: Revisions, after: Revisions, wanted: tuple[str, ...], answer: Mapping[str, Any]) -> Problem:
    """Return the Problem that says where the database stands, what was left behind, and the next step. Pure."""
    left, invalid = list(answer.get("left") or []), list(answer.get("invalid_indexes") or [])
    details = {"before": list(before.current), "left": left, "blockers": answer.get("blockers") or [], **after.to_dict()}
    if answer.get("kind") == "locked":
        remedy = "Wait for it to end, then run the deployment again. The lock ends with its holder."
        return Problem("The migration was refused", "another migration of this database is at work", remedy, **details)
    moved = after.current != before.current
    short = f", and not to {_names(wanted)}" if after.current != wanted else ""
    standing = f"it stands at {_names(after.current)}"
    if moved:
        standing = f"it went from {_names(before.current)} to {_names(after.current)}{short}"
    if not (moved or left or answer.get("autocommitted")):
        standing = f"the database is unchanged, at {_names(after.current)}"
    told = [answer["error"] or "Alembic reported success", standing]
    told += [f"left behind: {', '.join(left)}"] if left else []
    told += [f"invalid indexes: {', '.join(invalid)}"] if invalid else []
    told += ["statements outside of a transaction may have changed rows"] if answer.get("autocommitted") else []
    if answer.get("kind") == "lock_timeout":
        told.insert(0, f"a lock could not be had in {answer['attempts']} attempts, held by {_sessions(details['blockers'])}")
        remedy = "End that session, or wait for it, then run the deployment again; or choose a quieter hour."
    elif left or invalid:
        remedy = (
            "Drop by hand what is left behind (DROP INDEX CONCURRENTLY for an index), or make the revision cope with it; then correct "
            "the release and deploy again. Never `alembic stamp`."
        )
    else:
        remedy = "Correct the revision, then run this again. Never `alembic stamp`."
    return Problem("The migration failed", "; ".join(told), remedy, **details)


def _sessions(blockers: Sequence[Mapping[str, Any]]) -> str:
    told = [
        f"process {item['pid']} of {item['user']} ({item['application'] or 'no name'}, {item['state']} for {item['seconds']} s)"
        for item in blockers
    ]
    return ", ".join(told) or "a session that has ended since"


def _names(revisions: tuple[str, ...]) -> str:
    return ", ".join(revisions) or "no revision"


def _diff(before: Revisions, steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    present = f"{_names(before.current)}\n"
    lines = []
    for step in steps:
        lines += [tell(step), *(f"    {line}" for line in str(step.get("sql") or "").splitlines() if line.strip())]
    return {"before_header": "database", "after_header": "database", "before": present, "after": present + "".join(f"{x}\n" for x in lines)}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
