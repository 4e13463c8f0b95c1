# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""stack_shutdown: the record comes first, success is read off the containers, and nothing hangs or hides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import stack_shutdown

NOW = datetime(2025, 12, 22, 2, 0, tzinfo=UTC)
DESCRIBED = ("docker container inspect --format", "/small-nginx|unless-stopped|nginx:1\n/small-redis|unless-stopped|redis:7\n")
STOP = [("docker stop -t 10 small-nginx", ""), ("docker stop -t 10 small-redis", "")]
REMOVE = [("docker rm --force small-nginx small-redis", ""), ("docker network rm small_default", "")]
GONE = [("docker ps", ""), ("docker network ls", "")]


@pytest.fixture(name="there")
def there_fixture(recorded) -> Any:
    """Return a function that plays what Docker says of the recorded redis and nginx, with other states."""
    containers = json.loads(recorded("docker-26.1-inspect-small-stack.json"))

    def there(*, network: str = "small_default\n", **states: str) -> list[tuple[str, str]]:
        found = []
        for name, state in ({"nginx": "running", "redis": "running"} | states).items():
            if state != "absent":
                item = next(item for item in containers if item["Name"] == f"/small-{name}")
                found.append({**item, "State": {**item["State"], "Status": state}})
        inspected = [("docker container inspect", json.dumps(found))] if found else []
        return [("docker ps", " ".join(["id"] * len(found))), *inspected, ("docker network ls", network)]

    return there


def failed(words: str, said: str, *, timed_out: bool = False) -> tuple[str, CommandResult]:
    return words, CommandResult(tuple(words.split()), -9 if timed_out else 1, "", said, 0.1, timed_out)


class Stage:
    """Runs the module on a folder of its own and keeps its warnings and commands."""

    def __init__(self, folder: Path, runner: Any) -> None:
        self.records, self.runner = folder / "shutdowns", runner
        self.warnings: list[str] = []

    def run(self, *answers: tuple[str, CommandResult | str], check_mode: bool = False, docker: bool = True, **more: Any) -> dict[str, Any]:
        fake = self.runner(*answers)
        parameters = {
            "project_name": "small",
            "services": [{"name": "db", "kind": "postgres"}, {"name": "redis", "kind": "redis"}, {"name": "nginx", "kind": "proxy"}],
            "only": [],
            "timeout": 10,
            "force": False,
            "record_dir": str(self.records),
            "reason": "a drill",
            "by": "an operator",
        }
        try:
            return stack_shutdown.run(
                {**parameters, **more},
                check_mode,
                fake,
                self.warnings.append,
                find=lambda name: f"/usr/bin/{name}" if docker else None,
                now=lambda: NOW,
            )
        finally:
            assert fake.finished()


@pytest.fixture(name="stage")
def stage_fixture(tmp_path: Path, runner) -> Stage:
    return Stage(tmp_path, runner)


def test_all_of_it(stage: Stage, there) -> None:
    result = stage.run(*there(), DESCRIBED, *STOP, *REMOVE, *GONE)
    assert (result["changed"], result["stopped"]) == (True, ["small-nginx", "small-redis"])
    assert result["removed"] == ["small-nginx", "small-redis", "small_default"]
    assert result["diff"]["before"] == "small-nginx: running\nsmall-redis: running\nnetwork small_default\n"
    assert stage.warnings == []


def test_the_record_is_there_before_anything_stops(stage: Stage, there) -> None:
    result = stage.run(*there(), DESCRIBED, *STOP, *REMOVE, *GONE)
    path = stage.records / "20251222T020000Z.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    assert (result["record"], path.stat().st_mode & 0o777) == (str(path), 0o640)
    assert (written["project"], written["by"], written["reason"], written["at"]) == ("small", "an operator", "a drill", NOW.isoformat())
    assert written["containers"] == result["ran"]
    assert [entry["image"] for entry in written["containers"]] == ["nginx:1", "redis:7"]


def test_it_is_written_first_also_when_docker_then_fails(stage: Stage, there) -> None:
    class Dying(stage.runner):  # type: ignore[misc,name-defined]
        def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
            if argv[1] == "stop":
                raise Problem("Running docker failed", "killed", "Look.")
            return super().run(argv, stdin=stdin, timeout=timeout)

    stage.runner = Dying
    with pytest.raises(Problem, match="Running docker failed"):
        stage.run(*there(), DESCRIBED)
    assert len(list(stage.records.iterdir())) == 1


def test_two_in_one_second_keep_both_records(stage: Stage, there) -> None:
    first, second = (stage.run(*there(), DESCRIBED, *STOP, *REMOVE, *GONE)["record"] for _turn in range(2))
    assert (Path(first).name, Path(second).name) == ("20251222T020000Z.json", "20251222T020000Z-2.json")


