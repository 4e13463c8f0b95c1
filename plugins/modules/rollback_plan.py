#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides whether and how a server can go back to an earlier release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_plan
short_description: Decide which release to go back to, and what happens to the database
version_added: 0.4.0
description:
  - Reads the ledger, looks for the images of the release to go back to, and compares its database revision with that of the database.
  - The code alone can go back where both are the same. Otherwise the revisions have to be taken back by the image of the release that
    is left, or a backup has to be restored; each choice comes with its price. One that is not possible is refused before anything
    stops.
  - By default the way leads to the last good release; where that one runs itself, to the good one before it. After a rollback the same
    task again goes no further.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.alembic
  - residency.scheduler.postgres
  - residency.scheduler.attributes.read_only
options:
  project:
    description: The compose project, its O(project.files) without the generated file of any release.
  state_dir:
    description: Folder for the server's state, with the ledger.
    type: path
    required: true
  backup_dir:
    description: Folder of the backups.
    type: path
    required: true
  to:
    description: Version, commit (7 characters or more) or record id of the release to go back to. Empty for the last good one.
    type: str
    default: ""
  database:
    description: What shall happen to the database. Ignored with O(automatic).
    type: str
    choices: [keep, downgrade, restore]
    default: keep
  backup:
    description: Name of the backup to restore. V(newest) for the one that was taken before the release that is left, else the newest.
    type: str
    default: newest
  automatic:
    description:
      - For recovery - the last good release has to serve, also where it was the one that runs; keep the database where that works,
        else take back what releases that were tried since have migrated; never restore.
    type: bool
    default: false
  moved:
    description:
      - With O(automatic), whether this very run had migrated the database. Where it had not, revisions are never taken back - those
        of an earlier run that was cut may have served for days. The refusal has RV(ignore:tried), the ids of what was tried, newest first.
    type: bool
    default: true
    version_added: 0.4.0
"""

EXAMPLES = r"""
- name: Find the way back
  residency.scheduler.rollback_plan:
    project: "{{ scheduler_compose | combine({'files': scheduler_compose_files}) }}"
    state_dir: /var/lib/residency-scheduler
    backup_dir: /var/lib/residency-scheduler/backups
  register: plan

- name: Find the way back to a release of long ago
  residency.scheduler.rollback_plan:
    project: "{{ scheduler_compose | combine({'files': scheduler_compose_files}) }}"
    state_dir: /var/lib/residency-scheduler
    backup_dir: /var/lib/residency-scheduler/backups
    to: v0.9.0
    database: downgrade
"""

RETURN = r"""
target:
  description: Record of the release to go back to.
  returned: always
  type: dict
  sample: {id: 20251222T020000Z-v1.0.0, version: v1.0.0, verdict: good}
leaving:
  description: Record of the release that is left.
  returned: always
  type: dict
  sample: {id: 20251229T020000Z-v1.1.0, version: v1.1.0, verdict: failed}
older:
  description: Whether the target is the older code; false where a release that was left is gone forward to again.
  returned: success
  type: bool
  sample: true
leaving_project:
  description: The compose project as the release that is left was started, for what only its image can do.
  returned: always
  type: dict
  sample: {name: residency-scheduler, directory: /opt/residency-scheduler}
current:
  description: Revisions that the database has.
  returned: always
  type: list
  elements: str
  sample: [20251229_leave]
database:
  description: What is to happen to the database.
  returned: always
  type: str
  sample: keep
backup:
  description: Name of the backup that a restore would take; empty without one.
  returned: always
  type: str
  sample: ""
choices:
  description: All ways for the database, each with its price. Only V(keep) where that is possible and wanted.
  returned: always
  type: list
  elements: dict
  sample: [{database: keep, possible: true, why: the database stands at 20251222_shift_index, price: nothing}]
told:
  description: The decision, for a person.
  returned: always
  type: str
  sample: Going back from v1.1.0 to v1.0.0; the database is kept
