"""What is wrong in the documents: lines of the deployment checklist without a row, rows without a proof, links that lead nowhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

#: Where a row may stand that answers to no line of the checklist: what is looked at besides.
BESIDE = "also:"
#: Who answers where no test can.
PERSON = "a person"


@dataclass(frozen=True)
class Line:
    """A line of the checklist, or of the document that maps it: the headings that it stands under, and its words without markup."""

    section: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Row:
    """A row of a table: the headings that it stands under, and its cells."""

    section: tuple[str, ...]
    cells: tuple[str, ...]


def plain(text: str) -> str:
    """Return the words without Markdown's markup: code, bold, links, list marks, escaped bars."""
    text = re.sub(r"^(?:- \[ \]|-|\d+\.)\s+", "", text.strip())
    text = re.sub(r"\[([^]]+)]\([^)]*\)", r"\1", text)
    return text.replace("**", "").replace("`", "").replace("\\|", "|").strip()


def parts(text: str) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield each line that tells something: `code`, `row` or `text`, the headings above it, and the line. A table's head tells nothing."""
    headings: list[str] = []
    code = False
    before = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("```"):
            code = not code
        elif code and line:
            yield "code", tuple(headings[1:]), line
        elif match := re.match(r"(#+)\s+(.*)", line):
            headings[len(match[1]) - 1 :] = [plain(match[2])]
        elif line.startswith("|"):
            if before.startswith("|") and set(line) - set("|-: "):
                yield "row", tuple(headings[1:]), line
        elif line and line != "---":
            yield "text", tuple(headings[1:]), line
        before = line


def cells(line: str) -> tuple[str, ...]:
    """Return the cells of a table's row."""
    return tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])


def lines_of(checklist: str) -> list[Line]:
    """Return every line of the checklist; of a table's row the first cell, which names it."""
    named = ((kind, section, cells(line)[0] if kind == "row" else line) for kind, section, line in parts(checklist))
    return [Line(section, text if kind == "code" else plain(text)) for kind, section, text in named]


def rows_of(document: str) -> list[Row]:
    """Return the rows of the document's tables."""
    return [Row(section, cells(line)) for kind, section, line in parts(document) if kind == "row"]


def unmapped(checklist: str, document: str) -> list[str]:
    """Return the lines of the checklist that have no row under the same headings, and the rows that answer to no line."""
    lines = {(line.section, line.text) for line in lines_of(checklist)}
    rows = [row for row in rows_of(document) if not row.cells[0].startswith(BESIDE)]
    told = {(row.section, plain(part)) for row in rows for part in row.cells[0].split("<br>")}
    lacking = [f"no row under {section[-1]!r} has the line {text!r}" for section, text in sorted(lines - told)]
    return lacking + [f"under {section[-1]!r} the checklist has no line {text!r}" for section, text in sorted(told - lines)]


def unproven(document: str, exists: Callable[[str], bool]) -> list[str]:
    """Return the rows that neither name a test that exists, in their last cell, nor leave the line to a person."""
    findings = []
    for row in rows_of(document):
        name = row.cells[0].split("<br>")[0]
        paths = re.findall(r"`((?:tests|molecule)/[\w./]+)`", row.cells[-1])
        findings += [f"{name!r}: no {path}" for path in paths if not exists(path)]
        if not paths and PERSON not in row.cells[1]:
            findings.append(f"{name!r} names neither a test nor {PERSON!r}")
    return findings


def overlooked(checklist: str, document: str) -> list[str]:
    """Return the rows whose removal `unmapped` does not notice: a check that cannot fail proves nothing."""
    rows = [line for kind, _section, line in parts(document) if kind == "row" and not line.startswith(f"| {BESIDE}")]
    return [f"the removal of {row!r} is not noticed" for row in rows if not unmapped(checklist, document.replace(f"{row}\n", "", 1))]


def anchors(document: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them, and those that it sets itself."""
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', document))
    counts: dict[str, int] = {}
    code = False
    for line in document.splitlines():
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and (match := re.match(r"#+\s+(.*)", line)):
            anchor = re.sub(r"[^\w\- ]", "", plain(match[1]).lower()).replace(" ", "-")
            counts[anchor] = counts.get(anchor, 0) + 1
            found.add(anchor if counts[anchor] == 1 else f"{anchor}-{counts[anchor] - 1}")
    return found


def links(document: str) -> list[str]:
    """Return the targets of a document's links, without those in code."""
    text = re.sub(r"```.*?```", "", document, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text))


def broken(documents: Mapping[str, str], resolve: Callable[[str, str], str | None]) -> list[str]:
    """Return the links that lead nowhere. `resolve` gives the path that a document's link means; None where there is no such file."""
    findings = []
    for name, text in documents.items():
        for link in links(text):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = resolve(name, path) if path else name
            if target is None or (anchor and anchor not in anchors(documents.get(target, ""))):
                findings.append(f"{name}: the link {link} leads nowhere")
    return findings
