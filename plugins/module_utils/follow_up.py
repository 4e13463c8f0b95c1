# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left to do after a deployment: within a day, a week, a month; what proves it by itself, and what a person has to say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import redact
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import Postgres
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: From the best to the worst: a person has answered, or every check passes; not due yet; due, and nobody has answered; a check fails.
STATES = ("done", "waiting", "due", "failed")
#: Only statements with plans: others may have secrets in them, which PostgreSQL takes out of these.
_SLOWEST = """
SELECT round(mean_exec_time::numeric / 1000, 3)::float AS seconds, calls, left(regexp_replace(query, '\\s+', ' ', 'g'), 200) AS query
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = current_database() AND query ~* '^\\s*(select|insert|update|delete|with)\\M'
ORDER BY mean_exec_time DESC LIMIT 5
"""
_THERE = "SELECT count(*) AS count FROM pg_extension WHERE extname = 'pg_stat_statements'"


@dataclass(frozen=True)
class Item:
    """A line of the listing.

    :ivar by: who answers it: a timer, or a person.
    :ivar due: ISO 8601.
    :ivar state: one of :data:`STATES`.
    :ivar found: the evidence, or the answer.
    """

    id: str
    step: str
    text: str
    by: str
    due: str
    state: str
    found: str

    def told(self) -> str:
        """Return it as one line."""
        found = f" - {self.found}" if self.found else ""
        return f"[{self.state:7}] {self.step} (until {self.due[:10]}): {self.text} ({self.by}){found}"


def evaluate(
    lines: Sequence[Mapping[str, Any]], deployed: datetime, checks: Sequence[Check], answers: Mapping[str, Mapping[str, str]], now: datetime
) -> list[Item]:
    """Return each line with its state. Pure.

    :arg lines: with ``id``, ``step``, ``text``, ``days``, ``topics`` (of the checks that prove it), ``timer``, and ``person``, who has to
        answer besides.
    :arg answers: by the lines' ids: ``by``, ``at``, ``note``.
    """
    items = []
    for line in lines:
        due = deployed + timedelta(days=float(line["days"]))
        mine = [check for check in checks if check.topic in line.get("topics", ())]
        failing = [check for check in mine if check.verdict == "fail"]
        answer = answers.get(line["id"])
        evidence = "; ".join(f"{check.subject}: {check.found}" for check in failing or mine[:3])
        if failing:
            state, found = "failed", evidence
        elif answer:
            state, found = "done", f"{answer['by']}, {answer['at'][:10]}: {answer['note']}"
        elif mine and not line.get("person"):
            state, found = "done", evidence
        else:
            state, found = ("due" if now >= due else "waiting"), evidence
        by = " and ".join(word for word in (line.get("timer", ""), line.get("person", "")) if word)
        items.append(Item(line["id"], line["step"], line["text"], by, due.isoformat(timespec="seconds"), state, found))
    return items


def judge_items(items: Sequence[Item]) -> list[Check]:
    """Return a failed check for each line that is due, or whose evidence fails; people are told of these. Pure."""
    remedy = "Do it, then say so: ansible-playbook playbooks/follow_up.yml -e monitoring_done={id} -e monitoring_note='...'"
    told = [item for item in items if item.state in ("due", "failed")]
    return [
        judge(f"{item.step}: {item.text}", False, f"done until {item.due[:10]}", found, remedy.format(id=item.id))
        for item in told
        for found in [item.found or "nobody has said so"]
    ]


def path(state_dir: str, release: str) -> str:
    """Return the file of the answers that were given for a release."""
    return os.path.join(state_dir, "follow_up", f"{release}.json")


def read_answers(state_dir: str, release: str) -> dict[str, dict[str, str]]:
    """Return the answers by the lines' ids."""
    name = path(state_dir, release)
    try:
        found = dict(json.loads(read_text(name) or "{}"))
        return {str(key): {field: str(value[field]) for field in ("by", "at", "note")} for key, value in found.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise Problem("Reading the follow-up failed", f"{name} cannot be read ({error!r})", "Correct the file, or move it away.") from error


def answer(state_dir: str, release: str, lines: Sequence[Mapping[str, Any]], identifier: str, by: str, note: str, now: datetime) -> None:
    """Note that a line was done.

    :raises Problem: there is no such line.
    """
    known = [line["id"] for line in lines]
    if identifier not in known:
        raise Problem("Noting the answer failed", f"there is no line {identifier}", f"Known are: {', '.join(known)}.")
    answers = {**read_answers(state_dir, release), identifier: {"by": by, "at": now.isoformat(timespec="seconds"), "note": note}}
    write_text(path(state_dir, release), json.dumps(answers, indent=2, sort_keys=True) + "\n", 0o640)


def slow_queries(postgres: Postgres, limit: float) -> tuple[list[Check], list[str]]:
    """Ask PostgreSQL for the slowest statements on average; return the evidence, and a line for each.

    :arg limit: seconds on average above which a statement is slow.
    """
    what = "Asking for slow queries failed"
    if not int(postgres.rows(_THERE, what)[0]["count"]):
        return [], ["pg_stat_statements is not installed in this database, so nobody knows its slow queries (docs/monitoring.md)"]
    try:
        rows = postgres.rows(_SLOWEST, what)
    except Problem as problem:
        return [], [f"pg_stat_statements cannot be read: {redact(problem.why, postgres.secrets)[-200:]}"]
    lines = [f"{row['seconds']:.3f} s on average, {row['calls']} calls: {redact(row['query'], postgres.secrets)}" for row in rows]
    slow = [line for line, row in zip(lines, rows, strict=True) if row["seconds"] > limit]
    found = f"{len(slow)}, the slowest: {slow[0]}" if slow else f"none; the slowest: {lines[0] if lines else 'none at all'}"
    remedy = "Look at the statement with EXPLAIN (ANALYZE, BUFFERS); an index, or fewer rows."
    expected = f"none above {limit:g} s on average"
    return [judge("database: slow queries", not slow, expected, found, remedy, otherwise="warn", topic="slow_queries")], lines


def as_report(items: Sequence[Item], slow: Sequence[str], capacity: Sequence[str]) -> dict[str, Any]:
    """Return the listing with its two short reports, as plain data and as lines. Pure."""
    told = [item.told() for item in items]
    lines = [*told, "Slow queries:", *(f"  {line}" for line in slow), "Capacity:", *(f"  {line}" for line in capacity)]
    return {"items": [asdict(item) for item in items], "slow_queries": list(slow), "capacity": list(capacity), "lines": lines}
