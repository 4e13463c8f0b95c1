# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What do the logs say? Errors, connections that failed, and the line with which a service tells that it is up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container, parse_time, read_log
from ansible_collections.residency.scheduler.plugins.module_utils.patterns import require_pattern

#: Seconds after the newest container's start within which services may still look for each other.
SETTLE_SECONDS = 30
#: Seconds after its start within which a service tells that it is up: nearly always the fewer ones, and a log can be long.
STARTUP_SECONDS = (30, 300)

#: What nginx says when the service behind it closed a connection that nginx had kept, at the moment it was used again (uvicorn and Node
#: close one after five idle seconds, nginx by default after sixty). The next request gets a new one; a service that died does more.
_RESET = re.compile(r"(recv\(\) failed \(104: |upstream prematurely closed connection).*while reading response header from upstream")

#: The argument spec of what is expected of the logs; documented in the fragment ``logs``.
EXPECTATIONS_SPEC: dict[str, Any] = {
    "seconds": {"type": "int"},
    "patterns": {"type": "list", "elements": "str", "default": [r"\b(ERROR|CRITICAL|FATAL)\b", "^Traceback "]},
    "connection_patterns": {
        "type": "list",
        "elements": "str",
        "default": [
            r"(?i)connection (refused|reset|timed out)",
            r"(?i)could not (connect|translate host name)",
            r"(?i)lost connection|the database system is starting up",
            # Of a service that is still to be replaced, in a rotation.
            r"(?i)password authentication failed|invalid username-password pair",
        ],
    },
    "ignore": {"type": "list", "elements": "str", "default": []},
    "resets": {"type": "int", "default": 3},
    "startup": {"type": "dict", "default": {}},
    "lines": {"type": "int", "default": 2000},
}


@dataclass(frozen=True)
class LogLine:
    """A line of a log, and when it was written."""

    time: datetime
    text: str


def review(
    containers: Sequence[Container], expected: Mapping[str, Any], secrets: Sequence[str], runner: Runner
) -> tuple[list[Check], dict[str, list[str]]]:
    """Read the logs of the running ones of *containers* at once; return the checks, and the last 20 errors of each container.

    :arg expected: what :data:`EXPECTATIONS_SPEC` lists.
    """
    for option in ("patterns", "connection_patterns", "ignore"):
        for pattern in expected[option]:
            require_pattern(option, pattern)
    for service, pattern in expected["startup"].items():
        require_pattern(f"startup of {service}", pattern)
    running = [item for item in containers if item.state == "running"]
    now = datetime.now(UTC)
    settled = max((item.started for item in running), default=now) + timedelta(seconds=SETTLE_SECONDS)
    with ThreadPoolExecutor(max_workers=max(1, len(running))) as pool:
        found = list(pool.map(lambda item: _review_one(item, expected, secrets, runner, now, settled), running))
    checks = [check for mine, _wrong in found for check in mine]
    return checks, {item.name: wrong[-20:] for item, (_mine, wrong) in zip(running, found, strict=True) if wrong}


def _review_one(
    container: Container, expected: Mapping[str, Any], secrets: Sequence[str], runner: Runner, now: datetime, settled: datetime
) -> tuple[list[Check], list[str]]:
    start = since = container.started
    if expected["seconds"] is not None:
        since = max(start, now - timedelta(seconds=expected["seconds"]))
    read = read_log(container.name, runner, secrets, lines=expected["lines"], since=since.isoformat(), timestamps=True)
    found = sort_out([_line(text) for text in read], expected, settled)
    checks = [
        _check(container.name, "errors in the log", found.errors, "log_errors"),
        _check(container.name, "failed connections in the log", found.connections, "log_connections"),
    ]
    if found.early:
        checks.append(_check(container.name, "failed connections while services started", found.early, "log_connections", otherwise="warn"))
    if found.resets:
        checks.append(_check_resets(container.name, found.resets))
    pattern = expected["startup"].get(container.service)
    if pattern:
        for seconds in STARTUP_SECONDS:
            until = (start + timedelta(seconds=seconds)).isoformat()
            first = read_log(container.name, runner, secrets, lines=None, since=start.isoformat(), until=until)
            if any(re.search(pattern, line) for line in first):
                break
        checks.append(judge_startup(container.name, first, pattern))
    return checks, list(found.errors) + [line for line in found.connections if line not in found.errors]


