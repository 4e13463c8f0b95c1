# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack that is deployed already: what Docker and the ledger answer, and what follows from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import dump, preflight_stack
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, Runner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project, parse_config
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, WARNS, Finding
from ansible_collections.residency.scheduler.plugins.module_utils.preflight_stack import Deployed

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GB = 10**9
DATABASE = {
    "Name": "/stack-db-1",
    "Image": "sha256:1",
    "State": {"Status": "running"},
    "Config": {"Labels": {"com.docker.compose.service": "db"}, "Env": ["POSTGRES_USER=app", "POSTGRES_DB=app"]},
}


@pytest.fixture(name="deployed")
def deployed_fixture(tmp_path: Path) -> Deployed:
    """A stack with one good release in its ledger."""
    release = tmp_path / "state" / "releases" / "20260101"
    release.mkdir(parents=True)
    images = {name: {"reference": f"stack-{name}:1", "id": f"sha256:{name}"} for name in ("backend", "db")}
    record = {"id": "20260101", "version": "v1.0.0", "commit": COMMIT, "images": images, "environment_digest": "e"}
    (release / "record.json").write_text(json.dumps(record), encoding="utf-8")
    (release.parent / "history.jsonl").write_text('{"id": "20260101", "verdict": "good"}\n', encoding="utf-8")
    project = Project("stack", str(tmp_path), (str(tmp_path / "docker-compose.yml"),), str(tmp_path / ".env"))
    return Deployed(project, ("db",), str(tmp_path / "state"), str(tmp_path / "backups"), side_database=True, checkout=True)


def database(size: int, free_kb: int) -> list[tuple[str, str]]:
    """Return what a running database answers."""
    table = f"Filesystem 1024-blocks Used Available Capacity Mounted\n/dev/x 9 9 {free_kb} 9% /data\n"
    return [
        ("docker ps --all", "1\n"),
        ("docker container inspect", json.dumps([DATABASE])),
        ("psql", f"{size}\n"),
        ("df -Pk", table),
    ]


def check(deployed: Deployed, memory_mb: int, runner: Runner) -> list[Finding]:
    """Ask one question after the other, so that the answers have an order."""
    return preflight_stack.check(deployed, memory_mb, runner, at_once=1)


def images(*names: str) -> tuple[str, str]:
    return ("docker image inspect", "".join(f'["stack-{name}:1"]|[]|sha256:{name}\n' for name in names))


def test_nothing_is_wrong(deployed: Deployed, runner) -> None:
    fake = runner(*database(1000, 10**9), images("backend", "db"))
    assert check(deployed, 4096, fake) == []
    assert fake.finished()


def test_a_server_without_a_stack(tmp_path: Path, deployed: Deployed, runner) -> None:
    fake = runner(("docker ps --all", ""))
    assert check(replace(deployed, state_dir=str(tmp_path / "none")), 4096, fake) == []
    assert fake.finished()


def test_no_room_for_the_dump_nor_for_the_copy(deployed: Deployed, runner) -> None:
    dumped, copied = preflight_stack.check_space(deployed, runner(*database(10**18, 1000)))
    # Only a migration needs it, and that looks itself.
    assert {dumped.severity, copied.severity} == {WARNS}
    assert {dumped.subject, copied.subject} == {"disk for the database"}
    assert dumped.found.endswith(f"free for the dump, in {deployed.backup_dir}")
    assert dumped.wanted == "1000000000 GB, since the database has 1000000000 GB"
    assert copied.found == "1.0 MB free for a copy of the database, beside it"
    assert copied.wanted.startswith("1100000000 GB")


def test_no_copy_needs_no_room(deployed: Deployed, runner) -> None:
    fake = runner(*database(1000, 0)[:3])
    assert preflight_stack.check_space(replace(deployed, side_database=False), fake) == []
    assert fake.finished()


@pytest.mark.parametrize(("needed", "stops"), [(GB, False), (GB + 1, True)])
def test_the_need_and_what_is_free(needed: int, stops: bool) -> None:
    found = preflight_stack.lacking(GB, [dump.Need("the dump, in /b", needed, GB)])
    assert [finding.found for finding in found] == (["1.0 GB free for the dump, in /b"] if stops else [])


def test_a_database_that_does_not_answer(deployed: Deployed, runner) -> None:
    mute = CommandResult(("docker",), 2, "", "psql: error: the database system is starting up", 0.1)
    fake = runner(*database(1, 1)[:2], ("psql", mute), images("backend", "db"))
    (finding,) = check(deployed, 4096, fake)
    assert (finding.severity, finding.subject) == (WARNS, "disk for the database")
    assert "Asking for the database's size failed" in finding.found


