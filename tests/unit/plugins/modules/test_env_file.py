# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""env_file: what goes into the file, when it is written, and that no value is ever quoted."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import env_file

EXAMPLE = "LOG_LEVEL=info\nDB_PASSWORD=change_me\n"


def compose(values: dict[str, str]) -> tuple[str, str]:
    """Return Compose's answer when it read *values* from the file."""
    return "config --format json", json.dumps({"services": {"probe": {"environment": values}}})


def write(folder: Path, runner: Any, *, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    (folder / ".env.example").write_text(EXAMPLE, encoding="utf-8")
    parameters = {"path": str(folder / ".env"), "example": str(folder / ".env.example"), "values": {}, "secrets": {}, **given}
    return env_file.run(parameters, check_mode, runner)


def test_the_file_is_written_once_and_private(tmp_path: Path, runner) -> None:
    secrets = {"DB_PASSWORD": "s3cret-value"}
    fake = runner(compose({"LOG_LEVEL": "info", "DB_PASSWORD": "s3cret-value"}))
    first = write(tmp_path, fake, secrets=secrets)
    assert first["changed"]
    assert stat.S_IMODE(os.stat(tmp_path / ".env").st_mode) == 0o600
    assert "s3cret-value" not in json.dumps(first)
    assert all("s3cret-value" not in " ".join(argv) + stdin for argv, stdin in fake.calls)
    # Nothing differs: Compose need not be asked.
    assert not write(tmp_path, runner(), secrets=secrets)["changed"]


def test_a_wrong_mode_is_mended(tmp_path: Path, runner) -> None:
    secrets = {"DB_PASSWORD": "s3cret-value"}
    answer = compose({"LOG_LEVEL": "info", "DB_PASSWORD": "s3cret-value"})
    write(tmp_path, runner(answer), secrets=secrets)
    (tmp_path / ".env").chmod(0o644)
    assert write(tmp_path, runner(answer), secrets=secrets)["changed"]
    assert stat.S_IMODE(os.stat(tmp_path / ".env").st_mode) == 0o600


def test_a_check_writes_nothing_and_tells_names_only(tmp_path: Path, runner) -> None:
    fake = runner(compose({"LOG_LEVEL": "info", "DB_PASSWORD": "s3cret-value"}))
    result = write(tmp_path, fake, check_mode=True, secrets={"DB_PASSWORD": "s3cret-value"})
    assert result["changed"]
    assert "DB_PASSWORD: (value" in result["diff"]["after"]
    assert "s3cret-value" not in json.dumps(result)
    assert not (tmp_path / ".env").exists()


def test_a_value_that_compose_reads_otherwise_is_refused_before_writing(tmp_path: Path, runner) -> None:
    fake = runner(compose({"LOG_LEVEL": "info", "DB_PASSWORD": "s3cret"}))
    with pytest.raises(Problem) as caught:
        write(tmp_path, fake, secrets={"DB_PASSWORD": "s3cret-value"})
    assert "DB_PASSWORD" in caught.value.message()
    assert "s3cret" not in caught.value.message()
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "DB_PASSWORD has only the placeholder"),
        ({"values": {"A-B": "x"}, "secrets": {"DB_PASSWORD": "long-enough"}}, "'A-B' is no name"),
        ({"secrets": {"DB_PASSWORD": "ends with \\"}}, "the value of DB_PASSWORD"),
        ({"secrets": {"DB_PASSWORD": "line\rfeed"}}, "the value of DB_PASSWORD"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(given: dict[str, Any], named: str, tmp_path: Path, runner) -> None:
    with pytest.raises(Problem) as caught:
        write(tmp_path, runner(), **given)
    assert named in caught.value.message()
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (None, ""), (3, "3"), (["a", "b"], '["a", "b"]'), ({"a": 1}, '{"a": 1}'), ("a $b", "a $b")],
)
def test_values_as_the_application_reads_them(value: Any, text: str) -> None:
    assert env_file.merge({"X": "default"}, {"X": value}, {}) == {"X": text}
