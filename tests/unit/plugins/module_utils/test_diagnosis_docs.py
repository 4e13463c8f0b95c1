# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/diagnosis.md says of each cause what its rule says, and has a row for each issue of the checklist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import diagnosis_rules
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_rules import LAST, RULES, Rule

# Not a part of the collection's tarball that ansible-test looks at: on its copy the docs lie in the same place.
TEXT = (Path(__file__).resolve().parents[4] / "docs" / "diagnosis.md").read_text(encoding="utf-8")
ISSUES = (diagnosis_rules.MIGRATION, diagnosis_rules.START, diagnosis_rules.REFUSED, diagnosis_rules.TASKS)


def row(rule: Rule) -> str:
    """Return the line that the table has to have."""
    commands = "<br>".join("`" + command.replace("{{", "{").replace("}}", "}").replace("|", "\\|") + "`" for command in rule.commands)
    return f"| `{rule.id}` | {rule.sentence} | {commands or '-'} | {rule.section} |"


def test_every_rule_has_its_row_and_no_other_row_is_there() -> None:
    table = TEXT.partition("<!-- causes -->\n")[2].partition("<!-- /causes -->")[0].splitlines()[2:]
    assert table == [row(rule) for rule in (*RULES, LAST)]


@pytest.mark.parametrize("issue", ISSUES)
def test_every_issue_of_the_checklist_has_a_row_and_rules(issue: str) -> None:
    assert re.search(rf"^\| {re.escape(issue)} \|", TEXT, re.MULTILINE)
    assert [rule.id for rule in RULES if rule.section == issue]
