# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of squawk's findings stops a deployment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.plugin_utils.migration_lint import (
    EXCLUDED,
    allowances,
    check,
    command,
    for_review,
    own_findings,
    parse,
    refusal,
    statements,
)

FIXTURES = Path(__file__).parents[3] / "fixtures"
# What the recorded answers are about.
RECORDED = {
    "drop-after-umlauts": (
        "-- Running upgrade one -> two\n\nUPDATE a SET x = 'üäö; üäö üäö üäö üäö €'; "
        "ALTER TABLE a DROP COLUMN x; SELECT 1;\n\nDROP TABLE\n  b;\n"
    ),
    "new-table-autocommit": (
        "CREATE TABLE t (id int PRIMARY KEY, n int);\nCREATE INDEX ix ON t (n);\nALTER TABLE t ALTER COLUMN n SET NOT NULL;\n"
        "COMMIT;\nCREATE INDEX old ON ledger (number);\nBEGIN;\n"
    ),
    "syntax-error": "SELEC 1;\n",
}
STEP: dict[str, Any] = {"revision": "two", "message": "", "sql": "SELECT 1;\n\nALTER TABLE a\n  DROP COLUMN b;\n", "transactional": True}


def said(rule: str, line: int = 2) -> str:
    return json.dumps(
        [{"rule_name": rule, "line": line, "column": 0, "level": "Warning", "message": "It breaks.", "help": "Do otherwise."}]
    )


@pytest.mark.parametrize(
    ("rule", "allow", "level", "verdict"),
    [
        ("ban-drop-column", {}, "error", "fail"),
        ("ban-drop-column", {"two": ["ban-drop-column"]}, "error", "warn"),
        ("ban-drop-column", {"one": ["ban-drop-column"]}, "error", "fail"),
        ("ban-drop-column", {"two": ["ban-drop-table"]}, "error", "fail"),
        ("syntax-error", {}, "error", "fail"),
        ("ban-drop-schema", {}, "error", "fail"),
        ("renaming-object", {}, "error", "fail"),
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


def test_a_revision_of_digits_is_told_so_that_yaml_reads_a_text() -> None:
    findings = parse(said("ban-drop-column"), {**STEP, "revision": "20251229_1"}, {})
    assert refusal(findings).endswith('database_lint_allow: {"20251229_1": [ban-drop-column]}')


def test_what_is_allowed_is_a_list_by_revision() -> None:
    assert allowances({20251229: ["ban-drop-column"], "two": []}) == {"20251229": ["ban-drop-column"], "two": []}
    with pytest.raises(Problem, match=r"no list of rules, but 'ban-drop-column'. Write database_lint_allow: {two: \[RULE\]}"):
        allowances({"two": "ban-drop-column"})


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (
            "drop-after-umlauts",
            [("ban-drop-column", "error", "ALTER TABLE a DROP COLUMN x", 3), ("ban-drop-table", "error", "DROP TABLE b", 5)],
        ),
        ("new-table-autocommit", [("require-concurrent-index-creation", "warn", "CREATE INDEX old ON ledger (number)", 5)]),
        ("syntax-error", [("syntax-error", "error", "SELEC 1", 1)]),
    ],
)
def test_recorded_answers(situation: str, expected: list[tuple[str, str, str, int]]) -> None:
    answer = (FIXTURES / f"squawk-2.70-{situation}.json").read_text(encoding="utf-8")
    findings = parse(answer, {**STEP, "sql": RECORDED[situation]}, {})
    assert list(dict.fromkeys((item.rule, item.level, item.statement, item.line) for item in findings)) == expected


