# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The completed checklist as text for a terminal of 100 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.residency.scheduler.plugins.plugin_utils.checklist import Answered, count, overall

WIDTH = 100
#: Lines of a log that are shown; the report's files have them all.
LOG_LINES = 10
#: Ansible's names of colours.
COLOURS = {"pass": "green", "open": "blue", "warn": "bright yellow", "fail": "red"}
WORDS = {"pass": "PASS", "open": "OPEN", "warn": "WARN", "fail": "FAIL"}
SUMMARY = {"pass": "all proven", "warn": "proven, with warnings", "fail": "NOT proven"}

#: A line of text, and its colour (None for the terminal's own).
Row = tuple[str, str | None]


def render(answered: Sequence[Answered], facts: dict[str, Any]) -> list[Row]:
    """Return the rows: a heading, the checklist by section, and the logs of what is sick."""
    verdict = overall(answered)
    rows: list[Row] = [("", None), *_heading(facts), ("─" * WIDTH, None)]
    section = ""
    for item in answered:
        if item.line.section != section:
            section = item.line.section
            rows.append((section, None))
        rows += _line(item)
    for name, lines in facts["logs"].items():
        rows.append((f"Last lines of {name}", None))
        rows += [(_cut(f"    {' '.join(line.split())}", WIDTH), None) for line in lines[-LOG_LINES:]]
    rows.append(("─" * WIDTH, None))
    numbers = ", ".join(f"{number} {WORDS[name]}" for name, number in count(answered).items() if number)
    rows.append((f"{facts['title']}: {SUMMARY[verdict]} ({numbers}) in {facts['seconds']:.0f} s", COLOURS[verdict]))
    rows += [(f"Report: {facts[name]}", None) for name in ("html", "json") if facts.get(name)]
    return [*rows, ("", None)]


def _heading(facts: dict[str, Any]) -> Iterator[Row]:
    release = facts["release"]
    left = f"{facts['title']} {release.get('version') or ''} on {facts['host']}"
    right = f"{str(release.get('commit') or '')[:12]}  {facts['finished'][:16].replace('T', ' ')} UTC"
    yield f"{left[: WIDTH - len(right) - 2]:<{WIDTH - len(right)}}{right}", None
    revision = ", ".join(release.get("revision") or [])
    if revision:
        yield f"database at {revision}"[:WIDTH], None


def _line(item: Answered) -> Iterator[Row]:
    number = item.line.step.partition(".")[0] if item.line.step[:1].isdigit() else ""
    note = _note(item)
    text = f"  {WORDS[item.verdict]}  {number:>1}  {item.line.text}"
    room = WIDTH - len(note) - 2
    yield f"{_cut(text, room):<{room}}  {note}", COLOURS[item.verdict]
    for check in item.worst():
        found = f"{check['subject']}: {check['found']}"
        yield from _wrapped(found, "           ", COLOURS[item.verdict])
        if check.get("remedy"):
            yield from _wrapped(f"-> {check['remedy']}", "           ", None)


def _note(item: Answered) -> str:
    if item.verdict == "open":
        return f"for {item.line.person}"
    if item.answer.get("by") and not item.evidence:
        return f"by {item.answer['by']}"[:40]
    checks = f"{len(item.evidence)} check{'s' if len(item.evidence) != 1 else ' '}"
    return f"{checks:>10} {item.seconds:6.2f} s"


def _wrapped(text: str, indent: str, colour: str | None) -> Iterator[Row]:
    flat = " ".join(text.split())
    for row in textwrap.wrap(flat, WIDTH, initial_indent=indent, subsequent_indent=indent + "   ", max_lines=4, placeholder=" ..."):
        yield row, colour


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3] + "..."
