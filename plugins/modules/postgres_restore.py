#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores a backup beside the live database, proves it, and swaps the two by name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_restore
short_description: Prove a backup, restore it, or undo a restore
version_added: 0.3.0
description:
  - Never restores over a live database. A backup goes, in one transaction, into a side database with owner, encoding, locale,
    settings and grants of the live one, and is compared with its manifest - rows of every table, sequences, Alembic's revision,
    extensions, indexes, constraints.
  - V(proven) throws the side database away again, and records how long it took. The live database is not touched.
  - V(restored) then takes a safety backup of the live database, and gives each the other's place by two renames in one transaction.
    Whoever connects meanwhile waits. The database that was live stays under the name C(DATABASE_before_TIME).
  - V(undone) is the same swap backwards. What was written in between stays under the name C(DATABASE_undone_TIME).
  - A backup whose files are not those that were written, of another database, of a newer server, with a revision that the image does
    not know, or larger than the free space, is refused before anything is made.
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
attributes:
  check_mode:
    support: full
    description: Makes all checks that need no side database, and tells what would be set aside.
  diff_mode:
    support: full
    description: Shows which database has the live name before and after.
  idempotent:
    support: none
    description: Each call restores.
options:
  state:
    description: What is wanted.
    type: str
    choices: [proven, restored, undone]
    default: proven
  backup:
    description: Name of the backup, V(newest) for the newest one.
    type: str
    default: newest
  set_aside:
    description: With V(undone), the database that becomes live again. The newest C(DATABASE_before_TIME) when empty.
    type: str
    default: ""
  confirm:
    description: The name of the backup, or of the database with V(undone), once more. Without it V(restored) and V(undone) only tell
      what would be set aside, and fail.
    type: str
    default: ""
  safety_dump:
    description: Whether the live database is backed up before V(restored). It is kept in any case.
    type: bool
    default: true
  instead_of:
    description: With V(restored), id of the release record that is left for it. The restored database says so in its comment, so that
      M(residency.scheduler.rollback_plan) does not restore once more after a run that was cut.
    type: str
    default: ""
    version_added: 0.4.0
  keep_days:
    description: Days after which databases that were set aside are dropped, by the next restore or its undoing.
    type: int
    default: 7
  state_dir:
    description: Folder of the server's state; V(proven) records its results in C(drills) below it. None are recorded without it.
    type: path
  metrics_dir:
    description: Folder for the figures of V(proven) in Prometheus's text format. None are written without it.
    type: path
"""

EXAMPLES = r"""
- name: Prove that the newest backup restores
  residency.scheduler.postgres_restore:
    project: "{{ scheduler_compose }}"
    backup_dir: /var/lib/residency-scheduler/backups
    state_dir: /var/lib/residency-scheduler

- name: Restore a backup
  residency.scheduler.postgres_restore:
    project: "{{ scheduler_compose }}"
    backup_dir: /var/lib/residency-scheduler/backups
    state: restored
    backup: residency_scheduler_20251222_020000
    confirm: residency_scheduler_20251222_020000

- name: Undo the last restore
  residency.scheduler.postgres_restore:
    project: "{{ scheduler_compose }}"
    backup_dir: /var/lib/residency-scheduler/backups
    state: undone
    confirm: residency_scheduler_before_20251222_093000
"""

RETURN = r"""
backup:
  description: The backup that was restored; empty with O(state=undone).
  returned: always
  type: dict
  sample: {name: residency_scheduler_20251222_020000, bytes: 432564, rows: 1204, revision: [20251222_shift_index]}
set_aside:
  description: Tables of the live database that are not as in the backup - rows now, rows in the backup, and rows written or changed
    since (none where that cannot be told).
  returned: with O(state=restored)
  type: list
  elements: dict
  sample: [{table: public.ledger, now: 1210, in_backup: 1204, written: 6}]
told:
  description: What would be set aside, as text for a person.
  returned: with O(state=restored) and O(state=undone)
  type: str
  sample: The backup residency_scheduler_20251222_020000 is of 2025-12-22 02:00:00 UTC. Nothing was written since.
unconfirmed:
  description: Why the run would not go on without another O(confirm); empty if it would. Outside of check mode the module fails with it.
  returned: with O(state=restored) and O(state=undone)
  type: str
  sample: ""
kept:
  description: Name under which the database that was live is kept.
  returned: with O(state=restored) and O(state=undone)
  type: str
  sample: residency_scheduler_before_20251222_093000
safety_backup:
  description: Name of the safety backup.
  returned: with O(state=restored) and O(safety_dump), except in check mode
  type: str
  sample: residency_scheduler_20251222_092958_restore
migrated:
  description: Revisions that were run on the copy before the swap, because the backup is older than the image.
  returned: with O(state=restored), except in check mode
  type: list
  elements: str
  sample: []
