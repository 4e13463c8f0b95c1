# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of a backup: check the space, take it, remove old ones, write the figures. For a module, and for the timer's program."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import backups, dump, ledger, metrics
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.database_facts import Facts
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import find
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner, now: datetime) -> dict[str, Any]:
    """Check the space, take the backup, and then remove old ones."""
    started = time.monotonic()
    project = Project.from_parameters(parameters["project"])
    postgres = find(project, parameters["database_service"], runner)
    folder, timeout = str(parameters["backup_dir"]), float(parameters["timeout"])
    present = backups.whole(folder, postgres.database)
    space = dump.check_space(postgres, folder, parameters["side_database"], present[-1].content if present else None)
    name = backups.name_of(postgres.database, parameters["pool"], now)
    removed = backups.decide_prune(
        present, parameters["pool"], now, parameters["retention_days"], parameters["keep"], _needed(parameters)
    )
    result = {**_result(name, folder, removed, present), "space": space}
    if check_mode:
        return result
    order = dump.Order(folder, parameters["pool"], parameters["compression"], _context(parameters, project, runner), timeout)
    try:
        with backups.locked(folder, timeout):
            swept = backups.sweep_partial(folder)
            manifest = dump.take(postgres, order, now)
            for old in removed:
                backups.remove(old)
    except OSError as error:
        raise Problem(dump.WHAT, str(error), "Look at the folder's mode and file system, and at `df -h`.") from error
    seconds = {**manifest["seconds"], "whole": round(time.monotonic() - started, 3)}
    found = f"{name}, {dump.readable(manifest['dump']['bytes'])}, {dump.rows_of(Facts.from_dict(manifest['facts']))}, read back"
    evidence = judge("database: backup", True, "a backup that was read back", found, "", seconds["whole"], topic="backup")
    return {
        **result,
        "manifest": manifest,
        "swept": swept,
        "seconds": seconds,
        "checks": [check.to_dict() for check in (evidence, *_write_metrics(parameters, project, manifest, seconds["whole"]))],
    }


def _result(name: str, folder: str, removed: list[backups.Backup], present: list[backups.Backup]) -> dict[str, Any]:
    gone = [backup.name for backup in removed]
    before = [backup.name for backup in present]
    after = [item for item in before if item not in gone] + [name]
    return {
        "changed": True,
        "name": name,
        "path": f"{backups.folder(folder)}/{name}",
        "removed": gone,
        "diff": {"before": "".join(f"{item}\n" for item in before), "after": "".join(f"{item}\n" for item in after)},
    }


def _context(parameters: Mapping[str, Any], project: Project, runner: Runner) -> dict[str, Any]:
    """Return what the manifest says of the release that runs."""
    record = ledger.last_good(ledger.read_records(parameters["state_dir"])) if parameters["state_dir"] else None
    release = {key: record[key] for key in ("id", "version", "commit")} if record else {}
    images = {container.service: container.image_id for container in read_containers(project.name, runner)}
    return {"project": project.name, "release": release, "images": images}


def _needed(parameters: Mapping[str, Any]) -> list[str]:
    """Return the backups of the releases that can be gone back from: a rollback may restore them."""
    records = ledger.read_records(parameters["state_dir"]) if parameters["state_dir"] else []
    return [str(record["backup"]) for record in records if record.get("backup") and not record["pruned"]]


def _write_metrics(parameters: Mapping[str, Any], project: Project, manifest: Mapping[str, Any], seconds: float) -> list[Check]:
    """Write the figures for Prometheus, and return what hindered that: the backup is good without them."""
    created = datetime.fromisoformat(manifest["created"]).timestamp()
    gauges = [
        metrics.Gauge("residency_scheduler_backup_created_timestamp_seconds", "Time of the newest backup.", created),
        metrics.Gauge("residency_scheduler_backup_size_bytes", "Size of the newest backup's dump.", manifest["dump"]["bytes"]),
        metrics.Gauge("residency_scheduler_backup_duration_seconds", "How long the newest backup took.", seconds),
    ]
    try:
        metrics.write(parameters["metrics_dir"], "backup", project.name, gauges)
    except Problem as problem:
        found = f"{problem.what}: {problem.why}"
        return [judge("database: figures of the backup", False, "written", found, problem.remedy, otherwise="warn", topic="backup")]
    return []
