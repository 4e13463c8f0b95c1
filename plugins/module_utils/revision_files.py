# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic's revisions as a release's files tell them, without running any of its code.

Only what is plain is judged: a revision that is put together by code, or that this Python cannot parse, is left to Alembic itself, which
asks the release's own image before a migration.
"""

from __future__ import annotations

import ast
import configparser
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.residency.scheduler.plugins.module_utils.alembic import MERGE
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding

_SUBJECT = "alembic"
#: Folders that hold other people's code.
_FOREIGN = frozenset({".git", ".venv", "venv", "node_modules", "site-packages"})


@dataclass(frozen=True)
class Revision:
    """A revision: its id, those that it follows, and its file's name."""

    revision: str
    parents: tuple[str, ...]
    file: str


def read(tree: str) -> list[Revision] | None:
    """Return the revisions in a release's files; None where they cannot be told."""
    folder = find(tree)
    if folder is None:
        return None
    revisions = []
    # Alembic, script/base.py: every Python file of the folder itself, but no hidden one and no __init__.
    for name in sorted(name for name in os.listdir(folder) if name.endswith(".py") and not name.startswith((".#", "__init__"))):
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as stream:
                found = parse(stream.read(), name)
        except (OSError, ValueError, SyntaxError):
            return None
        revisions += [found] if found else []
    return revisions


def find(tree: str) -> str | None:
    """Return the folder of the revisions by the one ``alembic.ini`` in *tree*; None if there is no such, or more than one."""
    found = []
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name not in _FOREIGN]
        found += [folder] if "alembic.ini" in names else []
    if len(found) != 1:
        return None
    settings = configparser.RawConfigParser()
    try:
        settings.read(os.path.join(found[0], "alembic.ini"), encoding="utf-8")
        section = dict(settings["alembic"])
    except (configparser.Error, KeyError, ValueError, OSError):
        return None
    if section.get("version_locations") or section.get("recursive_version_locations"):
        return None
    location = section.get("script_location", "").replace("%(here)s", found[0])
    path = os.path.realpath(os.path.join(found[0], location, "versions"))
    return path if location and os.path.isdir(path) and path.startswith(os.path.realpath(tree) + os.sep) else None


def parse(text: str, file: str) -> Revision | None:
    """Return the revision in a file's text; None if it has none. Pure.

    :raises ValueError: its id or its parents are put together by code.
    :raises SyntaxError: this Python cannot parse it.
    """
    values = {}
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for name in [target.id for target in targets if isinstance(target, ast.Name)]:
            value = getattr(node, "value", None)
            if name in ("revision", "down_revision") and value is not None:
                values[name] = ast.literal_eval(value)
    if values.get("revision") is None:
        return None
    parents = values.get("down_revision") or ()
    return Revision(str(values["revision"]), (parents,) if isinstance(parents, str) else tuple(map(str, parents)), file)


def judge(revisions: Sequence[Revision]) -> list[Finding]:
    """Return what Alembic would refuse: an id twice, a parent that is missing, several heads. Pure."""
    files: dict[str, list[str]] = {}
    for revision in revisions:
        files.setdefault(revision.revision, []).append(revision.file)
    findings = []
    for name, twice in ((name, twice) for name, twice in files.items() if len(twice) > 1):
        remedy = "Give one of them an id of its own in the release."
        findings.append(Finding(_SUBJECT, f"the revision {name} twice, in {' and '.join(twice)}", "each revision once", remedy))
    followed = set[str]()
    for child, parent in [(revision, parent) for revision in revisions for parent in revision.parents]:
        followed.add(parent)
        if parent not in files:
            found = f"{child.file}, which follows {parent}, and no file with that revision"
            remedy = "Add the missing revision to the release, or correct down_revision."
            findings.append(Finding(_SUBJECT, found, "every revision's parent", remedy))
    heads = [name for name in files if name not in followed]
    if len(heads) > 1:
        findings.append(Finding(_SUBJECT, f"this release has {len(heads)} heads: {', '.join(sorted(heads))}", "one head", MERGE))
    return findings