@pytest.mark.parametrize(
    ("second", "forgiven"),
    [
        ("ALTER TABLE t DROP COLUMN n", True),
        ("ALTER TABLE IF EXISTS ONLY t DROP COLUMN n", True),
        ("create unique index ix_season on t (n)", True),
        ("DROP TABLE t CASCADE", True),
        ("ALTER TABLE other DROP COLUMN n", False),
        ("ALTER TABLE tt DROP COLUMN n", False),
        ("CREATE INDEX ix ON other (n)", False),
        ("DROP TABLE t, other", False),
        ("TRUNCATE t CASCADE", False),
    ],
)
def test_only_what_is_done_to_a_new_table_is_forgiven(second: str, forgiven: bool) -> None:
    assert [item.on_new_table for item in statements(f"CREATE TABLE t (n int);\n{second};")] == [False, forgiven, False]
    assert not statements(f"{second}; CREATE TABLE t (n int);")[0].on_new_table


@pytest.mark.parametrize(
    "first",
    ["CREATE TABLE IF NOT EXISTS t (n int);", "-- x; CREATE TABLE t\n", "SELECT '; CREATE TABLE t';", "DO $x$ ; CREATE TABLE t; $x$;"],
)
def test_a_table_that_may_be_old_is_not_new(first: str) -> None:
    assert not any(item.on_new_table for item in statements(f"{first} ALTER TABLE t DROP COLUMN n;"))


def test_behind_a_temporary_table_there_may_be_a_real_one() -> None:
    found = statements("CREATE TEMP TABLE t (n int); DROP TABLE t; DROP TABLE t")
    assert [item.on_new_table for item in found] == [False, True, False]


@pytest.mark.parametrize("rule", ["ban-concurrent-index-creation-in-transaction", "syntax-error"])
def test_what_postgresql_refuses_is_told_of_a_new_table_too(rule: str) -> None:
    sql = "CREATE TABLE t (n int);\n\nCREATE INDEX CONCURRENTLY ix ON t (n);"
    assert [item.rule for item in parse(said(rule), {**STEP, "sql": sql}, {})] == [rule]
    assert parse(said("ban-drop-column"), {**STEP, "sql": sql}, {}) == []


def test_a_comment_in_the_migration_allows_nothing() -> None:
    assert "squawk-ignore" not in for_review("-- squawk-ignore-file\n-- squawk-ignore ban-drop-column\nSELECT 1;")


@pytest.mark.parametrize("sql", ["", "-- no SQL: it asks the database"])
def test_sql_that_cannot_be_seen_is_told(sql: str) -> None:
    assert check({**STEP, "sql": sql}, [], 0.0).verdict == "warn"
    assert check(STEP, [], 0.0).verdict == "pass"


def test_an_answer_that_is_none() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        parse("squawk panicked", STEP, {})
    assert parse("", STEP, {}) == []


@pytest.mark.parametrize("answer", ['{"error": 1}', "[1]", '[{"rule_name": "x"}]', '[{"rule_name": "x", "line": 99, "column": 0}]'])
def test_an_answer_of_another_form(answer: str) -> None:
    with pytest.raises(ValueError, match="its answer has another form"):
        parse(answer, STEP, {})


@pytest.mark.parametrize(
    ("destroys", "rules"),
    [
        (["empties the table ledger"], ["truncate-table"]),
        (["deletes rows of ledger", "drops the column b"], ["delete-rows"]),
        ([], []),
    ],
)
def test_rows_that_squawk_does_not_see_go(destroys: list[str], rules: list[str]) -> None:
    found = own_findings({**STEP, "destroys": destroys}, {})
    assert [item.rule for item in found if item.stops] == rules
    assert not [item for item in own_findings({**STEP, "destroys": destroys}, {"two": rules}) if item.stops]


def test_the_command() -> None:
    words = command("/bin/squawk", "15", transactional=True)
    assert words[:3] == ["/bin/squawk", "--reporter", "json"]
    assert "--assume-in-transaction" in words
    assert "--pg-version=15" in words
    assert f"--exclude={EXCLUDED[0]}" in words
    assert "--no-assume-in-transaction" in command("squawk", "", transactional=False)
