# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of releases on a server: one JSON file for each, never rewritten but for its verdict."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

VERDICTS = ("candidate", "good", "failed", "rolled_back")
#: What makes two records the same release; the rest tells when, by whom and how it went.
MATERIAL = ("version", "commit", "images", "environment_digest")


def folder(state_dir: str) -> str:
    """Return the folder of the records."""
    return os.path.join(state_dir, "releases")


def read_records(state_dir: str) -> list[dict[str, Any]]:
    """Return all records, oldest first; a file that is no record is a Problem that names it."""
    try:
        names = sorted(name for name in os.listdir(folder(state_dir)) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    records = []
    for name in names:
        path = os.path.join(folder(state_dir), name)
        try:
            record = json.loads(read_text(path))
            records.append({**record, "id": record["id"], "verdict": record["verdict"]})
        except (ValueError, KeyError, TypeError) as error:
            raise Problem("Reading the ledger failed", f"{path} is no release record ({error})", "Move the file away.") from error
    return records


def newest(records: list[dict[str, Any]], verdict: str | None = None) -> dict[str, Any] | None:
    """Return the newest record, or the newest with *verdict*."""
    matching = [record for record in records if verdict in (None, record["verdict"])]
    return matching[-1] if matching else None


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two records describe the same release."""
    return all(one.get(key) == other.get(key) for key in MATERIAL)


def decide(records: list[dict[str, Any]], wanted: Mapping[str, Any], verdict: str, identifier: str) -> dict[str, Any] | None:
    """Return the record to write, or None where the ledger says it already. Pure.

    :arg identifier: id for a record that does not exist yet; ids sort by time.
    """
    last = newest(records)
    if last is None or not same(last, wanted) or last["verdict"] in ("failed", "rolled_back"):
        return {**wanted, "id": identifier, "verdict": verdict}
    # A candidate of a release that is already good is the second run of the same deployment.
    if last["verdict"] == verdict or (last["verdict"] == "good" and verdict == "candidate"):
        return None
    return {**last, **wanted, "id": last["id"], "started": last.get("started"), "verdict": verdict}


def write_record(state_dir: str, record: Mapping[str, Any]) -> None:
    """Write one record; readable by root and its group only."""
    path = os.path.join(folder(state_dir), f"{record['id']}.json")
    write_text(path, json.dumps(record, indent=2, sort_keys=True) + "\n", 0o640)
