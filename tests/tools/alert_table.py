"""Write the table of alerts in docs/alerts.md from roles/monitoring/files/alerts.yml; with --check only tell whether it is stale."""

from __future__ import annotations

import re
import sys
from typing import Any

import yaml
from steps import ROOT

DOCUMENT = ROOT / "docs" / "alerts.md"
RULES = ROOT / "roles" / "monitoring" / "files" / "alerts.yml"
BEGIN, END = "<!-- Written by ./dev docs: do not edit. -->", "<!-- End of what is written. -->"


def plain(text: str) -> str:
    """Return a text of an alert with the names of its labels in capitals in place of their values."""
    return re.sub(r"{{ \$labels\.(\w+) }}", lambda label: label.group(1).upper(), text).replace("|", "\\|")


def row(rule: dict[str, Any]) -> str:
    """Return the line of one alert."""
    name, notes = rule["alert"], rule["annotations"]
    lasting = f" For {rule['for']}." if "for" in rule else ""
    cells = (f'<a id="{name.lower()}"></a>`{name}`', rule["labels"]["severity"], notes["summary"] + lasting, plain(notes["remedy"]))
    return f"| {' | '.join(cells)} |"


def render(document: dict[str, Any]) -> str:
    """Return the table. Pure."""
    lines = [BEGIN, "", "| alert | severity | when | what to do |", "|---|---|---|---|"]
    return "\n".join([*lines, *(row(rule) for group in document["groups"] for rule in group["rules"]), "", END])


def main(options: list[str]) -> int:
    """Write the table, or tell that it differs."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    wanted = before + render(yaml.safe_load(RULES.read_text(encoding="utf-8"))) + rest.split(END)[1]
    if options == ["--check"]:
        print("docs/alerts.md has all alerts" if wanted == text else "docs/alerts.md is stale: run ./dev docs")
        return int(wanted != text)
    DOCUMENT.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
