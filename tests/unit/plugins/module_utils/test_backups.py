# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups are removed, which is the newest, and what is no backup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import backups
from ansible_collections.residency.scheduler.plugins.module_utils.backups import Backup, decide_prune, name_of
from ansible_collections.residency.scheduler.plugins.module_utils.database_facts import Facts
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

NOW = datetime(2025, 12, 22, 2, tzinfo=UTC)
FACTS = Facts({}, {}, [], {}, 0, [], [], [])


def taken(days: int, pool: str = "scheduled") -> Backup:
    created = NOW - timedelta(days=days)
    return Backup(name_of("db", pool, created), "/nowhere", pool, created, 1, FACTS, {})


@pytest.mark.parametrize(
    ("present", "days", "keep", "removed"),
    [
        ([taken(40), taken(31), taken(29)], 30, 1, [40, 31]),
        ([taken(40), taken(31), taken(29)], 30, 3, [40]),
        ([taken(40), taken(31), taken(29)], 30, 4, []),
        ([taken(40), taken(31), taken(29)], 0, 0, [40, 31, 29]),
        ([taken(40, "deployment"), taken(31)], 30, 1, [31]),
        ([], 30, 7, []),
    ],
)
def test_old_ones_go_but_for_the_newest_of_their_pool(present: list[Backup], days: int, keep: int, removed: list[int]) -> None:
    gone = decide_prune(present, "scheduled", NOW, days, keep)
    assert [(NOW - backup.created).days for backup in gone] == removed


def test_what_a_rollback_needs_stays() -> None:
    assert decide_prune([taken(90), taken(80)], "scheduled", NOW, 30, 1, needed=[taken(90).name]) == [taken(80)]


def test_names() -> None:
    assert name_of("residency_scheduler", "scheduled", NOW) == "residency_scheduler_20251222_020000"
    assert name_of("residency_scheduler", "deployment", NOW) == "residency_scheduler_20251222_020000_deployment"


def test_only_folders_with_a_backups_name_are_backups(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    for name in ("db_20251222_020000", "db_20251221_020000_restore", ".partial_db_20251222_030000", "other_20251222_020000", "db_now"):
        (folder / name).mkdir(parents=True)
    (folder / "db_20251223_020000").write_text("a file", encoding="utf-8")
    (folder / "db_20251224_020000").symlink_to(folder / "db_20251222_020000")
    assert backups.names(str(tmp_path), "db") == ["db_20251221_020000_restore", "db_20251222_020000"]
    assert backups.whole(str(tmp_path), "db") == []
    with pytest.raises(Problem, match="its manifest cannot be read"):
        backups.newest(str(tmp_path), "db")


def test_one_of_a_clock_that_was_ahead_is_not_the_newest(tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=365)
    (tmp_path / "postgres" / f"db_{later:%Y%m%d_%H%M%S}").mkdir(parents=True)
    with pytest.raises(Problem, match="has no backup of db, but 1 dated after now"):
        backups.newest(str(tmp_path), "db")
    (tmp_path / "postgres" / "db_20251222_020000").mkdir()
    with pytest.raises(Problem, match="db_20251222_020000"):  # it is looked into, and is empty
        backups.newest(str(tmp_path), "db")


@pytest.mark.parametrize("name", ["../postgres", "", "db_20200101_000000", "/etc"])
def test_a_name_that_is_none(name: str, tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    with pytest.raises(Problem, match="has no folder of this name"):
        backups.read(str(tmp_path), name)
