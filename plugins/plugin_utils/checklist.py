# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checklist that completes itself: each of its lines with a verdict and the evidence for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

#: From the best to the worst. ``open`` is a line that only a person can answer, and nobody has yet.
VERDICTS = ("pass", "open", "warn", "fail")
#: The form of the report; docs/report.schema.json describes it.
SCHEMA = "residency.scheduler/report/1"


@dataclass(frozen=True)
class Line:
    """One line of the checklist.

    :ivar topics: the checks with one of these topics are its evidence.
    :ivar person: who answers it where no check does; empty if it has to be proven by a check.
    """

    id: str
    section: str
    step: str
    text: str
    topics: tuple[str, ...]
    person: str

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Line:
        """Build it from the role's data."""
        return cls(
            id=str(value["id"]),
            section=str(value["section"]),
            step=str(value["step"]),
            text=str(value["text"]),
            topics=tuple(str(topic) for topic in value.get("topics") or ()),
            person=str(value.get("person") or ""),
        )


@dataclass(frozen=True)
class Answered:
    """A line with its verdict, the checks that prove it, and a person's answer where it takes one."""

    line: Line
    verdict: str
    evidence: tuple[Mapping[str, Any], ...]
    answer: Mapping[str, str]

    def worst(self) -> list[Mapping[str, Any]]:
        """Return the checks that made the verdict what it is; none for a line that passed."""
        return [check for check in self.evidence if check["verdict"] == self.verdict] if self.verdict in ("warn", "fail") else []

    @property
    def seconds(self) -> float:
        """Return how long the slowest of its checks took."""
        return max((float(check.get("seconds") or 0) for check in self.evidence), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data for the report."""
        return {
            "id": self.line.id,
            "section": self.line.section,
            "step": self.line.step,
            "text": self.line.text,
            "verdict": self.verdict,
            "person": self.line.person,
            "answer": dict(self.answer),
            "evidence": [dict(check) for check in self.evidence],
        }


def complete(
    lines: Sequence[Line], checks: Sequence[Mapping[str, Any]], answers: Mapping[str, Mapping[str, str]]
) -> list[Answered]:
    """Return every line with its verdict; checks that no line asks for become lines of their own at the end.

    A line without evidence fails, unless a person answers it: what was not checked was not proven.
    """
    answered = [_answer(line, checks, answers.get(line.id, {})) for line in lines]
    asked = {topic for line in lines for topic in line.topics}
    others: dict[str, list[Mapping[str, Any]]] = {}
    for check in checks:
        topic = str(check.get("topic") or "other")
        if topic not in asked:
            others.setdefault(topic, []).append(check)
    for topic, found in others.items():
        line = Line(f"other.{topic}", "Further checks", "Further checks", topic.replace("_", " ").capitalize(), (topic,), "")
        answered.append(Answered(line, _worst(str(check["verdict"]) for check in found), _worst_first(found), {}))
    return answered


def _answer(line: Line, checks: Sequence[Mapping[str, Any]], answer: Mapping[str, str]) -> Answered:
    evidence = _worst_first(check for check in checks if check.get("topic") in line.topics)
    if evidence:
        # A person who saw it fail is believed; one who saw it work outweighs no check.
        seen = ["fail"] if answer.get("verdict") == "fail" else []
        return Answered(line, _worst([*seen, *(str(check["verdict"]) for check in evidence)]), evidence, answer)
    if not line.person:
        return Answered(replace(line), "fail", (_not_checked(line),), answer)
    verdict = str(answer.get("verdict") or "open")
    return Answered(line, verdict if verdict in VERDICTS else "open", (), answer)


def _not_checked(line: Line) -> dict[str, Any]:
    return {
        "subject": line.text,
        "verdict": "fail",
        "expected": "a check",
        "found": "no check was made",
        "seconds": 0.0,
        "remedy": f"Add a check with one of the topics {', '.join(line.topics)}.",
        "topic": line.topics[0] if line.topics else "other",
    }


def _worst_first(checks: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(sorted(checks, key=lambda check: ("fail", "warn").index(check["verdict"]) if check["verdict"] in ("fail", "warn") else 2))


def _worst(verdicts: Iterable[str]) -> str:
    # What is no verdict is no pass either.
    return max((verdict if verdict in VERDICTS else "fail" for verdict in verdicts), key=VERDICTS.index)


def overall(answered: Sequence[Answered]) -> str:
    """Return ``fail``, ``warn`` or ``pass`` of the whole; what a person still has to answer fails nothing."""
    verdict = _worst([*(item.verdict for item in answered), "pass"])
    return "pass" if verdict == "open" else verdict


def count(answered: Sequence[Answered]) -> dict[str, int]:
    """Return how many lines have each verdict."""
    return {verdict: sum(item.verdict == verdict for item in answered) for verdict in VERDICTS}


def document(answered: Sequence[Answered], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report as one JSON document.

    :arg facts: title, host, by, started, finished, seconds, release, stages and logs of the run.
    """
    return {
        "schema": SCHEMA,
        **facts,
        "verdict": overall(answered),
        "counts": count(answered),
        "lines": [item.to_dict() for item in answered],
    }


def failure_message(answered: Sequence[Answered]) -> str:
    """Return what failed, why, and what to do, for the error message of a run."""
    sick = [item for item in answered if item.verdict == "fail"]
    told: list[str] = []
    for item in sick:
        for check in item.worst():
            text = f"  - {check['subject']}: expected {check['expected']}, found {check['found']}. {check['remedy']}"
            if text not in told:
                told.append(text)
    lines = "line" if len(sick) == 1 else "lines"
    return f"The verification failed: {len(sick)} {lines} of the checklist:\n" + "\n".join(told)