def test_check_mode_tells_and_touches_nothing(stage: Stage, there) -> None:
    result = stage.run(*there(), DESCRIBED, check_mode=True)
    assert (result["changed"], result["stopped"], result["record"]) == (True, ["small-nginx", "small-redis"], "")
    assert not stage.records.exists()


def test_nothing_there(stage: Stage) -> None:
    result = stage.run(*GONE)
    assert (result["changed"], result["stopped"], result["removed"], result["record"]) == (False, [], [], "")
    assert not stage.records.exists()


def test_one_service_is_kept(stage: Stage, there) -> None:
    result = stage.run(*there(), DESCRIBED, STOP[0], *there(nginx="exited"), only=["nginx"])
    assert (result["stopped"], result["removed"]) == (["small-nginx"], [])
    assert [entry["name"] for entry in result["ran"]] == ["small-nginx"]


def test_one_service_twice_is_nothing(stage: Stage, there) -> None:
    result = stage.run(*there(nginx="exited"), DESCRIBED, only=["nginx"])
    assert (result["changed"], result["record"], stage.records.exists()) == (False, "", False)


def test_an_unknown_service_stops_nothing(stage: Stage, there) -> None:
    with pytest.raises(Problem, match=r"has no service 'nginy'; nothing was stopped\. Name one of db, redis, nginx"):
        stage.run(*there(), only=["nginx", "nginy"])


def test_a_paused_container_is_woken_first(stage: Stage, there) -> None:
    stage.run(*there(redis="paused"), DESCRIBED, ("docker unpause small-redis", ""), *STOP, *REMOVE, *GONE)


def test_what_does_not_stop_is_killed(stage: Stage, there) -> None:
    stuck = failed("docker stop -t 10 small-nginx", "", timed_out=True)
    result = stage.run(*there(), DESCRIBED, stuck, ("docker kill small-nginx", ""), STOP[1], *REMOVE, *GONE)
    assert result["stopped"] == ["small-nginx", "small-redis"]


def test_what_still_runs_is_no_success(stage: Stage, there) -> None:
    stuck = [failed("docker stop -t 10 small-redis", "tried to kill container"), failed("docker kill small-redis", "did not exit")]
    removed = [failed(REMOVE[0][0], "could not kill"), failed(REMOVE[1][0], "has active endpoints")]
    with pytest.raises(Problem) as caught:
        stage.run(*there(), DESCRIBED, STOP[0], *stuck, *removed, *there(nginx="absent"))
    assert caught.value.what == "Shutting small down failed"
    assert caught.value.why.startswith(
        "still running, or started again meanwhile: small-redis (tried to kill container; did not exit; could not kill"
    )
    assert (caught.value.details["stopped"], caught.value.details["removed"]) == (["small-nginx"], ["small-nginx"])
    assert caught.value.details["record"]


def test_what_was_started_again_meanwhile_is_no_success(stage: Stage, there) -> None:
    with pytest.raises(Problem, match="started again meanwhile: small-nginx, small-redis"):
        stage.run(*there(), DESCRIBED, *STOP, *REMOVE, *there())


def test_a_network_in_use_is_a_warning_and_the_second_time_no_change(stage: Stage, there) -> None:
    busy = failed("docker network rm small_default", "network small_default has active endpoints")
    left = there(nginx="absent", redis="absent")
    assert stage.run(*there(), DESCRIBED, *STOP, REMOVE[0], busy, *left)["changed"]
    assert "small_default could not be removed: network small_default has active endpoints" in stage.warnings[0]
    again = stage.run(*left, busy, *left)
    assert (again["changed"], again["record"]) == (False, "")


def test_without_a_place_for_the_record_the_shutdown_goes_on(stage: Stage, there) -> None:
    stage.records.write_text("a file where the folder should be", encoding="utf-8")
    result = stage.run(*there(), DESCRIBED, *STOP, *REMOVE, *GONE)
    assert (result["record"], len(result["ran"]), result["stopped"]) == ("", 2, ["small-nginx", "small-redis"])
    assert "There is no record of what ran" in stage.warnings[0]


def test_a_restart_policy_that_brings_it_back_is_told(stage: Stage, there) -> None:
    described = (DESCRIBED[0], "/small-nginx|always|nginx:1\n")
    stage.run(*there(), described, STOP[0], *there(nginx="exited"), only=["nginx"])
    assert "docker update --restart unless-stopped small-nginx" in stage.warnings[0]


def test_without_docker_nothing_runs(stage: Stage) -> None:
    assert stage.run(docker=False)["changed"] is False
    assert "no docker" in stage.warnings[0]


def test_a_negative_grace_would_wait_for_ever(stage: Stage) -> None:
    with pytest.raises(Problem, match="timeout is -1"):
        stage.run(timeout=-1)


def test_an_engine_that_does_not_answer_is_a_problem(stage: Stage) -> None:
    with pytest.raises(Problem, match="Listing the containers failed"):
        stage.run(failed("docker ps", "Cannot connect to the Docker daemon"))
