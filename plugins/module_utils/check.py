# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A check: what was looked at, what was expected, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Check:
    """One line of evidence.

    :ivar subject: what was looked at ("backend: HTTP").
    :ivar verdict: ``pass``, ``fail`` or ``warn``; a check that could not be made is a ``fail``.
    :ivar seconds: how long the probe took; 0 where the fact was already at hand.
    :ivar remedy: what to do next; empty for ``pass``.
    :ivar topic: what it is evidence of; the checklist's lines name the topics that prove them.
    """

    subject: str
    verdict: str
    expected: str
    found: str
    seconds: float = 0.0
    remedy: str = ""
    topic: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain data, seconds to the millisecond."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


def judge(
    subject: str,
    good: bool,
    expected: str,
    found: str,
    remedy: str,
    seconds: float = 0.0,
    *,
    otherwise: str = "fail",
    topic: str = "",
) -> Check:
    """Return a Check that passes if *good*, else has the verdict *otherwise* and the remedy."""
    return Check(subject, "pass" if good else otherwise, expected, found, seconds, "" if good else remedy, topic)


def on_topic(checks: Iterable[Check], topic: str) -> list[Check]:
    """Return *checks*, those without a topic under *topic*."""
    return [check if check.topic else replace(check, topic=topic) for check in checks]


def failed(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that failed."""
    return [check for check in checks if check.verdict == "fail"]


def summary(checks: Sequence[Check]) -> str:
    """Return the failed checks as lines for an error message."""
    return "\n".join(
        f"  - {check.subject}: expected {check.expected}, found {check.found}. {check.remedy}" for check in failed(checks)
    )
