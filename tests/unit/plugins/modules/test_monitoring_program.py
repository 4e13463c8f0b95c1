# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""monitoring_program: checked, completed, written only where it differs, and shown without secrets."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.schedule import Records
from ansible_collections.residency.scheduler.plugins.modules import monitoring_program
from ansible_collections.residency.scheduler.plugins.modules.monitoring_program import completed, run, shown


def configuration(**given: Any) -> dict[str, Any]:
    lists: dict[str, Any] = {"endpoints": [{"name": "page", "url": "https://localhost/", "send_secrets": {"password": "s3cret-1"}}]}
    lists |= {"jobs": [{"name": "health", "calendar": "*:0/5", "max_age": 1200}]}
    lists |= {"services": [{"name": "db", "kind": "postgres"}], "celery": {}, "alembic": {}, "logs": {}}
    channels = [{"name": "chat", "kind": "slack", "url": "https://chat.example.org/s3cret-2"}]
    return {**lists, "channels": channels, "heartbeat_url": "https://beat.example.org/s3cret-3", "offsite": {}, **given}


def parameters(folder: Path, **given: Any) -> dict[str, Any]:
    program = folder / "sent"
    program.write_bytes(b"PK")
    text = json.dumps(configuration(**given))
    return {"path": str(folder / "monitoring"), "state": "present", "configuration": text, "program": str(program)}


def test_four_times(tmp_path: Path) -> None:
    given, folder = parameters(tmp_path), tmp_path / "monitoring"
    assert run(given, True)["written"] == ["monitor.pyz", "monitor.json"]
    assert not folder.exists()
    assert run(given, False)["changed"]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"monitor.pyz": "0o755", "monitor.json": "0o600"}
    assert not run(given, True)["changed"]
    assert not run(given, False)["changed"]


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    run(parameters(tmp_path), False)
    assert run(parameters(tmp_path, failures=3), False)["written"] == ["monitor.json"]
    os.chmod(tmp_path / "monitoring" / "monitor.json", 0o644)
    assert run(parameters(tmp_path, failures=3), False)["written"] == ["monitor.json"]
    (tmp_path / "monitoring" / "monitor.pyz").write_bytes(b"other")
    assert run(parameters(tmp_path, failures=3), False)["written"] == ["monitor.pyz"]


def test_no_secret_is_shown(tmp_path: Path) -> None:
    offsite = {"repository": "/srv/copy", "password": "s3cret-4", "environment": {"KEY": "s3cret-5"}}
    result = run(parameters(tmp_path, offsite=offsite), False)
    assert "s3cret" not in str(result)
    assert "https://localhost/" in result["diff"]["after"]
    assert "/srv/copy" in result["diff"]["after"]
    assert "s3cret" not in str(run({**parameters(tmp_path), "state": "absent"}, True))


def test_absent_removes_all(tmp_path: Path) -> None:
    run(parameters(tmp_path), False)
    gone = {"path": str(tmp_path / "monitoring"), "state": "absent", "configuration": None, "program": None}
    assert run(gone, True)["changed"]
    assert run(gone, False)["changed"]
    assert not (tmp_path / "monitoring").exists()
    assert not run(gone, False)["changed"]


def test_absent_waits_for_a_run_that_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(parameters(tmp_path), False)
    gone = {"path": str(tmp_path / "monitoring"), "state": "absent", "configuration": None, "program": None}
    monkeypatch.setattr(monitoring_program, "PATIENCE", 0.5)
    with Records(str(tmp_path / "monitoring" / "runs")).only("backup"), pytest.raises(Problem, match="still at work: backup"):
        run(gone, False)
    assert (tmp_path / "monitoring" / "monitor.pyz").exists()
    assert run(gone, False)["changed"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"endpoints": [{"name": "page"}]}, "Reading the option endpoints failed: missing required arguments: url"),
        ({"services": [{"name": "db", "kind": "oracle"}]}, "Reading the option services failed: value of kind must be one of"),
        ({"logs": {"second": 1}}, "Reading the option logs failed"),
        ({"channels": [{"name": "chat", "kind": "pigeon"}]}, "Reading notify_channels failed"),
        ({"jobs": [{"name": "health"}]}, "Reading the option monitoring_jobs failed: missing required arguments: max_age"),
        ({"jobs": [{"name": "healht", "max_age": 1}]}, "Reading the option monitoring_jobs failed: value of name must be one of"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        run(parameters(tmp_path, **given), False)
    assert message in caught.value.message()
    assert not (tmp_path / "monitoring").exists()


def test_defaults_are_completed() -> None:
    found = completed(configuration())
    assert found["endpoints"][0]["timeout"] == 10
    assert found["logs"]["lines"] == 2000
    assert found["services"][0]["path"] == "/"


def test_empty_secrets_are_shown_as_such() -> None:
    assert shown({"heartbeat_url": "", "channels": [{"url": "u", "name": "n"}], "url": "v"}) == {
        "heartbeat_url": "",
        "channels": [{"url": "********", "name": "n"}],
        "url": "v",
    }
