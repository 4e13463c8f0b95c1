# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The causes as text for a terminal of 100 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.residency.scheduler.plugins.plugin_utils.report_text import WIDTH, Row

#: Causes that are shown in full; of more, the first lines.
IN_FULL = 3


def render(result: Mapping[str, Any], host: str) -> list[Row]:
    """Return the rows: the causes, the first to look at first, what follows from them, notes, and what could not be had."""
    causes: Sequence[Mapping[str, Any]] = result["causes"]
    roots = [cause for cause in causes if not cause["follows_from"]]
    rows: list[Row] = [("", None), (f"Diagnosis of {host}, in {result['seconds']:.0f} s", None), ("─" * WIDTH, None)]
    if not causes:
        rows.append(("Nothing is wrong that these checks see.", "green"))
    for number, cause in enumerate(roots, 1):
        rows += _cause(number, cause, full=number <= IN_FULL)
    following = [cause for cause in causes if cause["follows_from"]]
    if following:
        rows.append(("What may follow from that", None))
        rows += [row for cause in following for row in _wrapped(f"{cause['sentence']} ({cause['id']})", "    ", None)]
    for note in result["notes"]:
        rows += _wrapped(f"Note: {note['sentence']}", "", "bright yellow")
        rows += [row for text in note["evidence"] for row in _wrapped(text, "    ", None)]
        rows += [(f"    $ {command}", None) for command in note["commands"]]
    for name, why in result["unavailable"].items():
        rows += _wrapped(f"Could not be had: {name}: {why}", "", "bright yellow", 2)
    rows.append(("─" * WIDTH, None))
    if result.get("bundle"):
        rows.append((f"Support bundle, without secrets: {result['bundle']}", None))
    return [*rows, ("", None)]


def _cause(number: int, cause: Mapping[str, Any], *, full: bool) -> Iterator[Row]:
    yield from _wrapped(f"{number}. {cause['sentence']} ({cause['id']})", "", "red" if number == 1 else "bright yellow")
    for text in cause["evidence"] if full else cause["evidence"][:1]:
        yield from _wrapped(text, "    ", None)
    if full:
        for command in cause["commands"]:
            # Whole, for who copies it.
            yield f"    $ {command}" if not command.startswith("#") else f"    {command}", "bright cyan"
        yield f"    Checklist: {cause['section']}", None


def _wrapped(text: str, indent: str, colour: str | None, lines: int = 4) -> Iterator[Row]:
    flat = " ".join(text.split())
    for row in textwrap.wrap(flat, WIDTH, initial_indent=indent, subsequent_indent=indent + "   ", max_lines=lines, placeholder=" ..."):
        yield row, colour
