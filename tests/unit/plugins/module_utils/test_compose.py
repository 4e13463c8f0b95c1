# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose projects, on recorded configurations of the reference application."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.compose import (
    Project,
    parse_config,
    read_config,
    read_hashes,
)
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

PROJECT = Project("p", "/opt/app", ("/opt/app/a.yml", "/opt/app/b.yml"), "/opt/app/.env")


def test_project_takes_relative_paths_from_its_directory() -> None:
    value = {"name": "p", "directory": "/opt/app", "files": ["a.yml", "/etc/b.yml"], "env_file": ".env"}
    assert Project.from_parameters(value) == Project("p", "/opt/app", ("/opt/app/a.yml", "/etc/b.yml"), "/opt/app/.env")


def test_argv_names_the_whole_project() -> None:
    assert PROJECT.argv("up", "-d", extra_file="-") == [
        "docker", "compose", "--project-name", "p", "--project-directory", "/opt/app", "--env-file", "/opt/app/.env",
        "--file", "/opt/app/a.yml", "--file", "/opt/app/b.yml", "--file", "-", "up", "-d",
    ]  # fmt: skip


def test_environment_and_secrets(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DB_PASSWORD='hunter22'\nLOG_LEVEL='info'\n", encoding="utf-8")
    project = Project("p", str(tmp_path), (), str(tmp_path / ".env"))
    assert project.environment() == {"DB_PASSWORD": "hunter22", "LOG_LEVEL": "info"}
    assert project.secrets() == ("hunter22",)


def test_a_missing_env_file_has_no_values(tmp_path: Path) -> None:
    assert Project("p", str(tmp_path), (), str(tmp_path / ".env")).secrets() == ()


def test_parse_production(recorded) -> None:
    config = parse_config(recorded("compose-2.26-config-production.json"))
    assert list(config.services) == ["backend", "celery-beat", "celery-worker", "db", "frontend", "nginx", "redis"]
    assert config.bind_devices == (
        "/var/lib/residency-scheduler/data/postgres",
        "/var/lib/residency-scheduler/data/redis",
    )
    replicas = {name: service.replicas for name, service in config.services.items() if service.replicas != 1}
    assert replicas == {"celery-worker": 2}
    assert config.services["celery-worker"].container_name is None
    assert config.services["db"].container_name == "residency-scheduler-db"
    assert config.services["db"].cpus == 4.0
    assert config.services["db"].build is None
    assert config.services["db"].memory == 2 * 1024**3
    assert sum(service.memory * service.replicas for service in config.services.values()) / 1024**3 == 12.75
    assert config.services["db"].environment["POSTGRES_PASSWORD"] == "db-pass-recorded"
    assert config.services["backend"].build is not None
    assert config.services["backend"].image == ""
    assert config.services["nginx"].bind_sources == ("/opt/app/nginx/nginx.conf", "/opt/app/nginx/ssl")


def test_parse_base_has_no_bound_folders(recorded) -> None:
    config = parse_config(recorded("compose-2.26-config-base.json"))
    assert config.bind_devices == ()
    assert "nginx" not in config.services
    assert config.services["db"].cpus is None


@pytest.mark.parametrize(
    ("service", "attribute", "expected"),
    [
        ('{"image": "x"}', "replicas", 1),
        ('{"image": "x", "scale": 3}', "replicas", 3),
        ('{"image": "x", "deploy": {"replicas": 0}}', "replicas", 0),
        ('{"image": "x", "cpus": 1.5}', "cpus", 1.5),
        ('{"image": "x", "environment": {"A": null, "B": "a$$b"}}', "environment", {"A": "", "B": "a$b"}),
        ('{"image": "x", "volumes": [{"type": "volume", "source": "v", "target": "/v"}]}', "bind_sources", ()),
        ('{"image": "x", "volumes": null, "deploy": null}', "bind_sources", ()),
    ],
)
def test_parse_service(service: str, attribute: str, expected: object) -> None:
    config = parse_config(f'{{"services": {{"s": {service}}}, "volumes": null}}')
    assert getattr(config.services["s"], attribute) == expected


def test_no_json_is_a_problem_that_names_the_version() -> None:
    with pytest.raises(Problem, match="Reading the compose project failed") as caught:
        parse_config("docker-compose version 1.29")
    assert "Compose 2.0 or newer" in caught.value.message()


def test_read_config_hands_the_extra_file_in(recorded, runner) -> None:
    fake = runner(("--file - config --format json", recorded("compose-2.26-config-production.json")))
    assert read_config(PROJECT, fake, extra="services: {}\n").services["db"].name == "db"
    assert fake.calls[0][1] == "services: {}\n"


def test_read_config_quotes_what_compose_says(recorded, runner) -> None:
    words = recorded("compose-2.26-config-container-name-and-replicas.stderr")
    fake = runner(("config --format json", CommandResult(("docker",), 15, "", words, 0.1)))
    with pytest.raises(Problem) as caught:
        read_config(PROJECT, fake)
    assert "can't set container_name and celery-worker" in caught.value.message()
    assert "/opt/app/a.yml, /opt/app/b.yml or /opt/app/.env" in caught.value.message()


def test_read_hashes(recorded, runner) -> None:
    hashes = read_hashes(PROJECT, runner(("config --hash *", recorded("compose-2.26-hashes-production.txt"))))
    assert len(hashes) == 7
    assert hashes["redis"].startswith("b8ea5052e6d1")
