# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""release: what a deployment writes into the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.modules import release

NOW = datetime(2025, 12, 22, 2, 0, tzinfo=UTC)


def record(
    folder: Path, verdict: str, version: str = "v1.0.0", *, minutes: int = 0, check_mode: bool = False, **more: Any
) -> dict[str, Any]:
    parameters = {
        "state_dir": str(folder),
        "verdict": verdict,
        "version": version,
        "commit": version.strip("v.").replace(".", "") * 8,
        "images": {"backend": {"reference": f"backend:{version}", "id": f"sha256:{version}"}},
        "environment_digest": "abc",
        "id": None,
        "files": {},
        "stages": [],
        "facts": {},
    }
    return release.run({**parameters, **more}, check_mode, NOW + timedelta(minutes=minutes))


def test_candidate_then_good_then_nothing_more(tmp_path: Path) -> None:
    assert record(tmp_path, "candidate")["changed"]
    assert record(tmp_path, "good", minutes=3)["changed"]
    before = ledger.read_records(str(tmp_path))
    assert not record(tmp_path, "candidate", minutes=5)["changed"]
    assert not record(tmp_path, "good", minutes=6)["changed"]
    assert ledger.read_records(str(tmp_path)) == before


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    assert record(tmp_path, "candidate", check_mode=True)["changed"]
    assert ledger.read_records(str(tmp_path)) == []


def test_a_run_that_was_cut_is_no_good_release(tmp_path: Path) -> None:
    record(tmp_path, "candidate")
    record(tmp_path, "good", minutes=3)
    record(tmp_path, "candidate", "v1.1.0", minutes=10)
    newest_good = [entry for entry in ledger.read_records(str(tmp_path)) if entry["verdict"] == "good"][-1]
    assert newest_good["version"] == "v1.0.0"
    # The next run of the same release finishes it.
    assert record(tmp_path, "good", "v1.1.0", minutes=20)["record"]["version"] == "v1.1.0"


def test_files_that_came_out_otherwise_are_another_release(tmp_path: Path) -> None:
    source = tmp_path / "compose.yml"

    def good(minutes: int) -> bool:
        return bool(record(tmp_path, "good", minutes=minutes, files={"compose.yml": str(source)})["changed"])

    source.write_text("ports: 0.0.0.0")
    assert good(0)
    assert not good(1)
    source.write_text("ports: 127.0.0.1")
    assert good(2)
    kept = [ledger.folder(str(tmp_path), item["id"]) for item in ledger.read_records(str(tmp_path))]
    assert [Path(folder, "compose.yml").read_text() for folder in kept] == ["ports: 0.0.0.0", "ports: 127.0.0.1"]
