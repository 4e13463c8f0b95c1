# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the backups into an encrypted restic repository, and read a part of it back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, Runner, require
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

WHAT = "Copying the backups off the server failed"


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Make the repository where there is none, take a snapshot, and read a part back."""
    if check_mode:
        return {"changed": True}
    started = time.monotonic()
    initialized = _exists(parameters, runner)
    said = _restic(parameters, runner, "backup", "--json", "--tag", "residency.scheduler", str(parameters["path"])).stdout
    summary = parse_summary(said)
    _restic(parameters, runner, "check", f"--read-data-subset={parameters['check_subset']}")
    found = f"snapshot {summary['snapshot_id'][:8]}, {summary['files_new']} new files, {parameters['check_subset']} read back"
    evidence = judge("database: copy off the server", True, "a copy that can be read", found, "", time.monotonic() - started)
    return {
        "changed": True,
        "snapshot": summary["snapshot_id"],
        "files_new": summary["files_new"],
        "initialized": initialized,
        "checks": [{**evidence.to_dict(), "topic": "backup_offsite"}],
    }


def parse_summary(text: str) -> dict[str, Any]:
    """Return the last message of ``restic backup --json``."""
    for line in reversed(text.splitlines()):
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("message_type") == "summary":
            return dict(message)
    raise Problem(WHAT, "restic told of no snapshot", "Run `restic snapshots`, and compare `restic version` (0.14 or newer).")


def _exists(parameters: Mapping[str, Any], runner: Runner) -> bool:
    """Make the repository unless it can be read; tell whether it was made."""
    result = _call(parameters, runner, "cat", "config")
    if result.rc == 0:
        return False
    # A repository that is there and cannot be read must not be taken for a missing one.
    missing = any(text in result.stderr for text in ("Is there a repository at", "unable to open config file", "does not exist"))
    if not missing:
        require(result, WHAT, "Check the repository's address and password.", _secrets(parameters))
    _restic(parameters, runner, "init")
    return True


def _restic(parameters: Mapping[str, Any], runner: Runner, *words: str) -> CommandResult:
    remedy = "The backups on the server are there. Check the repository's address, password and free space, then run this again."
    return require(_call(parameters, runner, *words), WHAT, remedy, _secrets(parameters))


def _call(parameters: Mapping[str, Any], runner: Runner, *words: str) -> CommandResult:
    argv = ["restic", "--repo", str(parameters["repository"]), "--no-cache", *words]
    # Restic asks twice for the password of a repository that it makes.
    return runner.run(argv, stdin=f"{parameters['password']}\n" * 2, timeout=float(parameters["timeout"]))


def _secrets(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    return (str(parameters["password"]), *(str(value) for value in parameters["environment"].values()))
