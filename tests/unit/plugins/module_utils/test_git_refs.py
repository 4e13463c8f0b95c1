# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Git references: refused texts, recorded answers, resolution."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import git_refs
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, Findings, redact_url, show

FIXTURES = Path(__file__).parents[3] / "fixtures"
REFERENCES = git_refs.parse_refs((FIXTURES / "git-2.39-tags.txt").read_text())
V1_0_0 = "17462d5b0d192978fe46e4de5e5a70ea9256e54f"
V1_1_0 = "79dca0dad6dcfe89a8e97692d5864353d097b6d7"


@pytest.mark.parametrize("version", ["v1.0.0", "1.0", "release/2025-12", "v1.0.0+build.3", V1_0_0, "x" * 200, "a..".rstrip(".")])
def test_a_good_version(version: str) -> None:
    assert git_refs.check_version(version) is None


@pytest.mark.parametrize(
    ("version", "found"),
    [
        (None, "nothing"),
        ("", "nothing"),
        (" \n", "nothing"),
        ([], "nothing"),
        (1.0, "the number 1.0"),
        (True, "the boolean true"),
        (["v1"], "a list of 1"),
        ("-x", "takes for an option"),
        ("--upload-pack=touch /tmp/x", "takes for an option"),
        ("HEAD", "moves"),
        ("HEAD~1", "relative (~)"),
        ("v1^{}", "relative (^)"),
        ("main@{1}", "relative"),
        ("v1 0", "a blank"),
        ("v1\n", "a line break"),
        ("v1\r", "a carriage return"),
        ("v1\t", "a tab"),
        ("v1\0", "a NUL"),
        ("v1\x1b[0m", "a control character"),
        ("v1;id", "with ;"),
        ("$(id)", "with $"),
        ("{{ x }}", "with {"),
        ("v1..v2", "a range"),
        ("x" * 201, "201 characters"),
        ("x" * 10_000, "10000 characters"),
        ("v\u0031.\u043e", "U+043E (CYRILLIC SMALL LETTER O)"),
        ("/v1", "does not accept"),
        ("v1/", "does not accept"),
        ("a//b", "does not accept"),
        ("a/.b", "does not accept"),
        ("v1.lock", "does not accept"),
    ],
)
def test_a_bad_version(version: object, found: str) -> None:
    finding = git_refs.check_version(version)
    assert finding is not None
    assert finding.subject == "scheduler_version"
    assert found in finding.found
    assert finding.found.isascii()
    assert finding.found.isprintable()
    assert len(finding.found) < 220
    assert finding.remedy


@pytest.mark.parametrize(
    "repository",
    [
        "https://git.example.com/x.git",
        "git@git.example.com:x.git",
        "ssh://git@[::1]:22/x.git",
        "file:///srv/x.git",
        "/srv/x.git",

    ],
)
def test_a_good_repository(repository: str) -> None:
    assert git_refs.check_repository(repository) is None


@pytest.mark.parametrize(
    ("repository", "found"),
    [
        (None, "nothing"),
        ("", "nothing"),
        (7, "the number 7"),
        ("--upload-pack=x", "takes for an option"),
        ("ext::sh -c id", "a blank"),
        ("ext::id", "transport helper"),
        ("fd::17", "transport helper"),
        ("https://h/x\n", "a line break"),
        ("https://h/{{x}}", "{{"),
        ("https://bob:hunter2@h/x y", "a blank"),
        ("https://bob:hunter2@h/x", "with credentials in it"),
        ("HTTPS://hunter2@h/x", "with credentials in it"),
    ],
)
def test_a_bad_repository(repository: object, found: str) -> None:
    finding = git_refs.check_repository(repository)
    assert finding is not None
    assert finding.subject == "scheduler_repo"
    assert found in finding.found
    assert "hunter2" not in str(finding)


def test_an_annotated_tag_is_peeled_to_its_commit() -> None:
    assert REFERENCES == {
        "refs/heads/main": V1_1_0,
        "refs/tags/v0.9.0": "986198f23e4708e3ef712e7a83ab7e9d9e88cb60",
        "refs/tags/v1.0.0": V1_0_0,
        "refs/tags/v1.1.0": V1_1_0,
    }


@pytest.mark.parametrize("text", ["", "warning: redirecting\n", "0123\trefs/tags/x\n", "\x1b[31m\n"])
def test_noise_is_no_reference(text: str) -> None:
    assert git_refs.parse_refs(text) == {}


