# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers, images, logs and processes, on recorded answers of Docker."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import containers
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Process, Published, parse_time
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem


def test_parse_a_small_stack(recorded) -> None:
    found = containers.parse_containers(recorded("docker-26.1-inspect-small-stack.json"))
    by_name = {container.name: container for container in found}
    assert list(by_name) == ["small-crash", "small-hungry", "small-nginx", "small-redis", "small-worker-1", "small-worker-2"]
    assert [container.service for container in found] == ["crash", "hungry", "nginx", "redis", "worker", "worker"]

    redis = by_name["small-redis"]
    assert (redis.state, redis.health, redis.restarts, redis.exit_code) == ("running", "healthy", 0, 0)
    assert redis.environment["REDIS_PASSWORD"] == "redis-pass-recorded"
    assert redis.started == datetime(2026, 11, 23, 9, 43, 12, 601534, tzinfo=UTC)
    assert redis.health_deadline == 5 + 4 * (2 + 3)
    assert redis.image_id.startswith("sha256:a608fc478863")
    assert redis.address.count(".") == 3
    assert redis.published == ()
    assert len(redis.config_hash) == 64

    crash = by_name["small-crash"]
    assert (crash.state, crash.health, crash.exit_code) == ("restarting", "none", 3)
    assert crash.restarts >= 2
    assert crash.address == ""

    hungry = by_name["small-hungry"]
    assert (hungry.state, hungry.oom_killed, hungry.exit_code) == ("exited", True, 137)

    assert by_name["small-nginx"].published == (
        Published(80, "127.0.0.1", 8080),
        Published(443, "0.0.0.0", 8443),
        Published(443, "::", 8443),
    )


def test_parse_a_paused_one(recorded) -> None:
    (paused,) = containers.parse_containers(recorded("docker-26.1-inspect-paused.json"))
    assert paused.state == "paused"


@pytest.mark.parametrize(
    ("name", "state", "half_made"),
    [
        ("small-redis", "created", False),
        ("d798040e7a15_small-redis", "created", True),
        ("d798040e7a15_small-redis", "running", False),
        ("d798040e7a1_small-redis", "created", False),
    ],
)
def test_what_compose_did_not_come_to_rename_is_half_made(recorded, name: str, state: str, half_made: bool) -> None:
    (paused,) = containers.parse_containers(recorded("docker-26.1-inspect-paused.json"))
    assert replace(paused, name=name, state=state).half_made is half_made


def test_brief_shows_no_environment_and_no_command(recorded) -> None:
    for container in containers.parse_containers(recorded("docker-26.1-inspect-small-stack.json")):
        assert "redis-pass-recorded" not in str(container.brief())
        assert container.brief()["name"] == container.name


def test_read_containers(recorded, runner) -> None:
    fake = runner(
        ("docker ps --all --quiet --no-trunc --filter label=com.docker.compose.project=small", "aa\nbb\n"),
        ("docker container inspect aa bb", recorded("docker-26.1-inspect-small-stack.json")),
    )
    assert len(containers.read_containers("small", fake)) == 6


def test_no_container_needs_no_second_command(runner) -> None:
    assert containers.read_containers("small", runner(("docker ps", "\n"))) == []


def test_a_container_that_went_away_meanwhile_is_left_out(recorded, runner) -> None:
    gone = CommandResult(("docker",), 1, recorded("docker-26.1-inspect-one-is-gone.json"), "No such container: bb", 0.1)
    found = containers.read_containers("small", runner(("docker ps", "aa\nbb\n"), ("inspect aa bb", gone)))
    assert [container.name for container in found] == ["small-redis"]


