# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alert rules and dashboard know the figures that are written, and no others; each figure is shown or alerted on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "roles" / "monitoring" / "files"
PREFIX = "residency_scheduler_"
#: What others write; tests/monitoring looks whether they do.
FOREIGN = re.compile(r"(node|pg|redis)_\w+|up|ALERTS")
DASHBOARD: dict[str, Any] = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FILES / "alerts.yml").read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]


def written() -> set[str]:
    """Return the names of all figures that the collection writes, as its code has them."""
    found: set[str] = set()
    for path in (ROOT / "plugins" / "module_utils").glob("*.py"):
        names = re.findall(r'(?:\bGauge|\b_time)\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
        found |= {name if name.startswith(PREFIX) else PREFIX + name for name in names}
    return found


def used(expression: str) -> set[str]:
    """Return the names of the figures in an expression."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(rf"\b(?:{PREFIX}\w+|(?:node|pg|redis)_\w+|up)\b", bare))


def expressions() -> Iterator[str]:
    """Return the dashboard's expressions."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    yield from (note["expr"] for note in DASHBOARD["annotations"]["list"])
    yield from (variable["definition"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query")


ALERTED = {name for rule in RULES for name in used(rule["expr"])}
SHOWN = {name for expression in expressions() for name in used(expression)}


def test_the_code_has_figures() -> None:
    assert {PREFIX + "health_success", PREFIX + "backup_created_timestamp_seconds", PREFIX + "restore_drill_success"} <= written()
    assert len(written()) > 20


def test_only_figures_that_are_written_are_used() -> None:
    assert not {name for name in ALERTED | SHOWN if not FOREIGN.fullmatch(name)} - written()


def test_every_figure_is_shown_or_alerted_on() -> None:
    assert not written() - ALERTED - SHOWN


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_tells_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    notes = rule["annotations"]
    assert all(notes[name].endswith((".", "}")) for name in ("summary", "description", "remedy"))
    assert "{{" not in notes["summary"], "it is the alert's name for people"
    assert re.search(r"playbooks/\w+\.yml|systemctl|journalctl|docker|timedatectl|certbot|cat|df ", notes["remedy"]), "a command comes next"
    assert notes["runbook_url"].endswith(f"/docs/alerts.md#{rule['alert'].lower()}")


def test_playbooks_that_are_named_are_there() -> None:
    named = {name for rule in RULES for name in re.findall(r"playbooks/(\w+\.yml)", rule["annotations"]["remedy"])}
    assert not {name for name in named if not (ROOT / "playbooks" / name).is_file()}


def test_what_grafana_imports() -> None:
    assert DASHBOARD["uid"] == "residency-scheduler"
    assert DASHBOARD["schemaVersion"] >= 36
    assert "id" not in DASHBOARD, "an id is the database's of one Grafana"
    assert "__inputs" not in DASHBOARD, "a file that is provisioned is not asked for inputs"
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["type"] for panel in panels} == {"row", "stat", "timeseries", "state-timeline", "alertlist"}
    for panel in panels:
        assert panel["title"]
        sources = [panel, *panel.get("targets", [])] if panel["type"] != "row" else []
        assert all(source["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
        references = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(references)) == len(references)


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies over {taken[x, y]}"
                taken[x, y] = panel["title"]
