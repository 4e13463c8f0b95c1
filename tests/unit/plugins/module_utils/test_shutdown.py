# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""shutdown: what is refused, what goes first, what stays, and what the record must not tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container, parse_containers
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.shutdown import (
    Described,
    decide,
    diff,
    parse_described,
    record,
    refuse,
    remove_argv,
    returning,
    stop_argv,
)
from ansible_collections.residency.scheduler.plugins.module_utils.stack import parse_services

SERVICES = parse_services([{"name": "db", "kind": "postgres"}, {"name": "redis", "kind": "redis"}, {"name": "web", "kind": "http"}])


@pytest.fixture(name="one")
def one_fixture(recorded) -> Container:
    """A recorded container."""
    return next(item for item in parse_containers(recorded("docker-26.1-inspect-small-stack.json")) if item.name == "small-redis")


def stack(one: Container) -> list[Container]:
    """Every kind of container that a project may have."""
    return [
        replace(one, name="small-aside", service="aside"),
        replace(one, name="small-db", service="db", state="paused"),
        replace(one, name="small-migration", service="web", one_off=True),
        replace(one, name="small-redis", service="redis"),
        replace(one, name="small-web-1", service="web"),
        replace(one, name="small-web-2", service="web", state="restarting"),
        replace(one, name="small-web-3", service="web", state="exited"),
    ]


def test_all_of_it_stops_in_reverse_order_and_what_nobody_listed_goes_first(one: Container) -> None:
    wanted = decide(stack(one), ["small_default"], SERVICES, [])
    assert wanted.groups == (("small-migration",), ("small-aside",), ("small-web-1", "small-web-2"), ("small-redis",), ("small-db",))
    assert wanted.paused == ("small-db",)
    assert wanted.remove == tuple(item.name for item in stack(one))
    assert wanted.networks == ("small_default",)


def test_one_service_is_stopped_and_kept_and_its_one_shots_go_on(one: Container) -> None:
    wanted = decide(stack(one), ["small_default"], SERVICES, ["web"])
    assert (wanted.groups, wanted.paused) == ((("small-web-1", "small-web-2"),), ())
    assert (wanted.remove, wanted.networks) == ((), ())
    assert diff(wanted) == {
        "before": "small-web-1: running\nsmall-web-2: restarting\n",
        "after": "small-web-1: exited\nsmall-web-2: exited\n",
    }


def test_services_stop_in_reverse_order_whatever_the_order_they_are_named_in(one: Container) -> None:
    assert decide(stack(one), [], SERVICES, ["db", "web", "redis"]).stop == ["small-web-1", "small-web-2", "small-redis", "small-db"]


@pytest.mark.parametrize("only", [[], ["web"]])
def test_nothing_there_is_nothing_to_do(only: list[str]) -> None:
    assert not decide([], [], SERVICES, only).changed


def test_stopped_containers_still_have_to_be_removed(one: Container) -> None:
    stopped = [replace(one, state="exited")]
    assert (decide(stopped, [], SERVICES, []).stop, decide(stopped, [], SERVICES, []).remove) == ([], ("small-redis",))
    assert not decide(stopped, [], SERVICES, ["redis"]).changed


def test_a_lone_network_is_removed() -> None:
    assert decide([], ["small_default"], SERVICES, []).changed


def test_an_unknown_service_is_refused_with_the_known_ones(one: Container) -> None:
    with pytest.raises(Problem) as caught:
        refuse(stack(one), SERVICES, ["wep", "db"], "small", False)
    assert caught.value.why == "small has no service 'wep'; nothing was stopped"
    assert caught.value.remedy == "Name one of db, redis, web, aside."


@pytest.mark.parametrize(
    ("only", "force", "state", "refused"),
    [
        ([], False, "running", True),
        ([], False, "paused", True),
        (["db"], False, "running", True),
        (["web", "db"], False, "running", True),
        (["web"], False, "running", False),
        ([], True, "running", False),
        (["db"], True, "running", False),
        ([], False, "exited", False),
    ],
)
def test_a_migration_is_not_ended_by_the_way(one: Container, only: list[str], force: bool, state: str, refused: bool) -> None:
    containers = [replace(one, name="small-migration", service="web", one_off=True, state=state)]
    if not refused:
        refuse(containers, SERVICES, only, "small", force)
        return
    with pytest.raises(Problem, match="shutdown was refused") as caught:
        refuse(containers, SERVICES, only, "small", force)
    assert "docker logs --follow small-migration" in caught.value.remedy
    assert "force" in caught.value.remedy


def test_another_projects_migration_is_no_reason(one: Container) -> None:
    refuse([replace(one, name="other-migration", one_off=True)], SERVICES, [], "small", False)


def test_the_record_has_the_facts_and_no_secret(one: Container) -> None:
    secret = replace(one, environment={"REDIS_PASSWORD": "s3cr3t-value"}, command=("redis-server", "--requirepass", "s3cr3t-value"))
    (entry,) = record(decide([secret], [], SERVICES, []), {"small-redis": Described("redis:7", "unless-stopped")})
    assert "s3cr3t-value" not in str(entry)
    assert (entry["image"], entry["image_id"], entry["service"], entry["state"]) == ("redis:7", one.image_id, "redis", "running")
    assert {"health", "started", "restarts", "ports", "exit_code"} <= set(entry)


def test_the_record_tells_published_ports(recorded) -> None:
    containers = parse_containers(recorded("docker-26.1-inspect-small-stack.json"))
    ports = {entry["name"]: entry["ports"] for entry in record(decide(containers, [], SERVICES, []), {})}
    assert any("->" in port for found in ports.values() for port in found), ports


def test_who_comes_back_with_docker_is_told_only_of_what_stays(one: Container) -> None:
    always = {"small-redis": Described("redis:7", "always")}
    assert returning(decide([one], [], SERVICES, ["redis"]), always) == ["small-redis"]
    assert returning(decide([one], [], SERVICES, []), always) == []
    assert returning(decide([one], [], SERVICES, ["redis"]), {"small-redis": Described("redis:7", "unless-stopped")}) == []


def test_descriptions_are_read_and_noise_is_not() -> None:
    text = "/small-db|unless-stopped|postgres:15\nError: No such container: gone\n/small-web||web@sha256:1|2\n"
    assert parse_described(text) == {
        "small-db": Described("postgres:15", "unless-stopped"),
        "small-web": Described("web@sha256:1|2", ""),
    }


def test_volumes_are_never_removed_and_the_grace_is_given() -> None:
    assert remove_argv(["a"]) == ["docker", "rm", "--force", "a"]
    assert stop_argv(["a", "b"], 0) == ["docker", "stop", "-t", "0", "a", "b"]
