# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names by which a run knows what an earlier one has left."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import identifier, literal
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.side_database import name_of, times

NOW = datetime(2025, 12, 22, 2, tzinfo=UTC)


def test_a_name_and_its_time() -> None:
    name = name_of("db", "before", NOW)
    assert name == "db_before_20251222_020000"
    others = ["db", "db_before", "db_before_20251222", "db_side_20251222_020000", "other_db_before_20251222_020000", name + "_x"]
    assert times("db", "before", [*others, name, "db_before_20251221_020000"]) == {
        "db_before_20251221_020000": datetime(2025, 12, 21, 2, tzinfo=UTC),
        name: NOW,
    }


def test_a_name_that_postgresql_would_cut_off() -> None:
    with pytest.raises(Problem, match="longer than 63 bytes"):
        name_of("x" * 45, "before", NOW)


def test_quoting() -> None:
    assert identifier('a"b') == '"a""b"'
    assert literal("a'b") == "'a''b'"
