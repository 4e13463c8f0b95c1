# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic's revisions, the ledger of releases, and the files it is written to."""

from __future__ import annotations

import json
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


WANTED = {"version": "v1", "commit": "c1", "images": {"backend": {"reference": "app:1", "id": "i1"}}, "environment_digest": "e1"}


def record(verdict: str, identifier: str = "1", **changes: Any) -> dict[str, Any]:
    told = {"verdict": verdict, "order": int(identifier), "proven": verdict == "good", "pruned": False}
    return {**WANTED, "id": identifier, **told, **changes}


GOOD, OTHER = record("good"), record("good", version="v0")


@pytest.mark.parametrize(
    ("records", "verdict", "new", "verdicts"),
    [
        pytest.param([], "candidate", True, ["new candidate"], id="the first"),
        pytest.param([record("candidate")], "candidate", False, [], id="said already"),
        pytest.param([record("candidate")], "good", False, ["1 good"], id="proven"),
        pytest.param([record("candidate")], "failed", False, ["1 failed"], id="failed"),
        pytest.param([GOOD], "candidate", False, [], id="a second run"),
        pytest.param([GOOD], "good", False, [], id="a second run, proven"),
        pytest.param([record("failed")], "candidate", True, ["new candidate"], id="again after a failure"),
        pytest.param([record("rolled_back")], "candidate", True, ["new candidate"], id="again after going back"),
        pytest.param([OTHER], "candidate", True, ["new candidate"], id="another version"),
        pytest.param([record("good", images={"backend": "i2"})], "candidate", True, ["new candidate"], id="another image"),
        pytest.param([GOOD, record("good", "2", version="v2")], "candidate", True, ["new candidate"], id="back to an older one"),
        pytest.param([OTHER, record("candidate", "2")], "good", False, ["2 good"], id="the next run finishes it"),
        pytest.param([GOOD, record("candidate", "2", version="v2")], "good", False, ["2 failed"], id="another one was cut meanwhile"),
        pytest.param([record("candidate"), record("failed", "2", version="v2")], "candidate", False, ["1 candidate"], id="tried again"),
        pytest.param(
            [record("candidate", version="v2")], "good", True, ["new good", "1 failed"], id="the first one, after one that was cut"
        ),
    ],
)
def test_ledger_decides(records: list[dict[str, Any]], verdict: str, new: bool, verdicts: list[str]) -> None:
    decided = ledger.decide(records, WANTED, verdict, "new", {"revision": ["a"]})
    assert (decided.record is not None) is new
    assert [f"{event['id']} {event['verdict']}" for event in decided.verdicts] == verdicts
    assert decided.changed is bool(new or verdicts)
    assert all(decided.about[key] == value for key, value in WANTED.items())


def test_a_rollback_is_said_in_one_write() -> None:
    records = [GOOD, record("good", "2", version="v2")]
    back = ledger.say(records, "1", "good", {"instead_of": "2", "why": "slow"})
    assert [(event["id"], event["verdict"], event["why"]) for event in back.verdicts] == [
        ("1", "good", "slow"),
        ("2", "rolled_back", "slow"),
    ]
    assert ledger.say([record("good", instead_of="2", why="slow")], "1", "good", {"instead_of": "2", "why": "slow"}).changed is False
    assert ledger.say([GOOD], "1", "failed", {}).changed
    with pytest.raises(Problem, match="Recording the release failed"):
        ledger.say(records, "3", "good", {})


@pytest.mark.parametrize("verdict", ["good", "failed"])
def test_what_cut_runs_left_open_is_closed(verdict: str) -> None:
    records = [GOOD, record("candidate", "2", version="v2"), record("candidate", "3", version="v3")]
    about, instead = ("1", {"instead_of": "3", "why": "it crashed"}) if verdict == "good" else ("3", {"why": "no room"})
    said = ledger.say(records, about, verdict, instead)
    assert {event["id"]: event["verdict"] for event in said.verdicts} == {
        **({"1": "good", "3": "rolled_back"} if verdict == "good" else {"3": "failed"}),
        "2": "failed",
    }


def test_of_several_verdicts_none_counts_when_the_disk_is_full(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path, "1", "good")
    before = (tmp_path / "releases" / "history.jsonl").read_bytes()

    def full(stream: Any, data: bytes) -> None:
        stream.write(data[:60])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger, "_write_all", full)
    with pytest.raises(Problem, match="No space left on device"):
        ledger.append(str(tmp_path), [{"id": "1", "verdict": "good"}, {"id": "2", "verdict": "rolled_back"}])
    assert (tmp_path / "releases" / "history.jsonl").read_bytes() == before


@pytest.mark.parametrize("images", [None, [], {"backend": None}, {"backend": {"id": "i1"}}, {"backend": "i1"}])
def test_a_record_without_images_is_named(images: Any, tmp_path: Path) -> None:
    write(tmp_path, "1", "good")
    path = tmp_path / "releases" / "1" / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "images": images}), encoding="utf-8")
    with pytest.raises(Problem, match=r"releases/1/record\.json is no release record"):
        ledger.read_records(str(tmp_path))


