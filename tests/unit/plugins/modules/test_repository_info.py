# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workflow of repository_info: what git is asked, and what is reported."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.modules.repository_info import run

FIXTURES = Path(__file__).parents[3] / "fixtures"
REPOSITORY = "https://git.example.com/x.git"


class Git:
    """Answers one ls-remote; None means that it must not be asked."""

    def __init__(self, stdout: str | None = None, *, rc: int = 0, stderr: str = "", timed_out: bool = False) -> None:
        self.answer = (stdout, rc, stderr, timed_out)
        self.asked: list[tuple[list[str], float]] = []

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        stdout, rc, stderr, timed_out = self.answer
        assert stdout is not None, f"unexpected call: {argv}"
        assert not stdin
        self.asked.append((list(argv), timeout))
        return CommandResult(tuple(argv), rc, stdout, stderr, 0.25, timed_out)


def ask(git: Git, version: Any = "v1.0.0", repository: Any = REPOSITORY, *, installed: bool = True) -> dict[str, Any]:
    more = {"signing_keys": [], "changelog": "", "checkout": None, "inside": None}
    return run({"repo": repository, "version": version, "timeout": 20, **more}, git, git=installed, host="server1")


def test_a_tag() -> None:
    git = Git((FIXTURES / "git-2.39-tags.txt").read_text())
    assert ask(git) == {
        "changed": False,
        "git": True,
        "reachable": True,
        "commit": "17462d5b0d192978fe46e4de5e5a70ea9256e54f",
        "kind": "tag",
        "near": [],
        "finding": None,
        "findings": [],
        "revisions": [],
        "looked_at": [],
        "seconds": 0.25,
    }
    assert git.asked == [(["git", "ls-remote", "--heads", "--tags", "--", REPOSITORY], 20.0)]


def test_an_unknown_tag_lists_near_names() -> None:
    result = ask(Git((FIXTURES / "git-2.39-tags.txt").read_text()), "1.0")
    assert (result["reachable"], result["commit"], result["kind"], result["near"]) == (True, "", "unknown", ["v1.0.0", "v1.1.0"])
    assert result["finding"]["subject"] == "scheduler_version"


@pytest.mark.parametrize(
    ("git", "found"),
    [
        (Git("", rc=128, stderr=(FIXTURES / "git-2.39-missing.txt").read_text()), "does not appear to be a git repository"),
        (Git("", rc=128, stderr=f"fatal: could not read from '{REPOSITORY}'"), "git's words: fatal"),
        (Git("", rc=128), "exit code 128"),
        (Git("", rc=-9, timed_out=True), "no answer within 20 s"),
    ],
)
def test_an_unreachable_repository(git: Git, found: str) -> None:
    result = ask(git)
    assert (result["git"], result["reachable"], result["commit"]) == (True, False, "")
    assert found in result["finding"]["found"]
    assert "from server1" in result["finding"]["found"]
    assert "hunter2" not in str(result)


@pytest.mark.parametrize(
    ("repository", "version", "subject"),
    [(None, "v1", "scheduler_repo"), ("-x", None, "scheduler_repo"), (REPOSITORY, "HEAD~1", "scheduler_version")],
)
def test_git_never_sees_a_bad_text(repository: Any, version: Any, subject: str) -> None:
    result = ask(Git(), version, repository)
    assert (result["finding"]["subject"], result["reachable"]) == (subject, False)


@pytest.mark.parametrize("version", ["v1.0.0", None])
def test_without_git_nothing_is_known(version: Any) -> None:
    result = ask(Git(), version, installed=False)
    assert (result["git"], result["reachable"], result["finding"]) == (False, False, None)


def test_a_look_into_the_version(tmp_path: Path) -> None:
    work = tmp_path / "work"
    git = ["git", "-C", str(work), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["git", "init", "--quiet", str(work)], [*git, "commit", "--quiet", "--allow-empty", "-m", "x"], [*git, "tag", "v1.0.0"]):
        subprocess.run(words, check=True)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample"
    parameters = {"repo": f"file://{work}", "version": "v1.0.0", "timeout": 20, "signing_keys": [key], "changelog": "CHANGELOG.md"}

    def look(**more: Any) -> list[tuple[str, str]]:
        result = run({**parameters, "checkout": None, "inside": None, **more}, SubprocessRunner(), git=True, host="server1")
        return [(finding["severity"], finding["subject"]) for finding in result["findings"]]

    assert look() == [("stops", "scheduler_version"), ("warns", "changelog")]
    # What is checked out already was looked at when it came; who signed it is asked each time.
    assert look(checkout=str(work)) == [("stops", "scheduler_version")]
    assert look(signing_keys=["no key"]) == [("stops", "preflight_signing_keys[0]")]
    assert look(signing_keys=[], changelog="") == []


def test_a_look_into_its_files(tmp_path: Path) -> None:
    work = tmp_path / "work"
    git = ["git", "-C", str(work), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "init", "--quiet", str(work)], check=True)
    (work / "backend" / "alembic" / "versions").mkdir(parents=True)
    (work / "backend" / "alembic.ini").write_text("[alembic]\nscript_location = alembic\n", encoding="utf-8")
    for name in ("a", "b"):
        (work / "backend" / "alembic" / "versions" / f"{name}.py").write_text(f"revision = '{name}'\n", encoding="utf-8")
    for words in (["add", "."], ["commit", "--quiet", "-m", "x"], ["tag", "v1.0.0"]):
        subprocess.run([*git, *words], check=True)
    parameters: dict[str, Any] = {"repo": f"file://{work}", "version": "v1.0.0", "timeout": 20, "signing_keys": [], "changelog": ""}
    inside = {
        "project": "stack",
        "state_dir": str(tmp_path / "state"),
        "compose_files": ["docker-compose.yml"],
        "services": [{"name": "web", "kind": "http", "port": 80, "path": "/"}],
        "environment": {},
        "secrets": ["KEY"],
        "example": "",
        "paths": {},
        "on_server": False,
    }

    def look(checkout: Path | None = None, **more: Any) -> tuple[list[str], list[str]]:
        given = {**parameters, "checkout": checkout and str(checkout), "inside": {**inside, **more}}
        result = run(given, SubprocessRunner(), git=True, host="server1")
        return [finding["found"] for finding in result["findings"]], result["revisions"]

    assert look() == (["this release has 2 heads: a, b", "no docker-compose.yml in the release"], ["a", "b"])
    # What is malformed is another module's to tell; what is checked out was looked into before.
    assert look(services="web") == look(environment=["x"]) == look(project="../x") == look(work) == ([], [])
    unsigned = {**parameters, "signing_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample"], "checkout": None, "inside": inside}
    result = run(unsigned, SubprocessRunner(), git=True, host="server1")
    assert [finding["subject"] for finding in result["findings"]] == ["scheduler_version"]
    assert result["revisions"] == []
