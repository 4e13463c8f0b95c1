#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the pending migration on a restored copy of the database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_rehearsal
short_description: Rehearse the pending migration on a restored copy of the database
version_added: 0.3.0
description:
  - Restores a backup into a side database, compares it with the backup's manifest, and runs the pending revisions there with the
    wanted image - the same code as M(residency.scheduler.alembic_migrate), on data of today. The side database is dropped again.
  - Returns how long the migration took, which locks it held on tables that were there before, for how long and against whom, and the
    rows of each table before and after.
  - Fails where the migration fails, where a table loses rows, and where an index is invalid afterwards. The live database is not
    touched in any case.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.alembic
  - residency.scheduler.postgres
  - residency.scheduler.postgres.backups
  - residency.scheduler.postgres.migration
  - residency.scheduler.attributes.read_only
options:
  backup:
    description: Name of the backup, V(newest) for the newest one.
    type: str
    default: newest
  max_bytes:
    description: A database that is larger is not rehearsed, which the result says; 0 for any size.
    type: int
    default: 0
  row_loss_allowed:
    description: Tables that may lose rows, as C(schema.table).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Rehearse the migration on the backup that was just taken
  residency.scheduler.migration_rehearsal:
    project: "{{ scheduler_compose }}"
    backup_dir: /var/lib/residency-scheduler/backups
    backup: "{{ backup.name }}"
"""

RETURN = r"""
rehearsed:
  description: Whether the rehearsal took place.
  returned: always
  type: bool
  sample: true
skipped:
  description: Why it did not; empty if it did.
  returned: always
  type: str
  sample: ""
seconds:
  description: How long restoring and comparing took, the migration, and the whole, in seconds.
  returned: when it took place
  type: dict
  sample: {restore: 1.2, migration: 0.4, whole: 4.1}
locks:
  description: Locks of the migration that make others wait, on tables that were there before, the longest first.
  returned: when it took place
  type: list
  elements: dict
  sample: [{table: ledger, mode: AccessExclusiveLock, blocks: readers and writers, seconds: 0.2}]
rows:
  description: Rows by table before and after; none for a table that is not there.
  returned: when it took place
  type: dict
  sample: {public.ledger: {before: 1204, after: 1204}, public.leave_requests: {before: null, after: 0}}
swept:
  description: Databases of earlier runs that were dropped.
  returned: when it took place
  type: list
  elements: str
  sample: []
checks:
  description: The evidence for the checklist.
  returned: except in check mode
  type: list
  elements: dict
  sample: [{subject: "database: rehearsal of the migration", verdict: pass, topic: rehearsal}]
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import alembic, backups, dump, side_database
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.database_facts import Facts
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import POSTGRES_SPEC, find, lock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

ARGUMENT_SPEC: dict[str, Any] = {
    "project": PROJECT_SPEC,
    **alembic.ALEMBIC_SPEC,
    **alembic.LIMITS_SPEC,
    **POSTGRES_SPEC,
    "backup_dir": {"type": "path", "required": True},
    "backup": {"type": "str", "default": "newest"},
    "max_bytes": {"type": "int", "default": 0},
    "row_loss_allowed": {"type": "list", "elements": "str", "default": []},
}
WHAT = "The rehearsal of the migration failed"
UNTOUCHED = "Nothing that runs was touched, and the release that runs goes on serving."
#: Locks that are shorter than this many seconds on the copy are not worth a word.
NOTICEABLE = 0.05


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner, now: datetime) -> dict[str, Any]:
    """Restore, compare, migrate the copy, compare again, and throw the copy away."""
    started = time.monotonic()
    project = Project.from_parameters(parameters["project"])
    postgres = find(project, parameters["database_service"], runner)
    size = postgres.size()
    if parameters["max_bytes"] and size > parameters["max_bytes"]:
        return _skipped(f"the database has {dump.readable(size)}, more than the {dump.readable(parameters['max_bytes'])} of max_bytes")
    if check_mode:
        return {"changed": False, "rehearsed": False, "skipped": "a check takes no copy"}
    folder, name = parameters["backup_dir"], parameters["backup"]
    backup = backups.newest(folder, postgres.database) if name == "newest" else backups.read(folder, name)
    backups.check_integrity(backup)
    side_database.check_restorable(postgres, backup)
    timeout = float(parameters["timeout"])
    with lock(postgres):
        # What was set aside by a restore is none of a rehearsal's business.
        swept = side_database.sweep_copies(postgres)
        side = side_database.name_of(postgres.database, "side", now)
        with side_database.restored(postgres, backup, side, timeout) as before:
            restored = time.monotonic() - started
            answer = alembic.ask(parameters, runner, target="heads", run=True, database=side, observe=True)
            after = side_database.read_facts(postgres, side, timeout)
    rows = {table: {"before": before.tables.get(table), "after": after.tables.get(table)} for table in {**before.tables, **after.tables}}
    refuse(answer, rows, after, before, parameters["row_loss_allowed"], project.secrets())
    seconds = {"restore": round(restored, 3), "migration": answer.get("seconds", 0.0), "whole": round(time.monotonic() - started, 3)}
    locks = answer.get("locks", [])
    return {
        "changed": False,
        "rehearsed": True,
        "skipped": "",
        "seconds": seconds,
        "locks": locks,
        "rows": rows,
        "swept": swept,
        "checks": [_evidence(answer, rows, locks, seconds).to_dict()],
    }


