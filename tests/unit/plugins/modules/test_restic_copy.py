# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restic_copy: a repository that cannot be read is not taken for one that is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import restic_copy

SUMMARY = json.dumps({"message_type": "summary", "snapshot_id": "0123456789", "files_new": 4})
PARAMETERS = {"repository": "/srv/r", "password": "hunter22", "path": "/b", "environment": {}, "check_subset": "5%", "timeout": 60}


def failed(stderr: str) -> CommandResult:
    return CommandResult(("restic",), 1, "", stderr, 0.1)


def copy(runner: Any, *answers: tuple[str, Any]) -> tuple[dict[str, Any], Any]:
    fake = runner(*answers)
    return restic_copy.run(PARAMETERS, False, fake), fake


def test_a_missing_repository_is_made(runner) -> None:
    answers = [("cat config", failed("Fatal: unable to open config file: stat /srv/r/config: no such file")), ("init", "")]
    result, fake = copy(runner, *answers, ("backup --json", f'{{"message_type": "status"}}\n{SUMMARY}\n'), ("--read-data-subset=5%", ""))
    assert (result["snapshot"], result["initialized"], result["files_new"]) == ("0123456789", True, 4)
    assert not [argv for argv, _stdin in fake.calls if "hunter22" in " ".join(argv)]
    assert fake.calls[0][1] == "hunter22\nhunter22\n"


@pytest.mark.parametrize("stderr", ["Fatal: wrong password or no key found", "Fatal: connection refused"])
def test_one_that_cannot_be_read_is_told(stderr: str, runner) -> None:
    with pytest.raises(Problem, match="Check the repository's address and password"):
        copy(runner, ("cat config", failed(stderr)))


def test_a_damaged_repository_fails(runner) -> None:
    damaged = ("check", failed("Fatal: repository contains errors"))
    with pytest.raises(Problem, match="repository contains errors"):
        copy(runner, ("cat config", "{}"), ("backup", SUMMARY), damaged)


def test_no_snapshot_is_no_copy(runner) -> None:
    with pytest.raises(Problem, match="restic told of no snapshot"):
        copy(runner, ("cat config", "{}"), ("backup", "something else"))
