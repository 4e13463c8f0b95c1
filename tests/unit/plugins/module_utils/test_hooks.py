# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found wrong with hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.residency.scheduler.plugins.module_utils.hooks import NAMES, STAGES, findings

ROLES = Path(__file__).resolve().parents[4] / "roles"
WARM = "/srv/hooks/warm.yml"


@pytest.mark.parametrize(
    ("hooks", "subjects", "found"),
    [
        pytest.param({}, [], "", id="none"),
        pytest.param({"before_database": WARM, "after_verify": WARM}, [], "", id="good"),
        pytest.param({"before_migration": WARM}, ["scheduler_hooks.before_migration"], "a hook that is never run", id="name"),
        pytest.param({"database": WARM}, ["scheduler_hooks.database"], "a hook that is never run", id="no moment"),
        pytest.param({"after_code": "/srv/hooks/no.yml"}, ["scheduler_hooks.after_code"], "no file on the controller at", id="file"),
        pytest.param({"after_code": "hooks/warm.yml"}, ["scheduler_hooks.after_code"], '"hooks/warm.yml"', id="relative"),
        pytest.param({"after_code": [WARM]}, ["scheduler_hooks.after_code"], "a list of 1", id="list"),
        pytest.param({"after_code": None, "x": 1}, ["scheduler_hooks.after_code", "scheduler_hooks.x"], "nothing", id="all at once"),
        pytest.param([WARM], ["scheduler_hooks"], "a list of 1", id="no mapping"),
    ],
)
def test_findings(hooks: Any, subjects: list[str], found: str) -> None:
    told = findings(hooks, {WARM}.__contains__)
    assert [finding.subject for finding in told] == subjects
    assert found in (told[0].found if told else "")
    assert all(finding.severity == "stops" and finding.wanted and finding.remedy for finding in told)


def test_a_real_file_is_one(tmp_path: Path) -> None:
    file = tmp_path / "hook.yml"
    assert findings({"after_code": str(file)})[0].found.startswith("no file")
    file.touch()
    assert findings({"after_code": str(file)}) == []
    assert findings({"after_code": str(tmp_path)})[0].found.startswith("no file")


def test_each_stage_runs_its_hooks_first_and_last() -> None:
    assert len(NAMES) == 2 * len(STAGES)
    for stage in STAGES:
        tasks = yaml.safe_load((ROLES / stage / "tasks" / "main.yml").read_text(encoding="utf-8"))
        for task, file in ((tasks[0], "begin"), (tasks[-1], "end")):
            assert task["ansible.builtin.import_role"] == {"name": "residency.scheduler.scheduler", "tasks_from": file}
            assert task["vars"] == {"__scheduler_stage": stage}
