# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was seen of a stack, for rules to look through. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_facts import Seen
from ansible_collections.residency.scheduler.plugins.module_utils.health import CRASH_LOOP_RESTARTS, CRASH_LOOP_SECONDS
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService

#: Lines of a log that say why a process ended.
_REASON = re.compile(
    r"^\w*(\.\w+)*(Error|Exception|Exit)\b|\b(FATAL|CRITICAL|ERROR)\b|\[(emerg|alert|crit)\]|^Error:|Can't locate revision"
)


@dataclass(frozen=True)
class Evidence:
    """All that was seen.

    :ivar facts: by part (``host``, ``network``, ``ledger``, ...); a part that could not be had is not there.
    :ivar needed: whom each service needs, and on which port.
    :ivar seconds: how far back restarts and logs count.
    """

    project: str
    services: tuple[StackService, ...]
    checks: tuple[Check, ...] = ()
    containers: tuple[Seen, ...] = ()
    logs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    needed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seconds: float = 600.0

    def failed(self, topic: str = "", subject: str = "", found: str = "", verdicts: Sequence[str] = ("fail",)) -> list[Check]:
        """Return the checks with a bad verdict whose topic, subject and finding match these expressions."""
        return [
            check
            for check in self.checks
            if check.verdict in verdicts
            and re.fullmatch(topic or ".*", check.topic)
            and re.search(subject, check.subject)
            and re.search(found, check.found)
        ]

    def of(self, service: str) -> list[Seen]:
        """Return the containers of a service, without those of ``docker compose run``."""
        return [item for item in self.containers if item.service == service and not item.one_off]

    def kind(self, kind: str) -> list[str]:
        """Return the names of the services of a kind."""
        return [service.name for service in self.services if service.kind == kind]

    def names(self) -> list[str]:
        """Return all services, in the order of the stack; those that only containers tell of come last."""
        listed = [service.name for service in self.services]
        return listed + sorted({item.service for item in self.containers if not item.one_off} - set(listed))

    def reason(self, container: Seen) -> list[str]:
        """Return the lines of a container's log that may say why it ended, the last ones."""
        lines = [line for line in self.logs.get(container.name, ()) if line.strip()]
        return [line.strip()[:300] for line in [line for line in lines if _REASON.search(line)][-2:] or lines[-1:]]

    def crashing(self) -> list[Seen]:
        """Return the containers that end again and again."""
        return [item for item in self.containers if not item.one_off and crashes(item)]


def crashes(container: Seen) -> bool:
    """Tell whether a container ends again and again, or cannot be started at all."""
    if container.state in ("restarting", "dead"):
        return True
    return container.restarts >= CRASH_LOOP_RESTARTS and container.up is not None and container.up < CRASH_LOOP_SECONDS


@dataclass(frozen=True)
class Found:
    """What a rule found: about which service (or other subject), by what evidence, and names for the commands.

    :ivar because: id of the cause that explains this one, where the evidence itself says so.
    """

    evidence: tuple[str, ...]
    service: str = ""
    subject: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    because: str = ""


def told_by(checks: Iterable[Check], count: int = 3) -> tuple[str, ...]:
    return tuple(f"{check.subject}: {check.found}"[:400] for check in list(checks)[:count])


def by_service(evidence: Evidence, checks: Sequence[Check]) -> dict[str, list[Check]]:
    """Return checks by the service that their subject begins with, by its own name or that of a container."""
    owners = {name: name for name in evidence.names()} | {item.name: item.service for item in evidence.containers}
    found: dict[str, list[Check]] = {}
    for check in checks:
        owner = owners.get(check.subject.partition(": ")[0])
        if owner:
            found.setdefault(owner, []).append(check)
    return found
