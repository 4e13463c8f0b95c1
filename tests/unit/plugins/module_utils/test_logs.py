# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""logs: which lines are errors, and what a service's first lines say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.containers import parse_containers
from ansible_collections.residency.scheduler.plugins.module_utils.logs import (
    EXPECTATIONS_SPEC,
    LogLine,
    judge_startup,
    matching,
    review,
    sort_out,
)

EXPECTED = {name: option.get("default") for name, option in EXPECTATIONS_SPEC.items()}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("2025-12-22 02:00:00 ERROR connection refused", True),
        ("Traceback (most recent call last):", True),
        ("FATAL:  password authentication failed", True),
        ("INFO: 0 errors", False),
        ("GET /ERRORS.html 200", False),
        ("[2025-12-22 02:00:00: INFO/MainProcess] ready", False),
    ],
)
def test_errors(line: str, wrong: bool) -> None:
    assert matching([line], EXPECTED["patterns"], []) == ([line] if wrong else [])


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("consumer: Cannot connect to redis://redis:6379/0: Error 111. Connection refused.", True),
        ('could not translate host name "db" to address', True),
        ("LOG:  connection received: host=172.18.0.5", False),
        ("Connected to redis://redis:6379/0", False),
    ],
)
def test_connections_that_failed(line: str, wrong: bool) -> None:
    assert matching([line], EXPECTED["connection_patterns"], []) == ([line] if wrong else [])


def test_a_line_that_is_ignored() -> None:
    lines = ["ERROR known and harmless", "ERROR new"]
    assert matching(lines, EXPECTED["patterns"], ["known and harmless"]) == ["ERROR new"]


@pytest.mark.parametrize(
    ("first", "verdict"),
    [
        (["booting", "celery@a ready."], "pass"),
        (["booting", "nothing more"], "fail"),
        ([], "warn"),
    ],
)
def test_the_line_of_a_start(first: list[str], verdict: str) -> None:
    assert judge_startup("worker-1", first, r" ready\.$").verdict == verdict


NOON = datetime(2025, 12, 22, 12, tzinfo=UTC)
REFUSED = "ERROR connect() failed: Connection refused"
ROTATED = 'FATAL:  password authentication failed for user "app"'


@pytest.mark.parametrize(
    ("said", "errors", "connections", "early"),
    [
        pytest.param([(-5, REFUSED)], [], [], [REFUSED], id="while services start"),
        pytest.param([(5, REFUSED)], [REFUSED], [REFUSED], [], id="when all have started"),
        pytest.param([(-5, ROTATED)], [], [], [ROTATED], id="while services are replaced in a rotation"),
        pytest.param([(5, ROTATED)], [ROTATED], [ROTATED], [], id="a wrong password for good"),
        pytest.param([(-5, "ERROR no such setting")], ["ERROR no such setting"], [], [], id="an error is one at any time"),
        pytest.param([(-5, "Traceback (most recent call last):"), (-5, REFUSED)], [], [], [REFUSED], id="a traceback to it"),
        pytest.param([(-5, "Traceback (most recent call last):")], ["Traceback (most recent call last):"], [], [], id="any other"),
        pytest.param([(-5, "fine"), (5, "fine")], [], [], [], id="nothing"),
    ],
)
def test_connections_that_fail_while_services_start(
    said: list[tuple[float, str]], errors: list[str], connections: list[str], early: list[str]
) -> None:
    lines = [LogLine(NOON + timedelta(seconds=second), text) for second, text in said]
    found = sort_out(lines, EXPECTED, NOON)
    assert (list(found.errors), list(found.connections), list(found.early)) == (errors, connections, early)


def reset(number: int, why: str = "recv() failed (104: Connection reset by peer)") -> str:
    """Return what nginx says of a request that it lost with a kept connection."""
    return f"2025/12/22 12:00:05 [error] 96#96: *{number} {why} while reading response header from upstream, client: 10.0.0.1"


@pytest.mark.parametrize(
    ("said", "connections", "resets"),
    [
        ([reset(1)], 0, 1),
        ([reset(1), reset(2, "upstream prematurely closed connection"), reset(3)], 0, 3),
        ([reset(1), reset(2), reset(3), reset(4)], 4, 0),
        # Too many, but of no pattern.
        ([reset(number, "upstream prematurely closed connection") for number in range(5)], 0, 5),
        ([reset(1, "connect() failed (111: Connection refused)")], 1, 0),
        ([reset(1), "ERROR connect() failed: Connection refused"], 1, 1),
    ],
)
def test_requests_lost_with_a_kept_connection(said: list[str], connections: int, resets: int) -> None:
    found = sort_out([LogLine(NOON + timedelta(seconds=5), text) for text in said], EXPECTED, NOON)
    assert (len(found.connections), len(found.resets)) == (connections, resets)


@pytest.mark.parametrize(
    ("seconds", "up", "age"),
    [
        (None, 900, 900),  # since the container's start: what was logged before is another run's
        (600, 60, 60),
        (600, 900, 600),
    ],
)
def test_old_lines_raise_no_alarm(seconds: int | None, up: int, age: int, recorded, runner) -> None:
    containers = json.loads(recorded("docker-26.1-inspect-small-stack.json"))
    redis = [item for item in containers if item["Name"] == "/small-redis"]
    redis[0]["State"]["StartedAt"] = (datetime.now(UTC) - timedelta(seconds=up)).isoformat()
    said = "".join(f"{datetime.now(UTC).isoformat()} {text}\n" for text in ("one", "\x1b[31mERROR\x1b[0m of s3cret"))
    fake = runner(("docker logs", said))
    checks, findings = review(parse_containers(json.dumps(redis)), {**EXPECTED, "seconds": seconds}, ["s3cret"], fake)
    asked = datetime.fromisoformat(fake.calls[0][0][fake.calls[0][0].index("--since") + 1])
    assert abs((datetime.now(UTC) - asked).total_seconds() - age) < 30
    assert findings == {"small-redis": ["ERROR of ********"]}
    assert [(check.topic, check.verdict) for check in checks] == [("log_errors", "fail"), ("log_connections", "pass")]


def test_a_lost_request_is_a_warning(recorded, runner) -> None:
    containers = [item for item in json.loads(recorded("docker-26.1-inspect-small-stack.json")) if item["Name"] == "/small-redis"]
    containers[0]["State"]["StartedAt"] = (datetime.now(UTC) - timedelta(seconds=900)).isoformat()
    fake = runner(("docker logs", f"{datetime.now(UTC).isoformat()} {reset(1)}\n"))
    checks, _findings = review(parse_containers(json.dumps(containers)), EXPECTED, [], fake)
    assert [check.verdict for check in checks] == ["pass", "pass", "warn"]
    assert "keepalive_timeout" in checks[-1].remedy
