# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finding: something that stops a deployment before anything is changed, or is told as a warning, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: The severities, worst first.
STOPS, WARNS = "stops", "warns"
_WEB_USER = re.compile(r"(https?://)[^/@\s]+@", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(//[^/:@\s]*:)[^/@\s]+@")


@dataclass(frozen=True)
class Finding:
    """One reason not to deploy, or to think twice.

    :ivar subject: the variable or the fact ("scheduler_version", "memory").
    :ivar found: what is there, without secrets.
    :ivar wanted: what has to be there.
    :ivar remedy: what to do, as one sentence.
    :ivar severity: whether it stops the deployment, or is a warning.
    """

    subject: str
    found: str
    wanted: str
    remedy: str
    severity: str = STOPS

    def to_dict(self) -> dict[str, str]:
        """Return the finding as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Finding:
        """Build the finding from a module's result."""
        severity = WARNS if value.get("severity") == WARNS else STOPS
        words = {name: str(value.get(name, "")) for name in ("subject", "found", "wanted", "remedy")}
        return cls(**words, severity=severity)


class Findings(Problem):
    """Stops a deployment with all findings at once, worst first, numbered, a line each."""

    def __init__(self, stops: Sequence[Finding], warnings: Sequence[Finding] = (), **details: Any) -> None:
        stop = "finding stops" if len(stops) == 1 else "findings stop"
        lines = numbered(stops)
        if warnings:
            lines += ["Warnings, which alone would not stop it:", *numbered(warnings, len(stops) + 1)]
        super().__init__(
            f"{len(stops)} {stop} this deployment; nothing was changed",
            "\n".join(lines),
            "",
            findings=[finding.to_dict() for finding in stops],
            warnings_found=[finding.to_dict() for finding in warnings],
            **details,
        )

    def message(self) -> str:
        """Return the headline and the list."""
        return f"{self.what}:\n{self.why}"


def numbered(findings: Sequence[Finding], first: int = 1) -> list[str]:
    """Return the findings as people read them, a line each."""
    return [
        f"{number}. {finding.subject}: found {finding.found}, wanted {finding.wanted}. {finding.remedy}"
        for number, finding in enumerate(findings, first)
    ]


def show(value: object) -> str:
    """Return *value* for a message: one line of ASCII, at most about 80 characters, no password of a URL."""
    if isinstance(value, str):
        text = redact_url(value)
        return _quoted(text) if len(text) <= 80 else f"{_quoted(text[:80])} and {len(text) - 80} more characters"
    return kind(value)


def _quoted(text: str) -> str:
    # Look-alike letters and control characters become visible as escapes.
    return '"' + text.encode("unicode_escape").decode() + '"'


def kind(value: object) -> str:
    """Return the name that YAML's readers give to the type of *value*, with a plain value itself."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"a mapping of {len(value)}"
    return f"a {type(value).__name__}"


def blank(value: object) -> bool:
    """Tell whether *value* is missing: null, an empty list or mapping, or a text without a visible character."""
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, (list, dict)) and not value)


def redact_url(text: str) -> str:
    """Return *text* without passwords in URLs; the user of a web address is blotted out too, since it may be a token."""
    return _URL_PASSWORD.sub(r"\1********@", _WEB_USER.sub(r"\1********@", text))