seconds:
  description: How long restoring and comparing took, the swap (nobody could connect), and the whole, in seconds.
  returned: except in check mode
  type: dict
  sample: {restore: 2.1, swap: 0.2, whole: 4.0}
swept:
  description: Databases of earlier runs that were dropped.
  returned: except in check mode
  type: list
  elements: str
  sample: []
checks:
  description: The evidence for the checklist.
  returned: except in check mode
  type: list
  elements: dict
  sample: [{subject: "database: restore drill", verdict: pass, topic: restore_drill}]
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import alembic, backups, database_facts, dump, side_database
from ansible_collections.residency.scheduler.plugins.module_utils.backups import Backup
from ansible_collections.residency.scheduler.plugins.module_utils.check import judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.drill import Task, diff, prove
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import POSTGRES_SPEC, find, lock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

ARGUMENT_SPEC: dict[str, Any] = {
    "project": PROJECT_SPEC,
    **alembic.ALEMBIC_SPEC,
    **alembic.LIMITS_SPEC,
    **POSTGRES_SPEC,
    "backup_dir": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["proven", "restored", "undone"], "default": "proven"},
    "backup": {"type": "str", "default": "newest"},
    "set_aside": {"type": "str", "default": ""},
    "confirm": {"type": "str", "default": ""},
    "safety_dump": {"type": "bool", "default": True},
    "instead_of": {"type": "str", "default": ""},
    "keep_days": {"type": "int", "default": 7},
    "state_dir": {"type": "path"},
    "metrics_dir": {"type": "path"},
}


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner, now: datetime) -> dict[str, Any]:
    """Do what *state* wants."""
    project = Project.from_parameters(parameters["project"])
    task = Task(parameters, check_mode, runner, project, find(project, parameters["database_service"], runner), now)
    return {"proven": prove, "restored": restore, "undone": undo}[parameters["state"]](task)


def restore(task: Task) -> dict[str, Any]:
    """Restore a backup beside the live database, and swap the two."""
    started = time.monotonic()
    postgres, backup = task.postgres, task.backup()
    behind = _check_revision(task, backup)
    kept = side_database.name_of(postgres.database, "before", task.now)
    lost = _set_aside(task, backup)
    result = {
        "changed": True,
        "backup": backup.brief(),
        "set_aside": lost,
        "kept": kept,
        "diff": diff(postgres.database, f"the database of now, kept as {kept}", f"the backup {backup.name}"),
    }
    told = f"The backup {backup.name} is of {backup.created:%Y-%m-%d %H:%M:%S} UTC. {_tell(lost)}"
    result |= {"told": told, "unconfirmed": _unconfirmed(task, backup.name, told, result)}
    if task.check_mode:
        return result
    with lock(postgres):
        swept = side_database.sweep(postgres, task.parameters["keep_days"], task.now)
        name = side_database.name_of(postgres.database, "side", task.now)
        with side_database.restored(postgres, backup, name, task.timeout):
            migrated = _migrate(task, name) if behind else []
            restored = time.monotonic() - started
            safety = _safety_dump(task)
            if task.parameters["instead_of"]:
                side_database.write_note(postgres, name, backup.name, task.parameters["instead_of"])
            seconds = side_database.swap(postgres, name, kept, time.monotonic)
    return {
        **result,
        "safety_backup": safety,
        "migrated": migrated,
        "swept": swept,
        "seconds": {"restore": round(restored, 3), "swap": round(seconds, 3), "whole": round(time.monotonic() - started, 3)},
        "checks": [_evidence(f"{backup.name} is live; the database of before is kept as {kept}", seconds)],
    }


def undo(task: Task) -> dict[str, Any]:
    """Give a database that was set aside its place back."""
    started = time.monotonic()
    postgres = task.postgres
    present = list(postgres.databases())
    aside = [*side_database.times(postgres.database, "before", present), *side_database.times(postgres.database, "undone", present)]
    name = task.parameters["set_aside"] or next(reversed(side_database.times(postgres.database, "before", present)), "")
    if name not in aside:
        listed = f"there is {', '.join(aside)}" if aside else "none is kept"
        why = f"no database {name or 'of before a restore'} was set aside; {listed}"
        raise Problem("Undoing the restore was refused", why, "Name one in set_aside.")
    answer = alembic.ask(task.parameters, task.runner, database=name)
    stands = alembic.Revisions.from_answer(answer)
    alembic.refuse_unsafe(stands)
    if not stands.at_head:
        why = f"{name} stands at {', '.join(stands.current)}, and the release wants {', '.join(stands.heads)}"
        raise Problem("Undoing the restore was refused", why, "Deploy the release of that time first.")
    kept = side_database.name_of(postgres.database, "undone", task.now)
    result = {"changed": True, "backup": {}, "kept": kept}
    result["diff"] = diff(postgres.database, f"the database of now, kept as {kept}", f"the database that is now {name}")
    told = f"{name} becomes live again; what was written since the restore is kept as {kept}."
    result |= {"told": told, "unconfirmed": _unconfirmed(task, name, told, result)}
    if task.check_mode:
        return result
    with lock(postgres):
        swept = side_database.sweep(postgres, task.parameters["keep_days"], task.now, wanted=name)
        seconds = side_database.swap(postgres, name, kept, time.monotonic)
    return {
        **result,
        "swept": swept,
        "seconds": {"swap": round(seconds, 3), "whole": round(time.monotonic() - started, 3)},
        "checks": [_evidence(f"{name} is live again; the database of in between is kept as {kept}", seconds)],
    }


