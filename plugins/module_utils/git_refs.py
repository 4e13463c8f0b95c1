# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Git references: which texts may name one, and what they name in a repository, by ``git ls-remote``."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, blank, redact_url, show

_VERSION = re.compile(r"[A-Za-z0-9._/+-]{1,200}")
_COMMIT = re.compile(r"[0-9a-f]{40}", re.IGNORECASE)
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}", re.IGNORECASE)
_LINE = re.compile(r"([0-9a-f]{40})\s+(refs/\S+)")
_WEB_CREDENTIALS = re.compile(r"https?://[^/@\s]+@", re.IGNORECASE)
_HELPER = re.compile(r"[A-Za-z0-9+.-]+::")
_TAGS = "refs/tags/"
_BRANCHES = "refs/heads/"
_PEELED = "^{}"
_WANTED_VERSION = "a tag or a full commit (40 hexadecimal digits)"
_WANTED_REPOSITORY = "the address of a git repository"


@dataclass(frozen=True)
class Resolution:
    """What a version names in a repository.

    :ivar commit: the full commit; empty if there is none that may be deployed.
    :ivar kind: ``tag``, ``commit``, ``branch`` or ``unknown``.
    :ivar near: tags with a similar name, where the version names none.
    """

    commit: str
    kind: str
    near: tuple[str, ...]
    finding: Finding | None


def list_argv(repository: str) -> list[str]:
    """Return the command that lists a repository's branches and tags."""
    return ["git", "ls-remote", "--heads", "--tags", "--", repository]


def is_local(repository: str) -> bool:
    """Tell whether the repository is a folder, which one host sees and another does not."""
    return repository.startswith(("/", "file:"))


def local_path(repository: str) -> str:
    """Return the folder of a local repository."""
    return re.sub(r"^file:(?://(?:localhost)?(?=/))?", "", repository)


def check_repository(value: object) -> Finding | None:
    """Return what is wrong with the repository's address, before git sees it."""
    remedy = 'Set scheduler_repo, for example "https://git.example.com/scheduler.git" or "git@git.example.com:scheduler.git".'
    if blank(value):
        return Finding("scheduler_repo", "nothing", _WANTED_REPOSITORY, remedy)
    if not isinstance(value, str):
        return Finding("scheduler_repo", show(value), f"{_WANTED_REPOSITORY}, as a string", remedy)
    if value.startswith("-"):
        return Finding("scheduler_repo", f"{show(value)}, which git takes for an option", _WANTED_REPOSITORY, remedy)
    odd = re.search(r"[\s\x00-\x1f\x7f]|\{\{|\{%", value)
    if odd:
        return Finding("scheduler_repo", f"{show(value)} with {_character(odd.group())}", _WANTED_REPOSITORY, remedy)
    if _WEB_CREDENTIALS.match(value):
        reason = "with credentials in it, which would show in process lists and in .git/config"
        return Finding(
            "scheduler_repo",
            f"{show(value)}, {reason}",
            "an address without credentials",
            "Use a deploy key (git@host:path), or give the server a credential helper of git.",
        )
    if _HELPER.match(value):
        reason = "whose transport helper can run any command"
        return Finding("scheduler_repo", f"{show(value)}, {reason}", f"{_WANTED_REPOSITORY} by https, ssh or file", remedy)
    return None


def check_version(value: object) -> Finding | None:
    """Return what is wrong with the version's text, before git sees it."""
    remedy = 'Set scheduler_version, for example "v1.0.0".'
    if blank(value):
        return Finding("scheduler_version", "nothing", _WANTED_VERSION, remedy)
    if isinstance(value, (int, float)):
        return Finding("scheduler_version", show(value), f"{_WANTED_VERSION}, as a string", f'Put the version in quotes: "{value}".')
    if not isinstance(value, str):
        return Finding("scheduler_version", show(value), f"{_WANTED_VERSION}, as a string", remedy)
    reason = _version_fault(value)
    return Finding("scheduler_version", f"{show(value)}, {reason}", _WANTED_VERSION, remedy) if reason else None


