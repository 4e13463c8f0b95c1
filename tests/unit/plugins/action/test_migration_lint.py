# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The review by the real squawk, where it is installed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.action.migration_lint import find, review

SQUAWK = find("squawk")
pytestmark = pytest.mark.skipif(SQUAWK is None, reason="squawk is not installed")


def rules(sql: str, *, transactional: bool = True) -> list[str]:
    step: dict[str, Any] = {"revision": "two", "message": "", "sql": sql, "transactional": transactional}
    return [finding.rule for finding in review(str(SQUAWK), step, {}, "15")]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("ALTER TABLE ledger ADD COLUMN batch INTEGER DEFAULT '0' NOT NULL;\nUPDATE ledger SET batch = number / 100;", []),
        ("CREATE TABLE l (id SERIAL NOT NULL, r INTEGER, PRIMARY KEY (id), FOREIGN KEY(r) REFERENCES residents (id));", []),
        ("CREATE INDEX ix ON shifts (resident_id);", ["require-concurrent-index-creation"]),
        ("UPDATE alembic_version SET version_num='two' WHERE alembic_version.version_num = 'one';\n\nCOMMIT;", []),
        ("ALTER TABLE residents DROP COLUMN x;", ["ban-drop-column"]),
        ("DROP TABLE residents;", ["ban-drop-table"]),
        ("ALTER TABLE a RENAME COLUMN b TO c;", ["renaming-column"]),
        ("ALTER TABLE a ADD COLUMN n int NOT NULL;", ["adding-required-field"]),
        ("ALTER TABLE a ALTER COLUMN b TYPE bigint;", ["changing-column-type"]),
        ("ALTER TABLE a ADD COLUMN n int; CREATE INDEX CONCURRENTLY ix ON a (n);", ["ban-concurrent-index-creation-in-transaction"]),
        ("SELEC 1;", ["syntax-error"]),
    ],
)
def test_what_squawk_finds(sql: str, expected: list[str]) -> None:
    assert list(dict.fromkeys(rules(sql))) == expected


def test_an_index_outside_of_a_transaction_is_right() -> None:
    sql = "ALTER TABLE a ADD COLUMN n int;\n\nCOMMIT;\n\nCREATE INDEX CONCURRENTLY ix ON a (n);\n\nBEGIN;\n"
    assert rules(sql, transactional=False) == []


def test_squawk_is_looked_for_on_the_path_too() -> None:
    assert find("sh")
    assert find("no-such-program") is None
