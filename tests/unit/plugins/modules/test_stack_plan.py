# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""stack_plan: reads Compose's wishes and Docker's facts, and puts them side by side in start order."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.modules import stack_plan

REDIS = "sha256:a608fc4788633b87f14a391626b77ed5fb282da580faf1ab2bbb3b2c353ad9c8"
NGINX = "sha256:a17cd686f505821923773b687828e56a2ba3ad58557a10c1588f92726c4c2c93"
HASHES = {
    "redis": "a50f1f4c394b2ece81551dd0f1b0fcf2e0ce9f3187fa7e0eebe754f0fe782f41",
    "nginx": "98655e6d69f67c54a8d674eeb12b69691991b74d4a772b07d5222738deba726b",
}


@pytest.fixture(name="small")
def small_fixture(recorded) -> str:
    """The recorded redis and nginx, without the other containers of that stack."""
    containers = json.loads(recorded("docker-26.1-inspect-small-stack.json"))
    return json.dumps([item for item in containers if item["Name"] in ("/small-redis", "/small-nginx")])


def plan(runner: Any, small: str, *, redis_image: str = REDIS, hashes: dict[str, str] | None = None, worker_age: int = 1) -> dict[str, Any]:
    services = {"redis": {"image": "redis:7"}, "nginx": {"image": "nginx:1"}}
    fake = runner(
        ("config --format json", json.dumps({"services": services})),
        ("config --hash *", "".join(f"{name} {value}\n" for name, value in (hashes or HASHES).items())),
        ("docker image inspect", f'["redis:7"]|[]|{redis_image}\n["nginx:1"]|[]|{NGINX}\n'),
        ("docker ps", "one two\n"),
        ("docker container inspect", small),
        ("docker top small-nginx", f"PID ELAPSED STAT COMMAND\n9 {worker_age} S nginx: worker process\n"),
    )
    result = stack_plan.run(
        {
            "project": {"name": "small", "directory": "/none", "files": ["docker-compose.yml"], "env_file": ".env"},
            "services": [{"name": "redis", "kind": "redis"}, {"name": "nginx", "kind": "proxy"}],
            "back": False,
            "stand_ins": True,
            "drain_marker": None,
        },
        fake,
    )
    assert fake.finished()
    return result


def test_nothing_differs(runner, small: str) -> None:
    result = plan(runner, small)
    assert (result["actions"], result["diff"]) == ([], {"before": "", "after": ""})


def test_another_image_is_told_with_its_diff(runner, small: str) -> None:
    result = plan(runner, small, redis_image="sha256:" + "b" * 64)
    reason = "image a608fc478863 runs, bbbbbbbbbbbb is wanted"
    assert result["actions"] == [{"service": "redis", "action": "replace", "reason": reason, "prove": ["redis"]}]
    assert result["diff"] == {"before": "redis: 1 x image a608fc478863\n", "after": "redis: 1 x redis:7\n"}


def test_a_changed_configuration_is_told(runner, small: str) -> None:
    (action,) = plan(runner, small, hashes={**HASHES, "nginx": "0" * 64})["actions"]
    assert (action["service"], action["reason"]) == ("nginx", "its configuration changed")


def test_the_newest_file_counts_also_when_it_was_copied_with_its_old_time(tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    (tmp_path / "fullchain.pem").write_text("new", encoding="utf-8")
    os.utime(tmp_path / "fullchain.pem", (0, 0))
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    newest = stack_plan._newest([str(tmp_path)])
    assert newest is not None
    assert newest > before
    assert stack_plan._newest([str(tmp_path / "absent")]) is None


def test_a_service_that_nobody_listed_starts_last(runner) -> None:
    services = {name: {"image": f"{name}:1"} for name in ("aside", "redis")}
    fake = runner(
        ("config --format json", json.dumps({"services": services})),
        ("config --hash *", ""),
        ("docker image inspect", ""),
        ("docker ps", ""),
    )
    project = {"name": "small", "directory": "/none", "files": ["docker-compose.yml"], "env_file": ".env"}
    services_of_stack = [{"name": "redis", "kind": "redis"}]
    parameters = {"project": project, "services": services_of_stack, "back": False, "stand_ins": True, "drain_marker": None}
    result = stack_plan.run(parameters, fake)
    assert [action["service"] for action in result["actions"]] == ["redis", "aside"]