"""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import (
    alembic,
    backups,
    database_facts,
    ledger,
    rollback,
    side_database,
)
from ansible_collections.residency.scheduler.plugins.module_utils.backups import Backup
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_images
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import POSTGRES_SPEC, Postgres, find
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish
from ansible_collections.residency.scheduler.plugins.module_utils.rollback import Choice, Record

#: How many releases are asked whether they know the database's revision; each takes the start of a container.
ATTEMPTS = 3

ARGUMENT_SPEC: dict[str, Any] = {
    "project": PROJECT_SPEC,
    **alembic.ALEMBIC_SPEC,
    **POSTGRES_SPEC,
    "state_dir": {"type": "path", "required": True},
    "backup_dir": {"type": "path", "required": True},
    "to": {"type": "str", "default": ""},
    "database": {"type": "str", "choices": ["keep", "downgrade", "restore"], "default": "keep"},
    "backup": {"type": "str", "default": "newest"},
    "automatic": {"type": "bool", "default": False},
    "moved": {"type": "bool", "default": True},
}


def run(parameters: Mapping[str, Any], runner: Runner) -> dict[str, Any]:
    """Read, decide, and return the way back."""
    records = ledger.read_records(parameters["state_dir"])
    left = rollback.leaving(records)
    automatic = bool(parameters["automatic"])
    target = rollback.choose_target(records, left, "" if automatic else parameters["to"], automatic)
    images = target["images"].values()
    names = [str(image[key]) for image in images for key in ("reference", "id")]
    rollback.check_images(target, read_images(names, runner).ids)
    try:
        postgres = find(Project.from_parameters(parameters["project"]), parameters["database_service"], runner)
        present = _revision(postgres)
        noted = side_database.read_note(postgres, str(left["id"])) if left else ""
    except Problem as problem:
        # A deployment that recovers mends that first.
        raise Problem(problem.what, problem.why, problem.remedy, **problem.details, database_down=True) from problem
    stays = left is not None and left["id"] == target["id"]
    older = left is None or is_older(target, left, parameters["project"]["directory"], runner)
    project = _project(parameters, left or target)
    choices, backup = [rollback.keep(target, present)], None
    # The same restore again would set aside what was written since: after a whole run, and after one cut between swap and record.
    restored = stays or bool(noted and parameters["backup"] in ("newest", noted))
    if not choices[0].possible or (parameters["database"] == "restore" and not restored):
        backup = _backup(parameters, left, target, postgres.database)
        restore = _restore(postgres, target, backup)
        if automatic and not parameters["moved"]:
            downgrade = rollback.no_downgrade("not by itself: this run migrated nothing, what an earlier one brought up may have served")
        elif automatic and stays:
            downgrade = rollback.no_downgrade(f"no release was tried since {target['version']}: a person moved the database")
        elif parameters["database"] == "restore" and restore.possible and not automatic:
            downgrade = rollback.no_downgrade("it was not asked for")
        else:
            downgrade, project = _downgrade(parameters, rollback.tried(records), target, present, runner)
        choices += [downgrade, restore]
    elif parameters["database"] != "keep":
        # Nothing is there to take back, or it was restored already; restore.yml is for the database alone.
        choices.append(Choice(parameters["database"], True, choices[0].why, choices[0].price))
    try:
        chosen = rollback.decide(parameters["database"], choices, target, automatic)
    except Problem as problem:
        tried = [str(item["id"]) for item in rollback.tried(records)]
        raise Problem(problem.what, problem.why, problem.remedy, **problem.details, tried=tried) from problem
    database = "keep" if choices[0].possible and (chosen.database == "downgrade" or restored) else chosen.database
    version = left["version"] if left else "nothing"
    going = f"Going back from {version} to {target['version']}"
    if stays:
        going = f"{target['version']} is the release to go back to already"
        going += "" if automatic else "; to go further back, name one in rollback_to"
    return {
        "changed": False,
        "target": dict(target),
        "leaving": dict(left or {}),
        "leaving_project": project,
        "older": older,
        "current": present,
        "database": database,
        "backup": backup.name if backup else "",
        "choices": [choice.to_dict() for choice in choices],
        "told": f"{going}; database: {database}, {chosen.why}; price: {chosen.price}",
    }


def is_older(target: Record, left: Record, home: str, runner: Runner) -> bool:
    """Tell whether *target* is what *left* was made from. A record's id only tells when it was first deployed here."""

    def descends(one: Record, other: Record) -> bool:
        return runner.run(["git", "-C", home, "merge-base", "--is-ancestor", str(other["commit"]), str(one["commit"])]).rc == 0

    if target["commit"] != left["commit"]:
        if descends(target, left):
            return False
        if descends(left, target):
            return True
    return str(target["id"]) <= str(left["id"])


