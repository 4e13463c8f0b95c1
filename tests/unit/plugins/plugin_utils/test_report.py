# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: fits a terminal, keeps to its schema, and its page shows whatever it is given as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.plugin_utils import report_html, report_text
from ansible_collections.residency.scheduler.plugins.plugin_utils.checklist import Answered, Line, complete, document

jsonschema = pytest.importorskip("jsonschema")

EVIL = "<script>alert(1)</script> {{ 7 * 7 }} & \"quoted\" " + "x" * 300
LINES = [
    Line("post.1", "Post-Deployment Verification", "1. Health Checks", "All services healthy", ("http",), ""),
    Line("post.2", "Post-Deployment Verification", "2. Service Status", "A line that nobody proved " * 6, ("nothing",), ""),
    Line("post.3", "Post-Deployment Verification", "2. Service Status", "Console", (), "the operator"),
    Line("post.4", "Post-Deployment Verification", "2. Service Status", "Console again", (), "the operator"),
]
CHECKS = [
    {"subject": EVIL, "verdict": "fail", "expected": "200", "found": EVIL, "seconds": 1.5, "remedy": EVIL, "topic": "http"},
    {"subject": "frontend", "verdict": "warn", "expected": "200", "found": "429", "seconds": 0.0, "remedy": "Wait.", "topic": "other"},
]
FACTS: dict[str, Any] = {
    "title": "Residency Scheduler",
    "host": "scheduler-1.of.a.long.domain.example.org",
    "address": "https://scheduler.example.org",
    "by": "operator",
    "started": "2025-12-22T02:00:00+00:00",
    "finished": "2025-12-22T02:01:40+00:00",
    "seconds": 100.0,
    "release": {"version": "v1.0.0", "commit": "c" * 40, "revision": ["20251222_shift_index"]},
    "logs": {"backend": [EVIL, "the last line"]},
    "stages": [
        {"name": "preflight", "started": "2025-12-22T02:00:00.000+00:00", "seconds": 1.0},
        {"name": "images", "started": "2025-12-22T02:00:01.000+00:00", "seconds": 99.0},
    ],
}


@pytest.fixture(name="answered")
def answered_fixture() -> list[Answered]:
    """A checklist with a line of every verdict."""
    return complete(LINES, CHECKS, {"post.4": {"by": "A. Operator", "verdict": "pass", "note": EVIL}})


def test_the_text_fits_a_hundred_columns_and_names_everything(answered: list[Answered]) -> None:
    rows = report_text.render(answered, {**FACTS, "html": "/reports/" + "long" * 10 + ".html"})
    text = "\n".join(row for row, _colour in rows)
    assert max(len(row) for row, _colour in rows) <= report_text.WIDTH
    expected = ["NOT proven", "2 FAIL", "1 OPEN", "no check was made", "for the operator", "by A. Operator", "20251222", "the last line"]
    assert [words for words in expected if words not in text] == []
    assert {colour for row, colour in rows if row.strip().startswith("FAIL")} == {"red"}


def test_the_document_keeps_to_its_schema(answered: list[Answered]) -> None:
    schema = json.loads((Path(__file__).resolve().parents[4] / "docs/report.schema.json").read_text(encoding="utf-8"))
    report = json.loads(json.dumps(document(answered, FACTS)))
    jsonschema.validate(report, schema, format_checker=jsonschema.FormatChecker())
    report["verdict"] = "perhaps"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, schema)


class Page(HTMLParser):
    """Collects tags, addresses and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag and whatever it would fetch or link to."""
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("href", "src", "action", "data", "srcset")]

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.text.append(data)


def test_the_page_shows_what_it_is_given_as_text_and_fetches_nothing(answered: list[Answered]) -> None:
    html = report_html.render(document(answered, FACTS))
    page = Page()
    page.feed(html)
    assert "script" not in page.tags
    assert page.addresses == []
    assert not re.search(r"url\(|@import", html)
    assert "".join(page.text).count(EVIL) >= 4
    assert "49" not in "".join(page.text)


def test_the_timeline_fills_the_width() -> None:
    bars = report_html.bars(FACTS["stages"])
    assert [(drawn["name"], drawn["left"], drawn["width"]) for drawn in bars] == [("preflight", 0.0, 1.0), ("images", 1.0, 99.0)]
    assert report_html.bars([]) == []


def test_a_stage_of_no_length_is_still_seen() -> None:
    (drawn,) = report_html.bars([{"name": "x", "started": "2025-12-22T02:00:00+00:00", "seconds": 0.0}])
    assert drawn["width"] >= 0.4