def test_a_docker_that_is_down_is_a_problem(runner) -> None:
    down = CommandResult(("docker",), 1, "", "Cannot connect to the Docker daemon", 0.1)
    with pytest.raises(Problem, match="Listing the containers failed"):
        containers.read_containers("small", runner(("docker ps", down)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-12-22T02:00:00.123456789Z", datetime(2025, 12, 22, 2, 0, 0, 123456, tzinfo=UTC)),
        ("2025-12-22T02:00:00Z", datetime(2025, 12, 22, 2, tzinfo=UTC)),
        ("2025-12-22T02:00:00.1Z", datetime(2025, 12, 22, 2, 0, 0, 100000, tzinfo=UTC)),
        ("2025-12-22T02:00:00.12345Z", datetime(2025, 12, 22, 2, 0, 0, 123450, tzinfo=UTC)),
        ("2025-12-22T03:00:00.5+01:00", datetime(2025, 12, 22, 2, 0, 0, 500000, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime.min.replace(tzinfo=UTC)),
        ("", datetime.min.replace(tzinfo=UTC)),
        ("yesterday", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_parse_time(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("check", "seconds"),
    [
        ({}, 3 * 60.0),
        ({"Interval": 10 * 10**9, "Timeout": 5 * 10**9, "Retries": 5, "StartPeriod": 10 * 10**9}, 85.0),
        ({"Interval": 0, "Timeout": 0, "Retries": 0}, 180.0),
    ],
)
def test_health_deadline(check: dict[str, int], seconds: float) -> None:
    item = {
        "Name": "/c",
        "Image": "sha256:1",
        "State": {"Status": "created"},
        "Config": {"Healthcheck": check},
    }
    (container,) = containers.parse_containers(json.dumps([item]))
    assert container.health_deadline == seconds


def test_read_images_leaves_out_what_is_missing(recorded, runner) -> None:
    answer = CommandResult(("docker",), 1, recorded("docker-26.1-image-inspect-one-is-missing.txt"), "No such image", 0.1)
    wanted = ["residency-bed/redis:7", "residency-bed/absent:1", "residency-bed/nginx:1", "residency-bed/redis:7"]
    fake = runner(("docker image inspect", answer))
    ids = containers.read_images(wanted, fake).ids
    assert {name: value[:19] for name, value in ids.items()} == {
        "residency-bed/redis:7": "sha256:a608fc478863",
        "residency-bed/nginx:1": "sha256:a17cd686f505",
    }
    assert fake.calls[0][0].count("residency-bed/redis:7") == 1


@pytest.mark.parametrize("reference", ["app", "localhost:5000/app"])
def test_an_image_without_a_tag_is_the_latest(reference: str, runner) -> None:
    answer = f'["{reference}:latest"]|[]|sha256:1\n'
    assert containers.read_images([reference], runner(("inspect", answer))).ids == {reference: "sha256:1"}


@pytest.mark.parametrize(
    ("wanted", "tags", "digests"),
    [
        ("docker.io/library/postgres:15", ["postgres:15"], []),
        ("docker.io/acme/app", ["acme/app:latest"], []),
        ("postgres@sha256:aa", [], ["postgres@sha256:aa"]),
        ("redis:7@sha256:bb", None, ["redis@sha256:bb"]),
        ("registry.example.org:5000/app:1@sha256:cc", [], ["registry.example.org:5000/app@sha256:cc"]),
    ],
)
def test_an_image_is_found_by_any_spelling(wanted: str, tags: list[str] | None, digests: list[str], runner) -> None:
    answer = f"{json.dumps(tags)}|{json.dumps(digests)}|sha256:1\n"
    assert containers.read_images([wanted], runner(("inspect", answer))).ids == {wanted: "sha256:1"}


def test_no_image_asks_nothing(runner) -> None:
    assert containers.read_images([], runner()).ids == {}


def test_read_log_has_neither_colours_nor_secrets(runner) -> None:
    second = "2025-12-22T02:00:0{}.000000000Z"
    out = f"{second.format(1)} one\n{second.format(3)} \x1b[32mINFO\x1b[0m three\n"
    error = f"{second.format(2)} password=hunter22\n{second.format(4)} \n"
    said = CommandResult(("docker",), 0, out, error, 0.1)
    asked = "docker logs --tail 3 --since 2025-12-22T02:00:00Z --timestamps c"
    arguments = {"secrets": ["hunter22"], "lines": 3, "since": "2025-12-22T02:00:00Z"}
    # Standard output and standard error are one log again, in the order of their times.
    assert containers.read_log("c", runner((asked, said)), **arguments) == ["password=********", "INFO three", ""]
    stamped = containers.read_log("c", runner((asked, said)), timestamps=True, **arguments)
    assert stamped[0] == f"{second.format(2)} password=********"


def test_read_processes(recorded, runner) -> None:
    found = containers.read_processes("small-nginx", runner(("docker top small-nginx", recorded("docker-26.1-top-nginx.txt"))))
    assert found == [
        Process(9.0, "Ss", "nginx: master process nginx -g daemon off;"),
        Process(9.0, "S", "nginx: worker process"),
        Process(9.0, "S", "nginx: worker process"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        "No such container: small-run-1",
        "container 950f8384 is not running",
        "Container 3f163430 is restarting, wait until the container is running",
    ],
)
def test_a_container_that_has_ended_has_no_processes(runner, said: str) -> None:
    gone = CommandResult(("docker",), 1, "", f"Error response from daemon: {said}\n", 0.1)
    assert containers.read_processes("small-run-1", runner(("docker top small-run-1", gone))) == []


def test_processes_that_cannot_be_listed_are_a_problem(runner) -> None:
    gone = CommandResult(("docker",), 1, "", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n", 0.1)
    with pytest.raises(Problem, match="Listing the processes of small-nginx failed"):
        containers.read_processes("small-nginx", runner(("docker top small-nginx", gone)))


def test_a_paused_process_shows_as_not_interruptible(recorded, runner) -> None:
    (process,) = containers.read_processes("small-redis", runner(("docker top", recorded("docker-26.1-top-paused.txt"))))
    assert process.state.startswith("D")