def _project(parameters: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """Return the project as *record* was started, out of the copies beside the record."""
    folder = ledger.folder(parameters["state_dir"], str(record["id"]))
    files = [*((record.get("stack") or {}).get("compose_files") or parameters["project"]["files"]), os.path.join(folder, "compose.yml")]
    return {**parameters["project"], "files": files, "env_file": os.path.join(folder, ".env")}


def _revision(postgres: Postgres) -> list[str]:
    names = [row["name"] for row in postgres.rows(database_facts.TABLE_NAMES, "Listing the tables failed")]
    return database_facts.read_revision(postgres.rows, names)


def _downgrade(
    parameters: Mapping[str, Any], tried: Sequence[Record], target: Record, present: list[str], runner: Runner
) -> tuple[Choice, dict[str, Any]]:
    """Return whether an image takes the revisions back, and the project with that image.

    It is that of the release that is left, unless one that was tried before it has migrated the database. An image that is gone, or
    does not start, is one that cannot.
    """
    first: tuple[Choice, dict[str, Any]] | None = None
    for record in [*tried[:ATTEMPTS], target][:ATTEMPTS]:
        project = _project(parameters, record)
        found = _ask({**parameters, "project": project}, record, target, present, runner), project
        if found[0].possible:
            return found
        first = first or found
    return first or (rollback.downgrade(target, set(), [], present), _project(parameters, target))


def _ask(parameters: Mapping[str, Any], record: Record, target: Record, present: list[str], runner: Runner) -> Choice:
    """Return whether the image of *record* takes the revisions back."""
    wanted = list(target.get("revision") or [])
    try:
        known = {entry["revision"] for entry in alembic.ask(parameters, runner, history=True)["history"]}
        fits = len(wanted) == 1 and set(wanted) <= known and set(present) <= known
        steps = alembic.ask(parameters, runner, target=wanted[0])["steps"] if fits else []
    except Problem as problem:
        return rollback.no_downgrade(f"the image of {record['version']} cannot be asked ({problem.why})")
    return rollback.downgrade(target, known, steps, present)


def _backup(parameters: Mapping[str, Any], left: Record | None, target: Record, database: str) -> Backup | None:
    """Return the backup that a restore takes: the named one, that of before the release that is left, or the newest that fits."""
    folder = parameters["backup_dir"]
    if parameters["backup"] != "newest":
        return backups.read(folder, parameters["backup"])
    wanted = sorted(target.get("revision") or [])
    fitting = [item for item in backups.whole(folder, database) if sorted(item.facts.revision) == wanted]
    taken_before = [item for item in fitting if left and item.name == left.get("backup")]
    return max(taken_before or fitting, key=lambda item: item.created, default=None)


def _restore(postgres: Postgres, target: Record, backup: Backup | None) -> Choice:
    if backup is None:
        return rollback.restore(target, None, [])
    seconds = backup.content.get("seconds") or {}
    # Measured: restoring, proving and backing up what is live together take less than four times the dump's own time.
    minutes = timedelta(seconds=4 * float(seconds.get("dump", 0)) + 10) / timedelta(minutes=1)
    try:
        lost = database_facts.written_since(postgres.rows, backup.facts, backup.content["origin"])
    except Problem as problem:
        return Choice("restore", True, f"the backup {backup.name} has that revision", f"unknown: {problem.why}")
    brief = {"name": backup.name, "revision": backup.facts.revision, "minutes": f"about {max(1, round(minutes))}"}
    return rollback.restore(target, brief, lost)


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: run(module.params, SubprocessRunner()))


if __name__ == "__main__":
    main()
