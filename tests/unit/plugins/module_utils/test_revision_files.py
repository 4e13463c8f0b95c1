# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic's revisions, as files tell them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.revision_files import Revision, find, judge, parse, read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('revision = "b"\ndown_revision = "a"\n', Revision("b", ("a",), "f.py")),
        ('"""x"""\nrevision: str = "b"\ndown_revision: str | None = None\n', Revision("b", (), "f.py")),
        ("revision = 'm'\ndown_revision = ('a', 'b')\n", Revision("m", ("a", "b"), "f.py")),
        ("revision = 'm'\ndown_revision = ['a', 'b']\n", Revision("m", ("a", "b"), "f.py")),
        ("down_revision: str\nx, y = 1, 2\n", None),
    ],
)
def test_parse(text: str, expected: Revision | None) -> None:
    assert parse(text, "f.py") == expected


@pytest.mark.parametrize("text", ['revision = PREFIX + "b"\n', 'revision = "b"\ndown_revision = before()\n', "def broken(:\n"])
def test_what_only_code_can_tell(tmp_path: Path, text: str) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        parse(text, "f.py")
    folder = tmp_path / "alembic" / "versions"
    folder.mkdir(parents=True)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = alembic\n", encoding="utf-8")
    (folder / "f.py").write_text(text, encoding="utf-8")
    assert read(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ("[alembic]\nscript_location = alembic\n", True),
        ("[alembic]\nscript_location = %(here)s/alembic\nsqlalchemy.url = %(x)s\n", True),
        ("[alembic]\nscript_location = app:alembic\n", False),
        ("[alembic]\nscript_location = ../alembic\n", False),
        ("[alembic]\nscript_location = alembic\nversion_locations = one two\n", False),
        ("[alembic]\n", False),
        ("[other]\n", False),
        ("no settings", False),
    ],
)
def test_find(tmp_path: Path, settings: str, found: bool) -> None:
    (tmp_path / "alembic" / "versions").mkdir(parents=True)
    tree = tmp_path / "tree"
    (tree / "backend" / "alembic" / "versions").mkdir(parents=True)
    (tree / "backend" / "alembic.ini").write_text(settings, encoding="utf-8")
    assert find(str(tree)) == (str(tree / "backend" / "alembic" / "versions") if found else None)
    (tree / "node_modules").mkdir()
    (tree / "node_modules" / "alembic.ini").touch()
    assert bool(find(str(tree))) is found
    (tree / "alembic.ini").touch()
    assert find(str(tree)) is None


def chain(*links: tuple[str, tuple[str, ...]]) -> list[Revision]:
    """Return revisions with their parents."""
    return [Revision(name, parents, f"{number}_{name}.py") for number, (name, parents) in enumerate(links)]


@pytest.mark.parametrize(
    ("revisions", "found"),
    [
        (chain(), []),
        (chain(("a", ()), ("b", ("a",))), []),
        (chain(("a", ()), ("b", ("a",)), ("c", ("a",)), ("m", ("b", "c"))), []),
        # No beginning of an id, which Alembic would not find either.
        (chain(("ab", ()), ("c", ("a",))), ["1_c.py, which follows a, and no file with that revision", "this release has 2 heads: ab, c"]),
        (chain(("a", ()), ("b", ("a",)), ("c", ("a",))), ["this release has 2 heads: b, c"]),
        (chain(("a", ()), ("b", ("z",))), ["1_b.py, which follows z, and no file with that revision", "this release has 2 heads: a, b"]),
        (chain(("a", ()), ("a", ())), ["the revision a twice, in 0_a.py and 1_a.py"]),
    ],
)
def test_judge(revisions: list[Revision], found: list[str]) -> None:
    findings = judge(revisions)
    assert [finding.found for finding in findings] == found
    assert all(finding.severity == "stops" and finding.remedy for finding in findings)
