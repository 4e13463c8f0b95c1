# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""release_files, with a real git repository."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.module_utils.command import SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import release_files


def git(home: Path, *words: str) -> str:
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@example.com"]
    return subprocess.run(["git", "-C", str(home), *identity, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(name="server")
def server_fixture(tmp_path: Path) -> Path:
    """A server with two releases, of which the second is checked out."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "compose").mkdir()
    git(home, "init", "--quiet")
    (home / ".gitignore").write_text(".env\n", encoding="utf-8")
    for number in ("1", "2"):
        (home / "code").write_text(number, encoding="utf-8")
        git(home, "add", ".")
        git(home, "commit", "--quiet", "-m", number)
        (home / ".env").write_text(f"VALUE='{number}'\n", encoding="utf-8")
        release_file(tmp_path).write_text(f"services: {{}} # {number}\n", encoding="utf-8")
        wanted = {"version": f"v{number}", "commit": git(home, "rev-parse", "HEAD"), "images": {}, "environment_digest": number}
        decision = ledger.decide(ledger.read_records(str(tmp_path)), wanted, "good", number, {"stack": {"services": [{"name": number}]}})
        ledger.write(str(tmp_path), decision, {".env": str(home / ".env"), "compose.yml": str(release_file(tmp_path))}, "then")
        if number == "1":
            # As if another version of the collection had written it later.
            release_file(tmp_path).write_text("services: {} # other\n", encoding="utf-8")
    return tmp_path


def release_file(server: Path) -> Path:
    """Return the generated compose file of what is checked out."""
    return server / "compose" / f"{git(server / 'home', 'rev-parse', 'HEAD')[:12]}.yml"


def put_back(server: Path, identifier: str, check_mode: bool = False) -> dict[str, Any]:
    parameters = {
        "state_dir": str(server),
        "id": identifier,
        "home": str(server / "home"),
        "marker": str(server / "marker"),
    }
    return release_files.run(parameters, check_mode, SubprocessRunner())


def state(server: Path) -> tuple[str, str, str]:
    home = server / "home"
    return (home / "code").read_text(), (home / ".env").read_text().strip(), release_file(server).read_text().split()[-1]


def test_there_and_back_again(server: Path) -> None:
    assert put_back(server, "1", check_mode=True)["changed"]
    assert state(server) == ("2", "VALUE='2'", "2")
    result = put_back(server, "1")
    assert (result["changed"], result["version"], len(result["files"])) == (True, "v1", 3)
    assert result["stack"] == {"services": [{"name": "1"}]}
    assert state(server) == ("1", "VALUE='1'", "1")
    assert (server / "home" / ".env").stat().st_mode & 0o777 == 0o600
    assert put_back(server, "1")["changed"] is False
    assert put_back(server, "2")["changed"]
    assert state(server) == ("2", "VALUE='2'", "2")
    assert not (server / "marker").exists()


def test_a_persons_change_is_not_overwritten(server: Path) -> None:
    (server / "home" / "code").write_text("mine", encoding="utf-8")
    for check_mode in (True, False):
        with pytest.raises(Problem, match=r"Checking out v1 was refused: .*/home has local changes, in code"):
            put_back(server, "1", check_mode)
    assert state(server) == ("mine", "VALUE='2'", "2")
    assert not (server / "marker").exists()
    # Where nothing has to move, nobody asks.
    assert put_back(server, "2")["changed"] is False


def test_a_checkout_that_fails_in_the_middle_is_finished_by_the_next_run(server: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    git(server / "home", "checkout", "--quiet", "--detach", "HEAD~1")
    (server / "home" / "code").write_text("0" * 100_000, encoding="utf-8")
    git(server / "home", "commit", "--quiet", "--all", "-m", "0")
    long = git(server / "home", "rev-parse", "HEAD")
    git(server / "home", "checkout", "--quiet", "--detach", "HEAD~1")
    record = {"version": "v0", "commit": long, "images": {}, "environment_digest": "0"}
    files = {".env": str(server / "home" / ".env"), "compose.yml": str(release_file(server))}
    ledger.write(str(server), ledger.decide(ledger.read_records(str(server)), record, "good", "0", {}), files, "then")
    # A disk without room for the file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(Problem, match="Checking out v0 failed"):
            put_back(server, "0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (server / "marker").exists()
    put_back(server, "0")
    assert (server / "home" / "code").stat().st_size == 100_000
    assert not (server / "marker").exists()


def test_a_checkout_that_was_cut_is_finished(server: Path) -> None:
    (server / "home" / "code").write_text("half", encoding="utf-8")
    (server / "home" / ".git" / "index.lock").touch()
    (server / "marker").touch()
    assert put_back(server, "1")["changed"]
    assert state(server) == ("1", "VALUE='1'", "1")
    assert not (server / "marker").exists()


def test_what_is_gone_is_named_before_anything_changes(server: Path) -> None:
    with pytest.raises(Problem, match="the ledger has no record 3"):
        put_back(server, "3")
    os.unlink(server / "releases" / "1" / ".env")
    with pytest.raises(Problem, match=r"\.env of v1 is not in .* scheduler_version=v1"):
        put_back(server, "1")
    assert state(server) == ("2", "VALUE='2'", "2")
    record = {"version": "v9", "commit": "9" * 40, "images": {}, "environment_digest": "9"}
    files = {".env": str(server / "home" / ".env"), "compose.yml": str(release_file(server))}
    ledger.write(str(server), ledger.decide([], record, "good", "9", {}), files, "then")
    with pytest.raises(Problem, match="has no commit 999999999999"):
        put_back(server, "9")


@pytest.mark.parametrize(
    ("present", "renamed"),
    [
        # Its name has moved to another image, or went with it.
        ('["redis:7"]|[]|sha256:new\n[]|[]|sha256:old\n', ["redis:7"]),
        ("[]|[]|sha256:old\n", ["redis:7"]),
        ('["redis:7"]|[]|sha256:old\n', []),
        # Not this module's to say that it is gone.
        ('["redis:7"]|[]|sha256:new\n', []),
    ],
)
def test_an_image_that_lost_its_name_gets_it_back(server: Path, runner, present: str, renamed: list[str]) -> None:
    record = {"version": "v3", "commit": "c" * 40, "images": {"redis": {"reference": "redis:7", "id": "sha256:old"}}}
    assert list(release_files.renamed(record, runner(("docker image inspect", present)))) == renamed
