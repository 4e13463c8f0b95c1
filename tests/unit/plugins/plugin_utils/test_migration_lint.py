# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of squawk's findings stops a deployment."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.plugin_utils.migration_lint import EXCLUDED, check, command, parse, refusal

STEP: dict[str, Any] = {"revision": "two", "message": "", "sql": "SELECT 1;\n\nALTER TABLE a\n  DROP COLUMN b;\n", "transactional": True}


def said(rule: str, line: int = 2) -> str:
    return json.dumps([{"rule_name": rule, "line": line, "level": "Warning", "message": "It breaks.", "help": "Do otherwise."}])


@pytest.mark.parametrize(
    ("rule", "allow", "level", "verdict"),
    [
        ("ban-drop-column", {}, "error", "fail"),
        ("ban-drop-column", {"two": ["ban-drop-column"]}, "error", "warn"),
        ("ban-drop-column", {"one": ["ban-drop-column"]}, "error", "fail"),
        ("ban-drop-column", {"two": ["ban-drop-table"]}, "error", "fail"),
        ("syntax-error", {}, "error", "fail"),
        ("require-concurrent-index-creation", {}, "warn", "warn"),
        ("a-rule-of-tomorrow", {}, "warn", "warn"),
    ],
)
def test_what_stops(rule: str, allow: dict[str, list[str]], level: str, verdict: str) -> None:
    [finding] = parse(said(rule), STEP, allow)
    assert (finding.level, finding.line, finding.statement) == (level, 3, "ALTER TABLE a DROP COLUMN b")
    assert check(STEP, [finding], 0.1).verdict == verdict
    assert bool(refusal([finding])) == (verdict == "fail")


def test_the_refusal_says_exactly_what_to_allow() -> None:
    findings = parse(said("ban-drop-column"), STEP, {}) + parse(said("renaming-table"), STEP, {})
    assert "database_lint_allow: {two: [ban-drop-column, renaming-table]}" in refusal(findings)
    assert "two, ban-drop-column: ALTER TABLE a DROP COLUMN b\n    It breaks. Do otherwise." in refusal(findings)


@pytest.mark.parametrize("sql", ["", "-- no SQL: it asks the database"])
def test_sql_that_cannot_be_seen_is_told(sql: str) -> None:
    assert check({**STEP, "sql": sql}, [], 0.0).verdict == "warn"
    assert check(STEP, [], 0.0).verdict == "pass"


def test_an_answer_that_is_none() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        parse("squawk panicked", STEP, {})
    assert parse("", STEP, {}) == []


def test_the_command() -> None:
    words = command("/bin/squawk", "15", transactional=True)
    assert words[:3] == ["/bin/squawk", "--reporter", "json"]
    assert "--assume-in-transaction" in words
    assert "--pg-version=15" in words
    assert f"--exclude={EXCLUDED[0]}" in words
    assert "--no-assume-in-transaction" in command("squawk", "", transactional=False)