def test_a_verdict_cannot_change_what_a_release_is(tmp_path: Path) -> None:
    write(tmp_path, "1", "good")
    ledger.append(str(tmp_path), [{"id": "1", "verdict": "rolled_back", "commit": "another"}])
    (found,) = ledger.read_records(str(tmp_path))
    assert (found["commit"], found["verdict"]) == (WANTED["commit"], "rolled_back")


def test_a_ledger_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "releases").touch()
    with pytest.raises(Problem, match="has to be a folder"):
        ledger.read_records(str(tmp_path))


def test_a_record_that_is_there_already_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "releases" / "1" / "mine").mkdir(parents=True)
    with pytest.raises(Problem, match=r"Writing .*/releases/1 failed"):
        ledger._write_record(str(tmp_path), {"id": "1"}, {})


def test_which_release_serves() -> None:
    records = [record("good", "1", order=5), record("rolled_back", "2"), record("good", "3", order=4), record("candidate", "4", order=9)]
    serving = ledger.last_good(records)
    assert serving is not None
    assert serving["id"] == "1"
    before = ledger.last_good(records, serving)
    assert before is not None
    assert before["id"] == "3"
    assert ledger.last_good(records, before) is None


def write(folder: Path, identifier: str, verdict: str, files: dict[str, str] | None = None) -> None:
    wanted = {**WANTED, "version": f"v{identifier}"}
    ledger.write(str(folder), ledger.decide(ledger.read_records(str(folder)), wanted, verdict, identifier, {}), files or {}, "then")


def test_ledger_round_trip(tmp_path: Path) -> None:
    assert ledger.read_records(str(tmp_path)) == []
    (tmp_path / "env").write_text("PASSWORD='x'", encoding="utf-8")
    write(tmp_path, "1", "candidate", {".env": str(tmp_path / "env")})
    write(tmp_path, "1", "good")
    write(tmp_path, "2", "candidate")
    records = ledger.read_records(str(tmp_path))
    assert [(item["id"], item["verdict"], item["proven"]) for item in records] == [("1", "good", True), ("2", "candidate", False)]
    copies = tmp_path / "releases" / "1"
    assert (copies / ".env").read_text(encoding="utf-8") == "PASSWORD='x'"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (copies / ".env", copies / "record.json", copies.parent / "history.jsonl")}
    assert modes == {".env": 0o600, "record.json": 0o640, "history.jsonl": 0o640}
    ledger.append(str(tmp_path), [{"id": "1", "verdict": "pruned"}])
    assert [(item["verdict"], item["pruned"]) for item in ledger.read_records(str(tmp_path))] == [("good", True), ("candidate", False)]


@pytest.mark.parametrize("torn", ['{"id": "2", "verd', "\u00e9"])
def test_a_line_that_was_cut_was_never_said(torn: str, tmp_path: Path) -> None:
    write(tmp_path, "1", "candidate")
    history = tmp_path / "releases" / "history.jsonl"
    before = history.read_text(encoding="utf-8")
    history.write_text(before + torn, encoding="utf-8")
    assert [item["verdict"] for item in ledger.read_records(str(tmp_path))] == ["candidate"]
    write(tmp_path, "1", "good")
    assert [item["verdict"] for item in ledger.read_records(str(tmp_path))] == ["good"]
    assert torn not in history.read_text(encoding="utf-8")


def test_a_record_that_was_cut_is_none(tmp_path: Path) -> None:
    (tmp_path / "releases" / ".partial_1").mkdir(parents=True)
    assert ledger.read_records(str(tmp_path)) == []
    write(tmp_path, "2", "candidate")
    assert sorted(os.listdir(tmp_path / "releases")) == ["2", "history.jsonl"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "1"}', "null"])
def test_a_file_that_is_no_record_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "releases" / "1").mkdir(parents=True)
    (tmp_path / "releases" / "1" / "record.json").write_text(text, encoding="utf-8")
    with pytest.raises(Problem, match="Reading the ledger failed") as caught:
        ledger.read_records(str(tmp_path))
    assert "1/record.json" in caught.value.why


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"id": "1"}', '{"id": "1", "verdict": "gud"}'])
def test_a_line_that_is_no_verdict_is_named(line: str, tmp_path: Path) -> None:
    write(tmp_path, "1", "good")
    with (tmp_path / "releases" / "history.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(Problem, match=r"line 2 of .*history\.jsonl is no verdict"):
        ledger.read_records(str(tmp_path))


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


@pytest.mark.parametrize(("before", "now", "alike"), [("f1", "f1", True), ("f1", "f2", False), (None, "f2", True), ("f1", None, True)])
def test_a_release_is_also_its_files(before: str | None, now: str | None, alike: bool) -> None:
    one, other = ({**WANTED, **({ledger.FILES: digest} if digest else {})} for digest in (before, now))
    assert ledger.same(one, other) is alike
