# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""log_review: which lines are errors."""

from __future__ import annotations

import pytest
from ansible_collections.residency.scheduler.plugins.modules.log_review import errors

PATTERNS = [r"\b(ERROR|CRITICAL|FATAL)\b", "^Traceback "]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("2025-12-22 02:00:00 ERROR connection refused", True),
        ("Traceback (most recent call last):", True),
        ("FATAL:  password authentication failed", True),
        ("INFO: 0 errors", False),
        ("GET /ERRORS.html 200", False),
        ("[2025-12-22 02:00:00: INFO/MainProcess] ready", False),
    ],
)
def test_errors(line: str, wrong: bool) -> None:
    assert errors([line], PATTERNS, []) == ([line] if wrong else [])


def test_a_line_that_is_ignored() -> None:
    lines = ["ERROR known and harmless", "ERROR new"]
    assert errors(lines, PATTERNS, ["known and harmless"]) == ["ERROR new"]
