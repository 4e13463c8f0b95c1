# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""compose_release: builds only what is missing, pins it, and a failed build leaves a clear word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import compose_release

ID = "sha256:" + "a" * 64


def configuration(folder: Path, *, image: str | None = None) -> str:
    backend = {"build": {"context": "/app/backend"}, "container_name": "backend"} | ({"image": image} if image else {})
    return json.dumps(
        {
            "services": {"backend": backend, "db": {"image": "postgres:15"}},
            "volumes": {"data": {"driver_opts": {"type": "none", "o": "bind", "device": str(folder / "data")}}},
        }
    )


KEPT = "p-db:kept-" + "a" * 12


def local(*references: str) -> tuple[str, str]:
    """What `docker image inspect` prints when these images exist."""
    return "docker image inspect", "".join(f'["{reference}"]|[]|{ID}\n' for reference in references)


def release(folder: Path, runner: Any, *answers: tuple[str, Any], check_mode: bool = False) -> dict[str, Any]:
    (folder / ".env").write_text("DB_PASSWORD='s3cret-value'\n", encoding="utf-8")
    fake = runner(
        ("config --no-consistency --no-interpolate", configuration(folder)),
        ("config --format json", configuration(folder)),
        *answers,
    )
    parameters = {
        "project": {"name": "p", "directory": str(folder), "files": ["docker-compose.yml"], "env_file": ".env"},
        "version": "v1.0.0",
        "commit": "c" * 40,
        "release_file": str(folder / "compose" / "release.yml"),
        "build_timeout": 60,
        "public": [],
    }
    (folder / "compose").mkdir(exist_ok=True)
    result = compose_release.run(parameters, check_mode, fake)
    assert fake.finished()
    return result


@pytest.fixture(name="tag")
def tag_fixture(tmp_path: Path, runner) -> str:
    """The tag that this release gets; whatever it is, it has to stay the same."""
    return str(release(tmp_path, runner, local(), check_mode=True)["tag"])


def test_a_check_tells_all_and_makes_nothing(tmp_path: Path, runner) -> None:
    result = release(tmp_path, runner, local("postgres:15"), local(), check_mode=True)
    assert (result["changed"], result["built"], result["pulled"]) == (True, ["backend"], [])
    assert result["folders"] == [str(tmp_path / "data")]
    assert "image of backend: built\nimage of db: kept\n" in result["diff"][1]["after"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".env", "compose"]
    assert not list((tmp_path / "compose").iterdir())


def test_what_is_missing_is_made_and_the_second_time_nothing(tmp_path: Path, runner, tag: str) -> None:
    reference = f"p-backend:{tag}"
    pinned = configuration(tmp_path, image=reference)
    result = release(
        tmp_path,
        runner,
        local(),
        ("pull --quiet db", ""),
        ("--progress plain build backend", ""),
        ("release.yml config --format json", pinned),
        local(reference, "postgres:15"),
        local(reference, "postgres:15"),
        local(),
        (f"docker tag {ID} {KEPT}", ""),
    )
    assert (result["changed"], result["built"], result["pulled"]) == (True, ["backend"], ["db"])
    assert result["images"]["backend"] == {"reference": reference, "id": ID}
    assert result["images"]["db"] == {"reference": "postgres:15", "id": ID, "kept": KEPT}
    assert (tmp_path / "data").is_dir()
    assert reference in (tmp_path / "compose" / "release.yml").read_text(encoding="utf-8")
    again = release(tmp_path, runner, local(reference, "postgres:15"), local(KEPT))
    assert (again["changed"], again["built"], again["pulled"], again["folders"]) == (False, [], [], [])


def test_a_failed_build_says_so_without_secrets(tmp_path: Path, runner) -> None:
    broken = CommandResult(("docker",), 17, "", "RUN pip install failed for s3cret-value", 1.0)
    with pytest.raises(Problem) as caught:
        release(tmp_path, runner, local("postgres:15"), local(KEPT), ("build backend", broken))
    message = caught.value.message()
    assert "Building the images of backend failed: exit code 17" in message
    assert "Nothing that runs was touched" in message
    assert "s3cret-value" not in message


def test_a_build_that_leaves_no_image_is_a_failure(tmp_path: Path, runner, tag: str) -> None:
    pinned = configuration(tmp_path, image=f"p-backend:{tag}")
    with pytest.raises(Problem, match="Building the release failed"):
        release(
            tmp_path,
            runner,
            local("postgres:15"),
            local(KEPT),
            ("build backend", ""),
            ("config --format json", pinned),
            local("postgres:15"),
        )