def _evidence(found: str, seconds: float) -> dict[str, Any]:
    return judge("database: restore", True, "a proven database under the live name", found, "", seconds, topic="restore").to_dict()


def _check_revision(task: Task, backup: Backup) -> bool:
    """Refuse a backup that the image does not know; tell whether revisions have to be run on it."""
    # Asked of the maintenance database: the live one may be the reason for the restore.
    answer = alembic.ask(task.parameters, task.runner, history=True, database="postgres")
    known = {entry["revision"] for entry in answer["history"]}
    unknown = sorted(set(backup.facts.revision) - known)
    if unknown:
        version = backup.content["release"].get("version") or "the release that it was taken of"
        raise Problem(
            f"Restoring the backup {backup.name} was refused",
            f"its revision {', '.join(unknown)} is unknown to the image of {task.parameters['service']}",
            f"Deploy {version} together with this backup, or choose an older backup.",
        )
    return bool(backup.facts.revision != answer["heads"])


def _set_aside(task: Task, backup: Backup) -> list[dict[str, Any]]:
    if task.postgres.database not in task.postgres.databases():
        return []
    ask = task.postgres.rows
    return database_facts.written_since(lambda sql, what: ask(sql, what, timeout=task.timeout), backup.facts, backup.content["origin"])


def _tell(lost: Sequence[Mapping[str, Any]]) -> str:
    """Return what would be set aside, a line for each table. Pure."""
    if not lost:
        return "Nothing was written since."
    lines = []
    for row in lost:
        written = "" if row["written"] is None else f"; {row['written']} written or changed since"
        lines.append(f"  - {row['table']}: {row['now']} rows now, {row['in_backup']} in the backup{written}")
    return "What would be set aside (kept, not deleted):\n" + "\n".join(lines)


def _unconfirmed(task: Task, name: str, told: str, result: Mapping[str, Any]) -> str:
    """Return why the run may not go on; empty if it may.

    :raises Problem: the same, unless it is a check.
    """
    given = task.parameters["confirm"]
    if given == name:
        return ""
    what = f"{'Restoring' if task.parameters['state'] == 'restored' else 'Undoing the restore by'} {name} was not confirmed"
    why = f"the confirmation names {given}" if given else "no confirmation was given"
    remedy = f"If that is meant, confirm by the name {name}."
    if not task.check_mode:
        raise Problem(what, f"{why}. {told}", remedy, **{**result, "changed": False})
    return f"{what}: {why}. {remedy}"


def _migrate(task: Task, name: str) -> list[str]:
    """Bring a copy to the revision of the image, before it becomes the live database."""
    answer = alembic.ask(task.parameters, task.runner, target="heads", run=True, database=name)
    if answer["error"] or answer["current"] != answer["heads"]:
        why = redact(str(answer["error"]), task.project.secrets()) or f"it stands at {', '.join(answer['current'])}"
        raise Problem("Migrating the restored copy failed", why, "The live database was not touched. Choose a newer backup.")
    return [str(step["revision"]) for step in answer["steps"]]


def _safety_dump(task: Task) -> str:
    """Back the live database up, as long as there is one."""
    folder = task.parameters["backup_dir"]
    if not task.parameters["safety_dump"] or task.postgres.database not in task.postgres.databases():
        return ""
    context = {"project": task.project.name, "release": {}, "images": {}}
    try:
        with backups.locked(folder, task.timeout):
            backups.sweep_partial(folder)
            manifest = dump.take(task.postgres, dump.Order(folder, "restore", None, context, task.timeout), backups.now_utc())
    except Problem as problem:
        remedy = "The live database is kept by a restore in any case; to go without its backup, set safety_dump to false."
        raise Problem("Backing up the database before the restore failed", f"{problem.what}: {problem.why}", remedy) from problem
    return str(manifest["name"])


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner(), backups.now_utc()))


if __name__ == "__main__":
    main()