def _line(text: str) -> LogLine:
    time, _blank, rest = text.partition(" ")
    return LogLine(parse_time(time), rest)


@dataclass(frozen=True)
class Sorted:
    """The lines that tell of trouble: errors, failed connections, and those from while services were still starting.

    :ivar resets: kept connections that were closed when they were used, and that are not among the failed ones.
    """

    errors: tuple[str, ...]
    connections: tuple[str, ...]
    early: tuple[str, ...]
    resets: tuple[str, ...] = ()


def sort_out(lines: Sequence[LogLine], expected: Mapping[str, Any], settled: datetime) -> Sorted:
    """Sort the lines that tell of trouble. Pure.

    Until *settled*, a service may look for another one that is just being started or replaced: after a boot, after a restart,
    in a deployment under load. That is told, and no alarm. Any other error is one at any time.
    """
    before = [line.text for line in lines if line.time < settled]
    after = [line.text for line in lines if line.time >= settled]
    early = matching(before, expected["connection_patterns"], expected["ignore"])
    errors = matching(before, expected["patterns"], expected["ignore"])
    # The head of a traceback says nothing of its own; the connection that failed is its last line.
    errors = [text for text in errors if text not in early and not (early and text.startswith("Traceback "))]
    errors += matching(after, expected["patterns"], expected["ignore"])
    resets = matching(after, [_RESET.pattern], expected["ignore"])
    failed = matching(after, expected["connection_patterns"], expected["ignore"])
    if len(resets) <= expected["resets"]:
        failed = [text for text in failed if text not in resets]
    return Sorted(tuple(errors), tuple(failed), tuple(early), tuple(text for text in resets if text not in failed))


def matching(lines: Sequence[str], patterns: Sequence[str], ignore: Sequence[str]) -> list[str]:
    """Return the lines that match one of *patterns* and none of *ignore*. Pure."""
    wrong, harmless = [re.compile(text) for text in patterns], [re.compile(text) for text in ignore]
    return [
        line
        for line in lines
        if any(pattern.search(line) for pattern in wrong) and not any(pattern.search(line) for pattern in harmless)
    ]


def judge_startup(name: str, first: Sequence[str], pattern: str) -> Check:
    """Judge the lines of a container's first minutes. Pure."""
    told = [line for line in first if re.search(pattern, line)]
    if not first:
        # Docker's own rotation drops old lines: on a server that has run for weeks nothing can be said.
        found, remedy = "the log does not reach back to its start", "Nothing to do, if the service answers."
        return Check(f"{name}: start", "warn", f"a line like {pattern}", found, 0.0, remedy, "log_startup")
    return judge(
        f"{name}: start",
        bool(told),
        f"a line like {pattern}",
        told[0][:120] if told else f"no such line among the first {len(first)}",
        f"Read it: docker logs {name} | head.",
        topic="log_startup",
    )


def _check_resets(name: str, lines: Sequence[str]) -> Check:
    return judge(
        f"{name}: requests lost with a connection that was just being closed",
        False,
        "none",
        f"{len(lines)}, the last: {lines[-1][:200]}",
        "Set keepalive_timeout in the proxy's upstream below the seconds that the service keeps an idle connection (uvicorn, Node: 5).",
        otherwise="warn",
        topic="log_connections",
    )


def _check(name: str, what: str, lines: Sequence[str], topic: str, otherwise: str = "fail") -> Check:
    return judge(
        f"{name}: {what}",
        not lines,
        "none",
        f"{len(lines)}, the last: {lines[-1][:200]}" if lines else "none",
        f"Read it: docker logs {name}. A line that is harmless goes into verify_log_ignore.",
        otherwise=otherwise,
        topic=topic,
    )
