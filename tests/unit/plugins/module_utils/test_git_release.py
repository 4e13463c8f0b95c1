# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look into a release, with real repositories, keys and signatures."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, WARNS
from ansible_collections.residency.scheduler.plugins.module_utils.git_release import Look, Release, check_keys, check_programs, inspect

SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExample0 somebody@example.org"
PGP = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ...\n-----END PGP PUBLIC KEY BLOCK-----\n"


class Repository:
    """A repository whose releases are signed by the key of whoever is asked to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.gnupg = folder / "gnupg"
        self.gnupg.mkdir(mode=0o700)
        subprocess.run(["git", "init", "--quiet", str(self.work)], check=True)
        for name, value in (("user.name", "Somebody"), ("user.email", "somebody@example.org")):
            self.git("config", name, value)

    def git(self, *words: str) -> str:
        """Run git in the repository."""
        environment = {**os.environ, "GNUPGHOME": str(self.gnupg)}
        done = subprocess.run(["git", *words], cwd=self.work, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, changelog: str, *words: str) -> str:
        """Commit a changelog and return the commit."""
        (self.work / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
        self.git("add", ".")
        self.git(*words, "commit", "--quiet", "--allow-empty", "--message", "A change")
        return self.git("rev-parse", "HEAD")

    def ssh_key(self, name: str) -> tuple[str, list[str]]:
        """Make a key and return its public half, and git's options to sign by it."""
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
        return path.with_suffix(".pub").read_text(encoding="utf-8"), ["-c", "gpg.format=ssh", "-c", f"user.signingkey={path}"]

    def pgp_key(self, name: str) -> tuple[str, list[str]]:
        """Make a key and return its public half, and git's options to sign by it."""
        gpg = ["gpg", "--homedir", str(self.gnupg), "--batch", "--quiet", "--passphrase", ""]
        subprocess.run([*gpg, "--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign"], check=True, capture_output=True)
        exported = subprocess.run([*gpg, "--armor", "--export", name], check=True, capture_output=True, text=True).stdout
        return exported, ["-c", f"user.signingkey={name}@example.org"]

    def look(self, version: str, *keys: str, changelog: str = "", kind: str = "tag") -> list[str]:
        """Look into a version and return what was found."""
        commit = self.git("rev-parse", f"{version}^{{commit}}")
        release = Release(f"file://{self.work}", version, commit, kind)
        findings = inspect(release, Look(keys, changelog), SubprocessRunner(), 30).findings
        assert all(finding.wanted and finding.remedy for finding in findings)
        return [f"{finding.severity}: {finding.subject}: {finding.found}" for finding in findings]


@pytest.fixture(name="repository")
def repository_fixture(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path)
    repository.commit("## 1.0.0\n")
    return repository


@pytest.fixture(name="kind", params=["ssh", "pgp"])
def kind_fixture(request: pytest.FixtureRequest) -> str:
    if request.param == "pgp" and not shutil.which("gpg"):
        pytest.skip("no gpg")
    return str(request.param)


def test_a_signature(repository: Repository, kind: str) -> None:
    make = repository.pgp_key if kind == "pgp" else repository.ssh_key
    (ours, sign), (theirs, forge) = make("ours"), make("theirs")
    repository.git(*sign, "tag", "--sign", "--message", "x", "v1.0.0")
    repository.git(*forge, "tag", "--sign", "--message", "x", "v1.0.1")
    repository.git("tag", "--annotate", "--message", "x", "v1.0.2")
    repository.git("tag", "v1.0.3")
    repository.git("update-ref", "refs/tags/v9.0.0", "refs/tags/v1.0.0")
    assert repository.look("v1.0.0", ours) == []
    assert repository.look("v1.0.0", theirs, ours) == []
    assert repository.look("v1.0.1") == []
    (told,) = repository.look("v1.0.1", ours)
    assert told.startswith('stops: scheduler_version: "v1.0.1", signed by a key that is none of those')
    assert repository.look("v1.0.2", ours) == ['stops: scheduler_version: "v1.0.2", which nobody has signed']
    (told,) = repository.look("v1.0.3", ours)
    assert "a tag without message, author and signature" in told
    # An old tag that was signed well, under a new name.
    assert repository.look("v9.0.0", ours) == ['stops: scheduler_version: "v9.0.0", which was signed as "v1.0.0"']


