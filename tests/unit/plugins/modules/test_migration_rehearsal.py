# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rehearsal refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.database_facts import Facts
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules.migration_rehearsal import refuse

FACTS = Facts({}, {}, [], {}, 0, ["old"], [], [])
GOOD: dict[str, Any] = {"error": "", "current": ["two"], "heads": ["two"]}


def rows(before: int | None, after: int | None) -> dict[str, dict[str, int | None]]:
    return {"public.a": {"before": before, "after": after}}


@pytest.mark.parametrize(("before", "after"), [(3, 3), (3, 4), (None, 0), (0, None)])
def test_nothing_to_refuse(before: int | None, after: int | None) -> None:
    refuse(GOOD, rows(before, after), FACTS, FACTS, [], [])


@pytest.mark.parametrize(
    ("answer", "counts", "invalid", "why"),
    [
        ({"error": "boom hunter22"}, rows(1, 1), ["old"], r"boom \*{8}"),
        ({"error": "boom", "left": ["new: index ix"]}, rows(1, 1), ["old"], "would leave behind: new: index ix"),
        ({"current": ["one"]}, rows(1, 1), ["old"], "it ended at one, not at two"),
        ({}, rows(1, 1), ["old", "new"], "these indexes are invalid: new"),
        ({}, rows(3, 2), ["old"], r"public.a \(3 rows before, 2 after\)"),
        ({}, rows(3, None), ["old"], r"public.a \(3 rows before, no table after\)"),
    ],
)
def test_what_is_refused(answer: dict[str, Any], counts: dict[str, dict[str, int | None]], invalid: list[str], why: str) -> None:
    with pytest.raises(Problem, match=why) as caught:
        refuse({**GOOD, **answer}, counts, replace(FACTS, invalid_indexes=invalid), FACTS, [], ["hunter22"])
    assert "goes on serving" in caught.value.message()


def test_a_loss_that_is_allowed() -> None:
    refuse(GOOD, rows(3, 0), FACTS, FACTS, ["public.a"], [])
