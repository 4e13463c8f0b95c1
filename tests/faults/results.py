"""Keeps the results of fault tests, and writes them as a table into docs/faults.md: `results.py FILE`.

RESIDENCY_FAULT_RESULTS names the file, a JSON line for each fault.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def note(fault: str, place: str, seed: int | None, told: list[str]) -> None:
    """Keep what became of one fault.

    :arg fault: what happened.
    :arg place: at which task.
    :arg seed: what drew the task; None where nothing was drawn.
    :arg told: the invariants that did not hold.
    """
    if os.environ.get("RESIDENCY_FAULT_RESULTS"):
        with Path(os.environ["RESIDENCY_FAULT_RESULTS"]).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"fault": fault, "place": place, "seed": seed, "told": told}) + "\n")


def table(lines: list[str]) -> str:
    """Return the results as a Markdown table, and below it what did not hold."""
    results = [json.loads(line) for line in lines]
    rows = ["| fault | passed/tried | seeds |", "|---|---|---|"]
    for fault in dict.fromkeys(result["fault"] for result in results):
        mine = [result for result in results if result["fault"] == fault]
        seeds = sorted({str(result["seed"]) for result in mine if result["seed"] is not None})
        rows.append(f"| {fault} | {sum(not result['told'] for result in mine)}/{len(mine)} | {', '.join(seeds)} |")
    failed = [f"- {result['fault']}, at {result['place']}: {'; '.join(result['told'])}" for result in results if result["told"]]
    return "\n".join([*rows, *(["", *failed] if failed else [])])


def main(path: str) -> None:
    """Put the table in its place."""
    document = Path(__file__).resolve().parents[2] / "docs/faults.md"
    head, _begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    told = table(Path(path).read_text(encoding="utf-8").splitlines())
    document.write_text(f"{head}{BEGIN}\n{told}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
