# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one self-contained HTML page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

WORDS = {"pass": "Pass", "open": "Open", "warn": "Warning", "fail": "Fail"}
SUMMARY = {"pass": "Every check passed", "warn": "Passed, with warnings", "fail": "Failed"}


def render(report: Mapping[str, Any]) -> str:
    """Return the page for the report's document; everything in it is escaped, nothing is fetched from elsewhere."""
    environment = Environment(
        loader=FileSystemLoader(os.path.dirname(__file__)), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        report=report, groups=_groups(report["lines"]), bars=bars(report["stages"]), words=WORDS, summary=SUMMARY
    )


def _groups(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines by section and step, in their order."""
    groups: list[dict[str, Any]] = []
    for line in lines:
        heading = (line["section"], line["step"])
        if not groups or groups[-1]["heading"] != heading:
            new = not groups or groups[-1]["heading"][0] != heading[0]
            groups.append({"heading": heading, "section": heading[0] if new else "", "step": heading[1], "lines": []})
        groups[-1]["lines"].append(line)
    return groups


def bars(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the timeline's bars: offset and width in percent of the whole run, a visible width at least."""
    if not stages:
        return []
    begin = datetime.fromisoformat(stages[0]["started"])
    starts = [(datetime.fromisoformat(stage["started"]) - begin).total_seconds() for stage in stages]
    whole = max(start + float(stage["seconds"]) for start, stage in zip(starts, stages, strict=True)) or 1.0
    return [
        {
            "name": stage["name"],
            "seconds": float(stage["seconds"]),
            "left": round(100 * start / whole, 2),
            "width": max(0.4, round(100 * float(stage["seconds"]) / whole, 2)),
        }
        for start, stage in zip(starts, stages, strict=True)
    ]
