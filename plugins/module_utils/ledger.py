# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of releases on a server: a folder for each release, written once, and a history of verdicts that only grows.

``releases/ID/record.json`` says what the release is; beside it lie the files it was started with. ``releases/history.jsonl`` has a
line for each verdict, with the facts that became known with it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import RawIOBase
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: ``pruned`` is said of a release that cannot be gone back to any more; it leaves the verdict before it as it is.
VERDICTS = ("candidate", "good", "failed", "rolled_back")
PRUNED = "pruned"
#: What makes two records the same release; the rest tells when, by whom and how it went.
MATERIAL = ("version", "commit", "images", "environment_digest")
#: The same, of the files that are kept with it; records of before this was known lack it.
FILES = "files_digest"
RECORD, HISTORY = "record.json", "history.jsonl"
#: A folder of this prefix was being written when its run was cut.
PARTIAL = ".partial_"


@dataclass(frozen=True)
class Decision:
    """What to write: a new record or none, and verdicts, each with the id that it is about; *about* is the release in question."""

    about: Mapping[str, Any]
    record: Mapping[str, Any] | None
    verdicts: tuple[Mapping[str, Any], ...]

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to write."""
        return bool(self.record or self.verdicts)


def folder(state_dir: str, identifier: str = "") -> str:
    """Return the folder of all releases, or of one."""
    return os.path.join(state_dir, "releases", identifier) if identifier else os.path.join(state_dir, "releases")


def read_records(state_dir: str) -> list[dict[str, Any]]:
    """Return all records, oldest first, each with what the history says of it.

    ``verdict`` is the last one, ``proven`` whether it ever was good, ``pruned`` whether its images are gone, ``order`` the place of its
    last verdict in the history.

    :raises Problem: a file that is no record, or a line that is no verdict; it names them.
    """
    try:
        names = sorted(name for name in os.listdir(folder(state_dir)) if os.path.isdir(folder(state_dir, name)))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Problem("Reading the ledger failed", str(error), f"{folder(state_dir)} has to be a folder of root's.") from error
    records = {name: _read(state_dir, name) for name in names if not name.startswith(PARTIAL)}
    for order, event in enumerate(_history(state_dir)):
        record = records.get(event["id"])
        if record is None:
            continue
        if event["verdict"] == PRUNED:
            record["pruned"] = True
            continue
        record |= {**event, "order": order, "proven": record["proven"] or event["verdict"] == "good"}
    return list(records.values())


def _read(state_dir: str, name: str) -> dict[str, Any]:
    path = os.path.join(folder(state_dir, name), RECORD)
    try:
        record = dict(json.loads(read_text(path)))
        missing = [key for key in ("id", *MATERIAL) if key not in record]
        if missing:
            raise ValueError(f"no {', '.join(missing)}")
        if not all({"reference", "id"} <= set(image) for image in record["images"].values()):
            raise ValueError("an image without reference or id")
    except (ValueError, TypeError, AttributeError) as error:
        raise Problem("Reading the ledger failed", f"{path} is no release record ({error})", "Move its folder away.") from error
    return {**record, "id": name, "verdict": "candidate", "order": -1, "proven": False, "pruned": False}


def _history(state_dir: str) -> list[dict[str, Any]]:
    path = os.path.join(folder(state_dir), HISTORY)
    events = []
    # A last line without its end was being written when the power went: it was never said.
    for number, line in enumerate(read_text(path).split("\n")[:-1], start=1):
        try:
            event = {key: value for key, value in dict(json.loads(line)).items() if key not in (*MATERIAL, FILES)}
            if event["verdict"] not in (*VERDICTS, PRUNED):
                raise ValueError(f"the verdict {event['verdict']!r} is unknown")
            events.append({**event, "id": str(event["id"])})
        except (ValueError, KeyError, TypeError) as error:
            raise Problem("Reading the ledger failed", f"line {number} of {path} is no verdict ({error})", "Take the line out.") from error
    return events


def last_good(records: Sequence[Mapping[str, Any]], before: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
    """Return the release that was called good last, or the one that was so before *before*."""
    matching = [item for item in records if item["verdict"] == "good" and (before is None or item["order"] < before["order"])]
    return max(matching, key=lambda item: int(item["order"]), default=None)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two records describe the same release."""
    files = {one.get(FILES), other.get(FILES)} - {None}
    return len(files) < 2 and all(one.get(key) == other.get(key) for key in MATERIAL)


