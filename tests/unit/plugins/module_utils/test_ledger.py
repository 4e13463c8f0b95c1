# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic's revisions, the ledger of releases, and the files it is written to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.module_utils.alembic import Revisions, refuse_unsafe
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

AT_HEAD = Revisions(("b",), ("b",), (), ())
BEHIND = Revisions(("a",), ("b",), (), ({"revision": "b", "message": "add"},))
EMPTY = Revisions((), ("b",), (), ())


@pytest.mark.parametrize(("revisions", "at_head"), [(AT_HEAD, True), (BEHIND, False), (EMPTY, False)])
def test_at_head(revisions: Revisions, at_head: bool) -> None:
    assert revisions.at_head is at_head
    assert revisions.to_dict()["at_head"] is at_head
    assert Revisions.from_answer(revisions.to_dict()) == revisions


@pytest.mark.parametrize("revisions", [AT_HEAD, BEHIND])
def test_an_upgrade_that_can_be_tried(revisions: Revisions) -> None:
    refuse_unsafe(revisions)


@pytest.mark.parametrize(
    ("revisions", "words"),
    [
        (Revisions(("z",), ("b",), ("z",), ()), "stands at z, which this release does not know"),
        (Revisions(("a",), ("b", "c"), (), ()), "2 heads: b, c"),
    ],
)
def test_an_upgrade_that_is_refused(revisions: Revisions, words: str) -> None:
    with pytest.raises(Problem) as caught:
        refuse_unsafe(revisions)
    assert words in caught.value.message()
    assert caught.value.details["heads"] == list(revisions.heads)


WANTED = {"version": "v1", "commit": "c1", "images": {"backend": "i1"}, "environment_digest": "e1"}


def record(verdict: str, identifier: str = "1", **changes: Any) -> dict[str, Any]:
    return {**WANTED, "id": identifier, "verdict": verdict, "started": "then", **changes}


@pytest.mark.parametrize(
    ("records", "verdict", "expected"),
    [
        pytest.param([], "candidate", ("new", "candidate"), id="the first"),
        pytest.param([record("candidate")], "candidate", None, id="said already"),
        pytest.param([record("candidate")], "good", ("1", "good"), id="proven"),
        pytest.param([record("candidate")], "failed", ("1", "failed"), id="failed"),
        pytest.param([record("good")], "candidate", None, id="a second run"),
        pytest.param([record("good")], "good", None, id="a second run, proven"),
        pytest.param([record("failed")], "candidate", ("new", "candidate"), id="again after a failure"),
        pytest.param([record("rolled_back")], "candidate", ("new", "candidate"), id="again after going back"),
        pytest.param([record("good", version="v0")], "candidate", ("new", "candidate"), id="another version"),
        pytest.param([record("good", images={"backend": "i2"})], "candidate", ("new", "candidate"), id="another image"),
        pytest.param([record("good"), record("good", "2", version="v2")], "candidate", ("new", "candidate"), id="back to an older one"),
    ],
)
def test_ledger_decides(records: list[dict[str, Any]], verdict: str, expected: tuple[str, str] | None) -> None:
    decided = ledger.decide(records, WANTED, verdict, "new")
    assert (decided and (decided["id"], decided["verdict"])) == expected
    assert decided is None or all(decided[key] == value for key, value in WANTED.items())


def test_ledger_round_trip(tmp_path: Path) -> None:
    assert ledger.read_records(str(tmp_path)) == []
    for number, verdict in (("2", "candidate"), ("1", "good")):
        ledger.write_record(str(tmp_path), record(verdict, number))
    records = ledger.read_records(str(tmp_path))
    assert [entry["id"] for entry in records] == ["1", "2"]
    assert ledger.newest(records)["id"] == "2"
    assert ledger.newest(records, "good")["id"] == "1"
    assert ledger.newest(records, "failed") is None
    assert (tmp_path / "releases" / "1.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "1"}', "null"])
def test_a_file_that_is_no_record_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "1.json").write_text(text, encoding="utf-8")
    with pytest.raises(Problem, match="Reading the ledger failed") as caught:
        ledger.read_records(str(tmp_path))
    assert "1.json" in caught.value.why


def test_write_text_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_text(str(path), "one", 0o644)
    write_text(str(path), "two é", 0o600)
    assert read_text(str(path)) == "two é"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["file"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(Problem, match=r"Writing .*taken failed"):
        write_text(str(tmp_path / "taken"), "x", 0o600)
    assert os.listdir(tmp_path) == ["taken"]


def test_read_text(tmp_path: Path) -> None:
    assert read_text(str(tmp_path / "absent")) == ""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("binary", "."):
        with pytest.raises(Problem, match="Reading"):
            read_text(str(tmp_path / name))
