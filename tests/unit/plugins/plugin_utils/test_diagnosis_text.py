# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""diagnosis_text: the first cause first, in full, and nothing longer than a terminal but commands, which are copied."""

from __future__ import annotations

from typing import Any

from ansible_collections.residency.scheduler.plugins.plugin_utils.diagnosis_text import render


def cause(number: int, follows_from: str = "") -> dict[str, Any]:
    evidence = [f"evidence {number} " + "word " * 60, f"second evidence {number}"]
    commands = ["docker exec p-db sh -c 'psql " + "x" * 120 + "'", "# then, by hand"]
    return {
        "id": f"id.{number}", "subject": "db", "service": "db", "sentence": f"Sentence {number}.", "evidence": evidence,
        "commands": commands, "section": "Issue: Connection Refused", "follows_from": follows_from,
    }  # fmt: skip


def lines(causes: list[dict[str, Any]], **given: Any) -> list[str]:
    whole = {"causes": causes, "notes": [], "unavailable": {}, "seconds": 4.4, **given}
    return [text for text, _colour in render(whole, "server-1")]


def test_causes_in_order_and_what_follows_from_them() -> None:
    shown = lines([cause(1), cause(2), cause(3), cause(4), cause(5, "id.1 db")])
    text = "\n".join(shown)
    assert "Diagnosis of server-1, in 4 s" in text
    assert text.index("1. Sentence 1. (id.1)") < text.index("4. Sentence 4. (id.4)") < text.index("What may follow from that")
    assert text.index("What may follow from that") < text.index("Sentence 5. (id.5)")
    # Three in full, of the fourth what was seen first.
    assert "second evidence 3" in text
    assert "second evidence 4" not in text
    assert text.count("    Checklist: Issue: Connection Refused") == 3
    assert "    # then, by hand" in text
    assert all(len(line) <= 100 for line in shown if not line.lstrip().startswith("$"))
    assert "x" * 120 + "'" in text


def test_a_healthy_stack_says_so_and_tells_the_notes() -> None:
    note = {**cause(9), "sentence": "The last deployment, v2, failed and does not serve.", "evidence": ["why it did"], "commands": ["look"]}
    text = "\n".join(lines([], notes=[note], unavailable={"stats": "Docker hung"}, bundle="/reports/x.tar.gz"))
    assert "Nothing is wrong that these checks see." in text
    assert "Note: The last deployment, v2, failed and does not serve." in text
    assert "    why it did\n    $ look" in text
    assert "Could not be had: stats: Docker hung" in text
    assert "Support bundle, without secrets: /reports/x.tar.gz" in text