@pytest.mark.parametrize(
    ("version", "kind", "commit", "near", "remedy"),
    [
        ("v1.0.0", "tag", V1_0_0, (), ""),
        ("0" * 40, "commit", "0" * 40, (), ""),
        ("A" * 40, "commit", "a" * 40, (), ""),
        ("main", "branch", "", (), f'the tag "v1.1.0" (commit {V1_1_0})'),
        ("v1.0.1", "unknown", "", ("v1.1.0", "v1.0.0", "v0.9.0"), "Near names: "),
        ("1.0", "unknown", "", ("v1.0.0", "v1.1.0"), "Near names: v1.0.0"),
        ("refs/tags/v1.0.0", "unknown", "", ("v1.0.0", "v1.1.0", "v0.9.0"), "Near names: v1.0.0"),
        (V1_0_0[:8], "unknown", "", (), V1_0_0),
        ("production", "unknown", "", (), "the last of its 3 tags are v0.9.0, v1.0.0, v1.1.0"),
    ],
)
def test_resolve(version: str, kind: str, commit: str, near: tuple[str, ...], remedy: str) -> None:
    answer = git_refs.resolve(version, "https://u:secret99@h/x", REFERENCES)
    assert (answer.kind, answer.commit) == (kind, commit)
    assert set(answer.near) == set(near)
    assert (answer.finding is None) == bool(commit)
    assert remedy in (answer.finding.remedy if answer.finding else "")
    assert "secret99" not in str(answer)


def test_a_branch_without_a_tag_offers_its_commit() -> None:
    finding = git_refs.resolve("dev", "/x", {"refs/heads/dev": "b" * 40}).finding
    assert finding is not None
    assert f'its present commit "{"b" * 40}"' in finding.remedy


def test_a_repository_without_tags() -> None:
    references = git_refs.parse_refs((FIXTURES / "git-2.39-empty.txt").read_text())
    finding = git_refs.resolve("v1", "/x", references).finding
    assert finding is not None
    assert "no tags at all" in finding.remedy


def test_tags_are_sorted_by_their_numbers() -> None:
    finding = git_refs.resolve("zzz", "/x", {f"refs/tags/v1.{number}": "c" * 40 for number in range(12)}).finding
    assert finding is not None
    assert finding.remedy.endswith("v1.7, v1.8, v1.9, v1.10, v1.11.")


@pytest.mark.parametrize(
    ("repository", "local", "path"),
    [
        ("file:///srv/x.git", True, "/srv/x.git"),
        ("file://localhost/srv/x", True, "/srv/x"),
        ("/srv/x", True, "/srv/x"),
        ("https://h/x", False, "https://h/x"),
    ],
)
def test_local_repositories(repository: str, local: bool, path: str) -> None:
    assert (git_refs.is_local(repository), git_refs.local_path(repository)) == (local, path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://bob:hunter2@h/x", "https://********@h/x"),
        ("https://ghp_token@h/x", "https://********@h/x"),
        ("ssh://git@h/x", "ssh://git@h/x"),
        ("ssh://git:hunter2@h/x", "ssh://git:********@h/x"),
        ("git@h:x", "git@h:x"),
        ("fatal: 'http://a:b@h/' and http://c:d@h/", "fatal: 'http://********@h/' and http://********@h/"),
    ],
)
def test_passwords_are_blotted_out(text: str, shown: str) -> None:
    assert redact_url(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\nb", '"a\\nb"'),
        ("x" * 90, f'"{"x" * 80}" and 10 more characters'),
        (None, "nothing"),
        ({"a": 1}, "a mapping of 1"),
        (b"", "a bytes"),
    ],
)
def test_values_are_shown_on_one_line(value: object, shown: str) -> None:
    assert show(value) == shown


def test_all_findings_are_one_message() -> None:
    finding = Finding("memory", "1 MB", "2 MB", "Add some.")
    assert Findings([finding]).message().startswith("1 finding stops this deployment; nothing was changed:\n1. memory: found 1 MB")
    assert Findings([finding, finding]).message().splitlines() == [
        "2 findings stop this deployment; nothing was changed:",
        "1. memory: found 1 MB, wanted 2 MB. Add some.",
        "2. memory: found 1 MB, wanted 2 MB. Add some.",
    ]
    assert Finding.from_dict(finding.to_dict()) == finding