def decide(
    records: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any], verdict: str, identifier: str, facts: Mapping[str, Any]
) -> Decision:
    """Return what has to be written so that the ledger says *verdict* of the release *wanted*. Pure.

    :arg identifier: id for a record that does not exist yet; ids sort by time.
    :arg facts: what to note with the verdict.
    """
    serving = last_good(records)
    candidates = [item for item in records if item["verdict"] == "candidate"]
    about = next((item for item in reversed(candidates) if same(item, wanted)), None)
    if about is None and serving is not None and same(serving, wanted):
        about = serving
    record = None if about else {**wanted, "id": identifier}
    about = about or {**wanted, "id": identifier, "verdict": ""}
    verdicts = []
    # A candidate of a release that serves already is the second run of the same deployment. One that other verdicts followed has to be
    # said again: what was settled after it does not settle this run.
    stale = verdict == "candidate" and about["verdict"] == "candidate" and about["order"] < max(item["order"] for item in records)
    if stale or (about["verdict"] != verdict and not (about["verdict"] == "good" and verdict == "candidate")):
        verdicts.append({**facts, "id": about["id"], "verdict": verdict})
    if verdict == "good":
        verdicts += _close(records, about["id"])
    return Decision({**about, **(verdicts[0] if verdicts else {})}, record, tuple(verdicts))


def _close(records: Sequence[Mapping[str, Any]], *but: str) -> list[dict[str, Any]]:
    """Return verdicts for what cut runs left open: a verified release serves, and it is none of them."""
    return [
        {"id": item["id"], "verdict": "failed", "why": "its run was cut, and another release followed"}
        for item in records
        if item["verdict"] == "candidate" and item["id"] not in but
    ]


def say(records: Sequence[Mapping[str, Any]], identifier: str, verdict: str, facts: Mapping[str, Any]) -> Decision:
    """Return what has to be written so that the ledger says *verdict* of the record *identifier*. Pure.

    :arg facts: what to note with the verdict; ``instead_of`` is the id of the release that was left for this one.
    :raises Problem: there is no such record.
    """
    about = next((item for item in records if item["id"] == identifier), None)
    if about is None:
        raise Problem("Recording the release failed", f"the ledger has no record {identifier}", "List the records by release_info.")
    told = all(about.get(key) == value for key, value in facts.items())
    if about["verdict"] == verdict and told and (verdict != "good" or about == last_good(records)):
        return Decision(about, None, ())
    verdicts = [{**facts, "id": identifier, "verdict": verdict}]
    # In one write: a release is never both left and without a successor.
    for item in records:
        if item["id"] == facts.get("instead_of") and item["verdict"] != "rolled_back":
            verdicts.append({"id": item["id"], "verdict": "rolled_back", "why": str(facts.get("why") or "")})
    if verdict in ("good", "failed"):
        verdicts += _close(records, identifier, str(facts.get("instead_of")))
    return Decision({**about, "verdict": verdict, **facts}, None, tuple(verdicts))


def write(state_dir: str, decision: Decision, files: Mapping[str, str], now: str) -> None:
    """Write what was decided: first the record, then the verdicts.

    :arg files: copies to keep beside a new record, their paths by name.
    :arg now: time of the verdicts, ISO 8601.
    """
    if decision.record is not None:
        _write_record(state_dir, {**decision.record, "started": now}, files)
    append(state_dir, [{"at": now, **event} for event in decision.verdicts])


def _write_record(state_dir: str, record: Mapping[str, Any], files: Mapping[str, str]) -> None:
    beside, final = folder(state_dir, PARTIAL + record["id"]), folder(state_dir, record["id"])
    for name in os.listdir(folder(state_dir)) if os.path.isdir(folder(state_dir)) else []:
        if name.startswith(PARTIAL):
            shutil.rmtree(folder(state_dir, name), ignore_errors=True)
    for name, source in files.items():
        # Settings hold secrets.
        write_text(os.path.join(beside, name), read_text(source), 0o600)
    write_text(os.path.join(beside, RECORD), json.dumps(record, indent=2, sort_keys=True) + "\n", 0o640)
    try:
        os.chmod(beside, 0o750)
        os.rename(beside, final)
    except OSError as error:
        raise Problem(f"Writing {final} failed", str(error), "Look at that folder, and at `df -h`.") from error


def append(state_dir: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to the history, and take a line off that was cut."""
    if not events:
        return
    path = os.path.join(folder(state_dir), HISTORY)
    whole, newline, _torn = read_text(path).rpartition("\n")
    size = len(f"{whole}{newline}".encode())
    lines = "".join(json.dumps(event, sort_keys=True) + "\n" for event in events).encode()
    try:
        with open(path, "ab", buffering=0) as stream:
            os.fchmod(stream.fileno(), 0o640)
            stream.truncate(size)
            try:
                _write_all(stream, lines)
                os.fsync(stream.fileno())
            except OSError:
                # Of several verdicts none counts without the others.
                stream.truncate(size)
                raise
    except OSError as error:
        raise Problem(f"Writing {path} failed", str(error), "Look at `df -h`. What it said before is intact.") from error


def _write_all(stream: RawIOBase, data: bytes) -> None:
    while data:
        data = data[stream.write(data) or 0 :]
