# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""monitor_setup: the program looks at the release that serves, with the files and services that it was deployed with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.module_utils.monitor_setup import Setup
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

IMAGES = {"backend": {"reference": "r", "id": "sha256:1"}}
RECORD = {"id": "20260131T020000Z-v1", "version": "v1", "commit": "0123456789abcdef", "images": IMAGES, "environment_digest": "d"}


def install(folder: Path) -> Setup:
    values: dict[str, Any] = {
        "state_dir": str(folder),
        "project": {"name": "p", "directory": "/opt/p", "env_file": ".env"},
        "compose_files": ["docker-compose.yml"],
        "services": [{"name": "db", "kind": "postgres"}],
    }
    (folder / "monitor.json").write_text(json.dumps(values), encoding="utf-8")
    return Setup.read(str(folder))


def deploy(folder: Path, **facts: Any) -> None:
    record = {**RECORD, **facts}
    verdict = {"id": record["id"], "verdict": "good"}
    ledger.write(str(folder), ledger.Decision(record, record, (verdict,)), {}, "2026-01-31T02:00:00+00:00")


def test_without_a_release_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="Looking for the release failed"):
        install(tmp_path).release()


def test_the_release_says_what_it_was_deployed_with(tmp_path: Path) -> None:
    setup = install(tmp_path)
    deploy(tmp_path, stack={"compose_files": ["a.yml", "b.yml"], "services": [{"name": "cache", "kind": "redis"}]})
    release = setup.release()
    assert release["at"] == "2026-01-31T02:00:00+00:00"
    assert setup.project(release)["files"] == ["a.yml", "b.yml", f"{tmp_path}/compose/0123456789ab.yml"]
    (service,) = setup.services(release)
    assert (service["name"], service["kind"], service["path"]) == ("cache", "redis", "/")


def test_a_release_of_before_has_what_is_configured(tmp_path: Path) -> None:
    setup = install(tmp_path)
    deploy(tmp_path)
    release = setup.release()
    assert setup.project(release)["files"][0] == "docker-compose.yml"
    assert [service["name"] for service in setup.services(release)] == ["db"]
