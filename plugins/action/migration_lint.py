# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reviews the SQL of pending migrations with squawk, on the controller."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.plugin_utils.migration_lint import (
    FAILED,
    SQUAWK,
    Finding,
    allowances,
    check,
    command,
    for_review,
    own_findings,
    parse,
    refusal,
    visible,
)

ARGUMENT_SPEC: dict[str, Any] = {
    "steps": {"type": "list", "elements": "dict", "required": True},
    "allow": {"type": "dict", "default": {}},
    "postgres_version": {"type": "str", "default": ""},
    "executable": {"type": "str", "default": "squawk"},
}
TIMEOUT = 60


class ActionModule(ActionBase):
    """Needs nothing of the managed host."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Review every step; an error that is not allowed fails the task."""
        super().run(tmp, task_vars)
        _result, given = self.validate_argument_spec(ARGUMENT_SPEC)
        try:
            return lint(given)
        except Problem as problem:
            return {"failed": True, "msg": problem.message()}


def lint(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task's result; a Problem where squawk could not be asked."""
    if any(not step.get("revision") for step in given["steps"]):
        raise Problem(FAILED, "a step has no revision", "Give the steps as alembic_migrate returns them in check mode (applied).")
    allow = allowances(given["allow"])
    steps = [step for step in given["steps"] if step.get("direction", "upgrade") == "upgrade"]
    executable = find(given["executable"])
    if executable is None and any(visible(step) for step in steps):
        remedy = f"Install it where ansible-playbook runs (pip install squawk-cli=={SQUAWK}), or set database_lint to false."
        raise Problem(FAILED, f"there is no {given['executable']} on the controller", remedy)
    findings, checks = [], []
    for step in steps:
        started = time.monotonic()
        try:
            found = review(executable or "", step, allow, given["postgres_version"]) if visible(step) else []
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            why = f"squawk gave no review of {step['revision']} ({error})"
            raise Problem(FAILED, why, f"Compare `squawk --version`: {SQUAWK}.") from error
        found += own_findings(step, allow)
        findings += found
        checks.append(check(step, found, time.monotonic() - started).to_dict())
    result = {"changed": False, "findings": [item.to_dict() for item in findings], "checks": checks}
    message = refusal(findings)
    return {**result, "failed": True, "msg": message} if message else result


def find(name: str) -> str | None:
    """Return the path of squawk: beside this Python, where pip puts it, or on the PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), name)
    return beside if os.access(beside, os.X_OK) else shutil.which(name)


def review(executable: str, step: Mapping[str, Any], allow: Mapping[str, Sequence[str]], postgres_version: str) -> list[Finding]:
    """Return what squawk says of one step; an answer that is no JSON is a ValueError."""
    words = command(executable, postgres_version, bool(step.get("transactional", True)))
    # From the root: a .squawk.toml of whoever runs the playbook is none of ours.
    sql = for_review(str(step["sql"]))
    done = subprocess.run(words, input=sql, capture_output=True, encoding="utf-8", check=False, timeout=TIMEOUT, cwd="/")
    if done.returncode not in (0, 1) or (done.returncode and not done.stdout.strip()):
        raise ValueError(f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return parse(done.stdout, step, allow)