def _version_fault(value: str) -> str:
    if value.startswith("-"):
        return "which git takes for an option"
    relative = re.search(r"[~^]|@\{", value)
    if relative:
        return f"which is relative ({_character(relative.group())}) and moves"
    if len(value) > 200:
        return f"which is {len(value)} characters long (at most 200)"
    for character in value:
        if not _VERSION.fullmatch(character):
            return f"with {_character(character)}"
    if ".." in value:
        return "which is a range (..)"
    if value == "HEAD":
        return "which moves"
    if value.startswith(("/", ".")) or value.endswith(("/", ".", ".lock")) or "//" in value or "/." in value:
        return "which git does not accept as a name"
    return ""


def _character(text: str) -> str:
    """Return one character by a name that a person can read."""
    if text == " ":
        return "a blank"
    if text.isascii() and text.isprintable():
        return text
    if len(text) == 1 and not text.isascii():
        return f"U+{ord(text):04X} ({unicodedata.name(text, 'unnamed')})"
    return {"\n": "a line break", "\r": "a carriage return", "\t": "a tab", "\0": "a NUL"}.get(text, "a control character")


def parse_refs(text: str) -> dict[str, str]:
    """Return the references of ``git ls-remote`` with their commits; an annotated tag is peeled to its commit."""
    found = {match.group(2): match.group(1) for match in map(_LINE.fullmatch, text.splitlines()) if match}
    peeled = {name.removesuffix(_PEELED): commit for name, commit in found.items() if name.endswith(_PEELED)}
    return {**{name: commit for name, commit in found.items() if not name.endswith(_PEELED)}, **peeled}


def resolve(version: str, repository: str, references: Mapping[str, str]) -> Resolution:
    """Return what *version* names among the *references* of *repository*."""
    if _COMMIT.fullmatch(version):
        return Resolution(version.lower(), "commit", (), None)
    if _TAGS + version in references:
        return Resolution(references[_TAGS + version], "tag", (), None)
    if _BRANCHES + version in references:
        return _branch(version, references[_BRANCHES + version], references)
    return _unknown(version, repository, references)


def _branch(version: str, commit: str, references: Mapping[str, str]) -> Resolution:
    tagged = sorted(name.removeprefix(_TAGS) for name, value in references.items() if value == commit and name.startswith(_TAGS))
    example = f'the tag "{tagged[-1]}"' if tagged else f'its present commit "{commit}"'
    remedy = f"A branch moves, so the same command would deploy something else tomorrow. Use a tag or a commit, for example {example}"
    remedy += f" (commit {commit})." if tagged else "."
    return Resolution("", "branch", (), Finding("scheduler_version", f"the branch {show(version)}", _WANTED_VERSION, remedy))


def _unknown(version: str, repository: str, references: Mapping[str, str]) -> Resolution:
    tags = [name.removeprefix(_TAGS) for name in references if name.startswith(_TAGS)]
    near = near_names(version, tags)
    starts = sorted({commit for commit in references.values() if commit.startswith(version.lower())})
    if _SHORT_COMMIT.fullmatch(version) and starts:
        remedy = f'Write the commit in full: "{starts[0]}".'
    elif near:
        remedy = f"Near names: {', '.join(near)}. Correct scheduler_version, or push the tag."
    elif tags:
        newest = sorted(tags, key=_natural)[-5:]
        remedy = f"No tag has a near name; the last of its {len(tags)} tags are {', '.join(newest)}."
    else:
        remedy = "The repository has no tags at all. Push one, or use a full commit."
    found = f"{show(version)}, which is no tag of {redact_url(repository)}"
    return Resolution("", "unknown", tuple(near), Finding("scheduler_version", found, _WANTED_VERSION, remedy))


def near_names(version: str, tags: list[str]) -> list[str]:
    """Return up to five of *tags* with a name like *version*, the nearest first."""
    name = version.removeprefix(_TAGS)
    found = difflib.get_close_matches(name, tags, n=5, cutoff=0.5)
    # "1.0" means v1.0.0 rather than v1.1.0, which is as near by its letters.
    return sorted(found, key=lambda tag: not tag.lstrip("v").startswith(name.lstrip("v")))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", name)]