def refuse(
    answer: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, int | None]],
    after: Facts,
    before: Facts,
    row_loss_allowed: Sequence[str],
    secrets: Sequence[str],
) -> None:
    """Raise a Problem where the migration must not be tried on the live database. Pure."""
    if answer["error"] or answer["current"] != answer["heads"]:
        why = redact(str(answer["error"]), secrets) or f"it ended at {', '.join(answer['current'])}, not at {', '.join(answer['heads'])}"
        left = f"; on the live database it would leave behind: {', '.join(answer['left'])}" if answer.get("left") else ""
        raise Problem(WHAT, why + left, f"{UNTOUCHED} Correct the release, and deploy the corrected one.")
    invalid = sorted(set(after.invalid_indexes) - set(before.invalid_indexes))
    if invalid:
        raise Problem(WHAT, f"afterwards these indexes are invalid: {', '.join(invalid)}", f"{UNTOUCHED} Correct the release.")
    lost = [
        f"{table} ({count['before']} rows before, {count['after'] if count['after'] is not None else 'no table'} after)"
        for table, count in sorted(rows.items())
        if (count["before"] or 0) > (count["after"] or 0) and table not in row_loss_allowed and table != "public.alembic_version"
    ]
    if lost:
        tables = ", ".join(entry.partition(" ")[0] for entry in lost)
        remedy = f"{UNTOUCHED} Correct the release, or, if that is meant, set database_row_loss_allowed to [{tables}]."
        raise Problem(WHAT, f"tables lose rows: {', '.join(lost)}", remedy)


def _skipped(reason: str) -> dict[str, Any]:
    evidence = Check(
        "database: rehearsal of the migration", "warn", "a migration that worked on a copy", f"not rehearsed: {reason}", 0.0,
        "Raise database_rehearsal_max_bytes, or rehearse in a staging environment.", "rehearsal",
    )  # fmt: skip
    return {"changed": False, "rehearsed": False, "skipped": reason, "checks": [evidence.to_dict()]}


def _evidence(
    answer: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, int | None]],
    locks: Sequence[Mapping[str, Any]],
    seconds: Mapping[str, float],
) -> Check:
    told = [f"{len(answer['steps'])} revisions in {seconds['migration']:.1f} s"]
    long = [item for item in locks if item["seconds"] >= NOTICEABLE]
    told += [f"{item['table']} locked against {item['blocks']} for {item['seconds']:.1f} s" for item in long]
    moved = {table: count for table, count in rows.items() if count["before"] != count["after"]}
    told += [f"{table}: {_count(count['before'])} -> {_count(count['after'])} rows" for table, count in sorted(moved.items())]
    expected = "a migration that works on a restored copy, and loses no row"
    return Check("database: rehearsal of the migration", "pass", expected, "; ".join(told), seconds["whole"], "", "rehearsal")


def _count(rows: int | None) -> str:
    return "no" if rows is None else str(rows)


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner(), backups.now_utc()))


if __name__ == "__main__":
    main()
