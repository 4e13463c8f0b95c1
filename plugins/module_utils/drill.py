# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove a backup beside the live database, and record how it went. For a module, and for the timer's program."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import backups, dump, metrics, side_database
from ansible_collections.residency.scheduler.plugins.module_utils.backups import Backup
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.files import write_text
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import Postgres, lock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem


@dataclass(frozen=True)
class Task:
    """What all three states need."""

    parameters: Mapping[str, Any]
    check_mode: bool
    runner: Runner
    project: Project
    postgres: Postgres
    now: datetime

    @property
    def timeout(self) -> float:
        """Return the seconds that one long step may take."""
        return float(self.parameters["timeout"])

    def backup(self) -> Backup:
        """Return the wanted backup; one that this server must not take is a Problem."""
        name, folder = self.parameters["backup"], self.parameters["backup_dir"]
        backup = backups.newest(folder, self.postgres.database) if name == "newest" else backups.read(folder, name)
        backups.check_integrity(backup)
        side_database.check_restorable(self.postgres, backup)
        return backup


def prove(task: Task) -> dict[str, Any]:
    """Restore a backup beside the live database, compare, and throw the copy away; record how it went."""
    started = time.monotonic()
    try:
        backup = task.backup()
        if task.check_mode:
            return {"changed": True, "backup": backup.brief(), "diff": diff(task.postgres.database, "", "")}
        with lock(task.postgres):
            # Not what a restore has set aside: how long that is kept was promised there.
            swept = side_database.sweep_copies(task.postgres)
            name = side_database.name_of(task.postgres.database, "side", task.now)
            with side_database.restored(task.postgres, backup, name, task.timeout):
                restored = time.monotonic() - started
    except Problem as problem:
        if not task.check_mode:
            _record(task, {"verdict": "failed", "backup": task.parameters["backup"], "why": problem.message()}, time.monotonic() - started)
        raise
    whole = time.monotonic() - started
    found = f"{backup.name}, {dump.rows_of(backup.facts)}, as its manifest says, in {restored:.1f} s"
    evidence = judge("database: restore drill", True, "a backup that restores", found, "", restored, topic="restore_drill")
    untold = _record(task, {"verdict": "good", "backup": backup.brief(), "restore_seconds": round(restored, 3)}, whole)
    return {
        "changed": True,
        "backup": backup.brief(),
        "seconds": {"restore": round(restored, 3), "whole": round(whole, 3)},
        "swept": swept,
        "checks": [check.to_dict() for check in (evidence, *untold)],
        "diff": diff(task.postgres.database, "", ""),
    }


def _record(task: Task, outcome: Mapping[str, Any], seconds: float) -> list[Check]:
    """Write the outcome of a drill into the ledger, and its figures for Prometheus; return what hindered that.

    A disk that is full makes no good drill a failed one, and must not hide why one has failed.
    """
    record = {"kind": "restore drill", "finished": backups.now_utc().isoformat(), "seconds": round(seconds, 3), **outcome}
    path = os.path.join(task.parameters["state_dir"] or "", "drills", f"{task.now:%Y%m%dT%H%M%SZ}.json")
    good = outcome["verdict"] == "good"
    gauges = [
        metrics.Gauge("residency_scheduler_restore_drill_success", "Whether the last restore drill succeeded.", int(good)),
        metrics.Gauge("residency_scheduler_restore_drill_timestamp_seconds", "Time of the last restore drill.", task.now.timestamp()),
        metrics.Gauge("residency_scheduler_restore_drill_duration_seconds", "How long the last restore drill took.", seconds),
    ]
    untold = []
    try:
        metrics.write(task.parameters["metrics_dir"], "restore_drill", task.project.name, gauges)
    except Problem as problem:
        untold.append(_unwritten("figures", problem))
    try:
        if task.parameters["state_dir"]:
            write_text(path, json.dumps(record, indent=2, sort_keys=True) + "\n", 0o640)
    except Problem as problem:
        untold.append(_unwritten("record", problem))
    return untold


def _unwritten(what: str, problem: Problem) -> Check:
    found = f"{problem.what}: {problem.why}"
    return judge(f"database: {what} of the drill", False, "written", found, problem.remedy, otherwise="warn", topic="restore_drill")


def diff(database: str, before: str, after: str) -> dict[str, str]:
    """Return the difference as modules show it. Pure."""
    return {"before": f"{database}: {before}\n" if before else "", "after": f"{database}: {after}\n" if after else ""}
