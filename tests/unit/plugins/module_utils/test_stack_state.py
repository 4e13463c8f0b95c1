# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""stack_state: nothing that runs is left out of what is looked at."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService, parse_services
from ansible_collections.residency.scheduler.plugins.module_utils.stack_state import read_wanted

PROJECT = Project("p", "/none", ("/none/docker-compose.yml",), "/none/.env")
CONFIG = json.dumps({"services": {"db": {"image": "postgres:15"}, "n8n": {"image": "n8n:1", "deploy": {"replicas": 2}}}})


def services(*names: str, optional: bool = False) -> list[StackService]:
    return parse_services([{"name": name, "kind": "postgres", "optional": optional} for name in names])


def wanted(runner: Any, listed: list[StackService], only: list[str]) -> list[tuple[str, str, int, str | None]]:
    fake = runner(("config --format json", CONFIG), ("docker image inspect", '["postgres:15"]|[]|sha256:1\n'))
    found = read_wanted(PROJECT, listed, only, fake)
    return [(entry.service.name, entry.service.kind, entry.replicas, entry.image_id) for entry in found]


def test_a_service_that_nobody_listed_is_looked_at_too(runner) -> None:
    # Its image is gone: that is known too, and no reason to skip it.
    assert wanted(runner, services("db"), []) == [("db", "postgres", 1, "sha256:1"), ("n8n", "container", 2, None)]


def test_only_those_that_are_asked_for(runner) -> None:
    assert wanted(runner, services("db"), ["n8n"]) == [("n8n", "container", 2, None)]


def test_an_optional_service_may_be_missing(runner) -> None:
    assert len(wanted(runner, services("db") + services("nginx", optional=True), [])) == 2


@pytest.mark.parametrize(("listed", "only", "name"), [(["db", "nginx"], [], "nginx"), (["db"], ["nginx"], "nginx")])
def test_a_name_that_is_no_service_is_refused(listed: list[str], only: list[str], name: str, runner) -> None:
    with pytest.raises(Problem) as caught:
        read_wanted(PROJECT, services(*listed), only, runner(("config --format json", CONFIG)))
    assert f"{name} is not a service of the compose files" in caught.value.message()