def test_a_signed_tag_that_was_altered(repository: Repository, kind: str) -> None:
    ours, sign = (repository.pgp_key if kind == "pgp" else repository.ssh_key)("ours")
    repository.git(*sign, "tag", "--sign", "--message", "good", "v1.0.0")
    altered = repository.git("cat-file", "tag", "v1.0.0").replace("good", "evil") + "\n"
    made = subprocess.run(["git", "mktag"], cwd=repository.work, input=altered, capture_output=True, text=True, check=True).stdout.strip()
    repository.git("update-ref", "refs/tags/v1.0.0", made)
    (told,) = repository.look("v1.0.0", ours)
    assert told.startswith(('stops: scheduler_version: "v1.0.0", whose', 'stops: scheduler_version: "v1.0.0", signed whose content'))


def test_a_signed_commit(repository: Repository) -> None:
    ours, sign = repository.ssh_key("ours")
    commit = repository.commit("## 2\n", *sign, "-c", "commit.gpgsign=true")
    assert repository.look(commit, ours, kind="commit", changelog="CHANGELOG.md") == []
    unsigned = repository.commit("## 3\n")
    assert repository.look(unsigned, ours, kind="commit") == [f'stops: scheduler_version: "{unsigned}", which nobody has signed']


@pytest.mark.parametrize(
    ("text", "version", "told"),
    [
        ("## [1.0.0] - 2026-01-01", "v1.0.0", []),
        ("v1.0.0: better", "v1.0.0", []),
        ("1.0.0.", "v1.0.0", []),
        ("## 1.0.0-rc1", "v1.0.0", [f'{WARNS}: changelog: no word of "v1.0.0" in CHANGELOG.md']),
        ("11.0.0, 1.0.0.1, 1.0.01", "v1.0.0", [f'{WARNS}: changelog: no word of "v1.0.0" in CHANGELOG.md']),
    ],
)
def test_the_changelog(repository: Repository, text: str, version: str, told: list[str]) -> None:
    repository.commit(text)
    repository.git("tag", version)
    assert repository.look(version, changelog="CHANGELOG.md") == told


def test_no_changelog(repository: Repository) -> None:
    repository.git("tag", "v1.0.0")
    assert repository.look("v1.0.0", changelog="CHANGES") == [f'{WARNS}: changelog: no CHANGES in "v1.0.0"']


@pytest.mark.parametrize(("keys", "severity"), [([SSH], STOPS), ([], WARNS)])
def test_a_version_that_cannot_be_fetched(repository: Repository, keys: list[str], severity: str) -> None:
    # The checkout itself may succeed: not every server gives a commit, or a part of its history.
    release = Release(f"file://{repository.work}", "v7", "0" * 40, "tag")
    (finding,) = inspect(release, Look(keys, "CHANGELOG.md"), SubprocessRunner(), 30).findings
    assert finding.severity == severity
    assert "cannot be fetched" in finding.found
    assert "couldn't find remote ref" in finding.found


@pytest.mark.parametrize(
    ("keys", "wrong"), [([], 0), ([SSH], 0), ([PGP, SSH], 0), (["0xDEADBEEF", SSH], 1), ([f"{SSH}\n{SSH}"], 1)]
)
def test_keys(keys: list[str], wrong: int) -> None:
    findings = check_keys(keys)
    assert len(findings) == wrong
    assert not [key for key in keys for finding in findings if key in str(finding)]


def test_a_program_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert [finding.found for finding in check_programs([PGP], "server1")] == ["no gpg on server1"]
    assert [finding.found for finding in check_programs([SSH, PGP], "server1")] == ["no gpg on server1", "no ssh-keygen on server1"]
    assert check_programs([], "server1") == []
