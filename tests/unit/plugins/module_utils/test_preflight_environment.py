# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight says of the server's secrets: real files, bad in every way, and plans that may not be carried out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import kept_secrets, ledger
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, WARNS
from ansible_collections.residency.scheduler.plugins.module_utils.preflight_environment import check_file, check_plan, read_server

GOOD = "# Written\nA='1'\n"


def written(text: bytes, mode: int = 0o600) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(text)
        path.chmod(mode)

    return make


def linked(path: Path) -> None:
    path.with_name("elsewhere").write_text(GOOD, encoding="utf-8")
    path.symlink_to("elsewhere")


def owned(path: Path) -> None:
    written(GOOD.encode())(path)
    os.chown(path, 1234, 1234)


@pytest.mark.parametrize(
    ("make", "severity", "found"),
    [
        (lambda path: None, "", ""),
        (written(GOOD.encode()), "", ""),
        (written(b"\xef\xbb\xbfA=1\n"), WARNS, "a byte order mark"),
        (written(b"A=1\r\nB=2\r\n"), WARNS, "CRLF line ends"),
        (written(b"export A=1\n"), WARNS, "lines with export"),
        (written(b"A=1\nB=2\nA=3\n"), WARNS, "A more than once"),
        (written(b"A=\xff\n"), WARNS, "bytes that are no UTF-8"),
        (written(GOOD.encode(), 0o644), WARNS, "mode 0644, so that others may have read it"),
        (linked, WARNS, 'a symbolic link to "elsewhere"'),
        (lambda path: path.mkdir(), STOPS, "a folder"),
        (os.mkfifo, STOPS, "a special file"),
        pytest.param(owned, WARNS, "the owner with id 1234", marks=pytest.mark.skipif(os.geteuid() != 0, reason="takes root")),
    ],
)
def test_a_file_with_secrets(make: Callable[[Path], None], severity: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    make(path)
    answer = check_file(str(path))
    assert [(finding.subject, finding.severity) for finding in answer] == ([(str(path), severity)] if severity else [])
    assert all(found in finding.found and finding.remedy for finding in answer)


def variables(folder: Path) -> dict[str, Any]:
    return {"scheduler_project": "stack"} | {f"scheduler_{name}": str(folder / name) for name in ("home", "state_dir", "data_dir")}


def test_a_bare_server_is_not_settled(tmp_path: Path, runner) -> None:
    asked = runner(("docker volume ls --quiet --filter label=com.docker.compose.project=stack", ""))
    assert read_server(variables(tmp_path), asked) == (kept_secrets.Server(), [])
    assert asked.finished()
    assert read_server(variables(tmp_path), None) == (kept_secrets.Server(), [])


def test_one_with_a_database_is_and_its_file_serves(tmp_path: Path, runner) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".env").write_text("DB_PASSWORD=by-hand\n", encoding="utf-8")
    (tmp_path / "home" / ".env").chmod(0o600)
    wanted = kept_secrets.Server(serving={"DB_PASSWORD": "by-hand"}, settled=True)
    assert read_server(variables(tmp_path), runner(("docker volume ls", "stack_postgres\n"))) == (wanted, [])
    (tmp_path / "data_dir" / "postgres").mkdir(parents=True)
    (tmp_path / "data_dir" / "postgres" / "PG_VERSION").touch()
    assert read_server(variables(tmp_path), None) == (wanted, [])


def test_one_with_a_release_is_asked_for_that(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("DB_PASSWORD='served'\n", encoding="utf-8")
    record = {"version": "v1", "commit": "c", "images": {}, "environment_digest": "d"}
    decision = ledger.decide([], record, "good", "one", {})
    ledger.write(str(tmp_path / "state_dir"), decision, {".env": str(tmp_path / "env")}, "2026-01-01T00:00:00+00:00")
    assert read_server(variables(tmp_path), None)[0] == kept_secrets.Server(serving={"DB_PASSWORD": "served"}, settled=True)


@pytest.mark.parametrize("change", [{"scheduler_home": None}, {"scheduler_state_dir": "relative"}, {"scheduler_data_dir": "/a\0"}])
def test_where_a_folder_is_malformed_nothing_is_known(change: dict[str, Any], tmp_path: Path) -> None:
    assert read_server({**variables(tmp_path), **change}, None) == (None, [])


def test_kept_secrets_that_cannot_be_read_stop_a_deployment(tmp_path: Path) -> None:
    (tmp_path / "state_dir").mkdir()
    path = tmp_path / "state_dir" / "secrets.json"
    path.write_text("not JSON", encoding="utf-8")
    path.chmod(0o600)
    server, findings = read_server(variables(tmp_path), None)
    assert server is None
    assert [(finding.subject, finding.severity) for finding in findings] == [("secrets of the server", STOPS)]
    assert "not JSON" not in findings[0].found


SERVER = kept_secrets.Server({"KEPT": "k"}, frozenset(), {"KEPT": "k", "GIVEN": "g", "LOST": "l"}, settled=True)


@pytest.mark.parametrize(
    ("given", "required", "rotate", "server", "subject", "severity", "found"),
    [
        ({"GIVEN": "g"}, ["KEPT", "GIVEN"], [], SERVER, "", "", ""),
        ({"GIVEN": "g", "NEW": "n"}, [], [], SERVER, "", "", ""),
        ({"GIVEN": "other"}, [], ["GIVEN"], SERVER, "", "", ""),
        ({}, ["KEPT"], ["KEPT"], SERVER, "", "", ""),
        ({}, ["LOST"], ["LOST"], SERVER, "", "", ""),
        ({}, ["ANY"], [], kept_secrets.Server(), "", "", ""),
        ({"GIVEN": "other"}, [], [], SERVER, "scheduler_secrets.GIVEN", STOPS, "another value than the one that serves"),
        ({}, ["LOST"], [], SERVER, "scheduler_secrets.LOST", STOPS, "neither a given nor a kept one"),
        ({}, [], ["TYPO"], SERVER, "environment_rotate", STOPS, '"TYPO"'),
        ({"GIVEN": "g"}, [], ["GIVEN"], SERVER, "environment_rotate", WARNS, "GIVEN, whose new value serves already"),
        (
            {},
            ["KEPT"],
            ["KEPT"],
            kept_secrets.Server({"KEPT": "k"}, frozenset({"KEPT"}), {"KEPT": "k"}, settled=True),
            "environment_rotate",
            WARNS,
            "KEPT, whose new value serves already",
        ),
    ],
)
def test_plans(
    given: dict[str, Any],
    required: list[str],
    rotate: list[str],
    server: kept_secrets.Server,
    subject: str,
    severity: str,
    found: str,
) -> None:
    plan = kept_secrets.decide(given, required, rotate, server, lambda: "made", generate=True)
    answer = check_plan(plan, server, given, required, rotate)
    assert [(finding.subject, finding.severity) for finding in answer] == ([(subject, severity)] if subject else [])
    assert all(found in finding.found and "other" not in finding.found.replace("another", "") for finding in answer)


def test_without_generation_nothing_is_made_and_what_is_kept_is_used() -> None:
    plan = kept_secrets.decide({}, ["KEPT", "LOST"], ["LOST"], SERVER, lambda: "made", generate=False)
    assert (plan.values, plan.made, plan.lost) == ({"KEPT": "k"}, (), ("LOST",))
