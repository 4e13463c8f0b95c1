# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of an environment against a release's."""

from __future__ import annotations

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.dotenv import Example, read_example
from ansible_collections.residency.scheduler.plugins.module_utils.environment_names import check_names
from ansible_collections.residency.scheduler.plugins.module_utils.finding import WARNS

EXAMPLE = read_example("A=1\n# B=2\n# deprecated: use A\nOLD=1\n")


@pytest.mark.parametrize(
    ("names", "previous", "subject", "found"),
    [
        (["A", "B", "COMPOSE"], ["A"], "", ""),
        (["TYPO"], [], "scheduler_env.TYPO", "a name that this release does not know"),
        (["FORMER"], ["FORMER"], "scheduler_env.FORMER", "a deprecated name, which the release that serves knew"),
        (["OLD"], ["OLD"], "scheduler_env.OLD", "calls deprecated (use A)"),
        ([], ["FORMER", "A"], "environment", "FORMER of the release that serves"),
    ],
)
def test_names(names: list[str], previous: list[str], subject: str, found: str) -> None:
    answer = check_names({"scheduler_env": names}, EXAMPLE, {"COMPOSE"}, previous)
    assert [(item.subject, item.severity) for item in answer] == ([(subject, WARNS)] if subject else [])
    assert all(found in item.found and item.remedy for item in answer)


def test_a_release_without_an_example_is_told_of_once() -> None:
    empty = Example({}, frozenset(), {})
    assert [item.subject for item in check_names({"scheduler_env": ["A", "B"]}, empty, (), ())] == ["environment_example"]