@pytest.mark.parametrize(("standing", "found"), [([], []), (["r1"], []), (["r1", "r9"], ["revision r9, which"])])
def test_where_the_database_stands(deployed: Deployed, runner, standing: list[str], found: list[str]) -> None:
    rows = json.dumps([{"version_num": name} for name in standing])
    fake = runner(*database(1, 1)[:2], ("psql", "alembic_version\n"), ("psql", rows))
    findings = preflight_stack.check_revision(replace(deployed, revisions=frozenset({"r0", "r1"}), version="v2"), fake)
    assert [finding.found[:18] for finding in findings] == found
    assert fake.finished()


@pytest.mark.parametrize(("standing", "found"), [("r1", 0), ("r9", 2)])
def test_another_database_with_revisions_of_its_own(deployed: Deployed, runner, standing: str, found: int) -> None:
    two = replace(deployed, databases=("db", "reports"), revisions=frozenset({"r1"}), version="v2")
    config = {"Labels": {"com.docker.compose.service": "reports"}, "Env": []}
    reports = {**DATABASE, "Name": "/stack-reports-1", "Config": config}
    there = [("docker ps --all", "1\n2\n"), ("docker container inspect", json.dumps([DATABASE, reports])), ("psql", "alembic_version\n")]
    fake = runner(*there, ("psql", f'[{{"version_num": "{standing}"}}]'), *there, ("psql", '[{"version_num": "airflow"}]'))
    assert len(preflight_stack.check_revision(two, fake)) == found
    assert fake.finished()


def test_a_database_without_revisions(deployed: Deployed, runner) -> None:
    fake = runner(*database(1, 1)[:2], ("psql", "\n"))
    assert preflight_stack.check_revision(replace(deployed, revisions=frozenset({"r0"})), fake) == []
    assert preflight_stack.check_revision(deployed, runner(("docker ps --all", ""))) == []


def test_the_limits_of_the_release_that_serves(deployed: Deployed, recorded, runner) -> None:
    pinned = Path(deployed.state_dir) / "compose" / f"{COMMIT[:12]}.yml"
    pinned.parent.mkdir()
    pinned.touch()
    config = ("config --format json", recorded("compose-2.26-config-production.json"))
    fake = runner(("docker ps --all", ""), config, images("backend", "db"))
    (finding,) = check(deployed, 8192, fake)
    assert f"--file {pinned}" in " ".join(fake.calls[1][0])
    assert (finding.severity, finding.subject) == (WARNS, "memory limits")
    assert finding.found == "14 GB as the limits of 8 containers"
    assert finding.wanted == "no more than the machine's 8.6 GB"


@pytest.mark.parametrize(("memory_mb", "expected"), [(13056, 0), (13055, 1)])
def test_the_limits_and_the_memory(recorded, memory_mb: int, expected: int) -> None:
    services = tuple(parse_config(recorded("compose-2.26-config-production.json")).services.values())
    assert len(preflight_stack.over_committed(services, memory_mb)) == expected


def test_images_that_are_gone(deployed: Deployed, runner) -> None:
    fake = runner(("docker ps --all", ""), images("db"))
    (finding,) = check(deployed, 4096, fake)
    assert (finding.severity, finding.subject) == (WARNS, "way back")
    assert finding.found == 'no image of backend of the last good release, "v1.0.0" (20260101)'


def test_a_damaged_ledger(deployed: Deployed, runner) -> None:
    (Path(deployed.state_dir) / "releases" / "20260101" / "record.json").write_text("{", encoding="utf-8")
    (finding,) = check(deployed, 4096, runner(("docker ps --all", "")))
    assert (finding.severity, finding.subject) == (STOPS, "ledger")
    assert "record.json" in finding.found


@pytest.mark.parametrize(
    ("version", "commit", "found"),
    [
        ("v1.0.0", COMMIT, []),
        ("v1.0.0", "", []),
        ("v2.0.0", "f" * 40, []),
        ("v1.0.0", "f" * 40, [f'"v1.0.0" at {"f" * 12}, which was {COMMIT[:12]} when it was deployed here']),
    ],
)
def test_a_tag_that_was_moved(deployed: Deployed, runner, version: str, commit: str, found: list[str]) -> None:
    fake = runner(("docker ps --all", ""), images("backend", "db"))
    findings = check(replace(deployed, version=version, commit=commit), 4096, fake)
    assert [(finding.severity, finding.found) for finding in findings] == [(STOPS, text) for text in found]
    assert all(commit in finding.remedy for finding in findings)
