# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""security: severities, waivers, the score, and what fails."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import security
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.security import (
    AREAS,
    RULES,
    SEVERITIES,
    Observation,
    Policy,
    assess,
    each,
    parse_policy,
    unmade,
)

TODAY = date(2026, 6, 15)
OPEN_PORT = Observation("network.published", False, "on 0.0.0.0:8000", "backend:8000")
FACTS = {"rate_limit_requests": 40}


def policy(**given: Any) -> Policy:
    return parse_policy({"fail_at": "high", "severities": {}, "thresholds": {}, "waivers": [], **given}, TODAY)


def waiver(check: str = "network.published:backend:8000", reason: str = "known", until: str = "2026-12-31") -> dict[str, str]:
    return {"check": check, "reason": reason, "until": until}


def test_every_rule_is_whole() -> None:
    words = {**security.THRESHOLDS, **FACTS, "capabilities_allowed": "none"}
    for name, rule in RULES.items():
        assert name.partition(".")[0] in AREAS
        assert rule.severity in SEVERITIES
        assert rule.topic.startswith("security_")
        assert all((rule.subject, rule.expected, rule.remedy))
        assert rule.expected.format(**words)


@pytest.mark.parametrize(
    ("fail_at", "verdicts"),
    [
        ("critical", ["warn", "warn", "warn", "fail", "fail", "pass"]),
        ("high", ["warn", "warn", "fail", "fail", "fail", "pass"]),
        ("medium", ["warn", "fail", "fail", "fail", "fail", "pass"]),
        ("low", ["fail", "fail", "fail", "fail", "fail", "pass"]),
        ("never", ["warn", "warn", "warn", "warn", "warn", "pass"]),
    ],
)
def test_what_fails(fail_at: str, verdicts: list[str]) -> None:
    rules = ("headers.version", "headers.csp", "network.published", "secrets.git")
    seen = [Observation(rule, False, "bad") for rule in rules]
    # Of severity low, and all the same no pass where it could not be made.
    seen += [unmade("containers.live_restore", "no Docker"), Observation("tls.name", True, "good")]
    result = assess(seen, policy(fail_at=fail_at), (), FACTS)
    assert [check["verdict"] for check in result["checks"]] == verdicts
    assert result["passed"] is ("fail" not in verdicts)
    assert [bool(check["remedy"]) for check in result["checks"]] == [True] * 5 + [False]
    assert [item["severity"] for item in result["findings"] if item["verdict"] == "fail"] == sorted(
        (item["severity"] for item in result["findings"] if item["verdict"] == "fail"), key=SEVERITIES.index, reverse=True
    )


def test_another_severity_counts() -> None:
    seen = [Observation("containers.root", False, "starts as root", "db")]
    assert assess(seen, policy(), (), FACTS)["passed"] is True
    assert assess(seen, policy(severities={"containers.root": "high"}), (), FACTS)["passed"] is False


@pytest.mark.parametrize(
    ("given", "verdict", "words"),
    [
        ([], "fail", "on 0.0.0.0:8000 (high)"),
        ([waiver()], "warn", "accepted until 2026-12-31: known"),
        ([waiver("network.published")], "warn", "accepted until 2026-12-31: known"),
        ([waiver(until="2026-06-15")], "warn", "accepted until 2026-06-15"),
        ([waiver(until="2026-06-14")], "fail", "its waiver ended 2026-06-14"),
        ([waiver("network.published:frontend:3000")], "fail", "(high)"),
        ([waiver(until="2026-06-14"), waiver()], "warn", "accepted until 2026-12-31"),
    ],
)
def test_waivers(given: list[dict[str, str]], verdict: str, words: str) -> None:
    result = assess([OPEN_PORT], policy(waivers=given), (), FACTS)
    (check,) = result["checks"]
    assert check["verdict"] == verdict
    assert words in check["found"]
    assert check["waived"] is (verdict == "warn")
    # A waiver makes nothing better.
    assert result["score"] == {"network": 0}


def test_a_waiver_that_ended_or_covers_nothing_is_told() -> None:
    given = [waiver(until="2026-01-01"), waiver("secrets.git")]
    told = assess([OPEN_PORT], policy(waivers=given), (), FACTS)["warnings"]
    assert told == [
        "The waiver of network.published:backend:8000 ended 2026-01-01 and counts no more.",
        "The waiver of secrets.git covers nothing that was found; take it out.",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"waivers": [waiver(reason=" ")]}, "it has no reason"),
        ({"waivers": [waiver(until="")]}, "which is no date"),
        ({"waivers": [waiver(until="soon")]}, "which is no date"),
        ({"waivers": [waiver(until="2027-06-17")]}, "more than 366 days from now"),
        ({"waivers": [waiver(check="network.nothing")]}, "there is no check network.nothing"),
        ({"severities": {"network.nothing": "low"}}, "network.nothing: low is not a rule"),
        ({"severities": {"network.published": "grave"}}, "network.published: grave is not a rule"),
        ({"thresholds": {"hsts": 1}}, "there is no threshold hsts"),
        ({"thresholds": {"hsts_seconds": "long"}}, "hsts_seconds is 'long'"),
    ],
)
def test_a_wrong_option_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Problem) as caught:
        policy(**given)
    assert message in str(caught.value)


def test_a_threshold_is_of_its_own_type() -> None:
    limits = policy(thresholds={"hsts_seconds": "60", "lifetime_fail": "0.5", "capabilities_allowed": []}).thresholds
    assert (limits["hsts_seconds"], limits["lifetime_fail"], limits["capabilities_allowed"]) == (60, 0.5, [])


def test_the_score_weighs_by_severity_and_counts_a_rule_once() -> None:
    seen = [
        *each("containers.root", {"db": "root", "nginx": "root"}, []),  # medium: 3
        *each("containers.privileged", {}, ["db"]),  # critical: 27
        Observation("secrets.git", False, "in a blob"),
    ]
    assert security.score(seen, policy()) == {"containers": 90, "secrets": 0}


def test_one_bad_target_hides_no_other() -> None:
    seen = each("network.published", {"backend:8000": "a", "frontend:3000": "b"}, ["nginx:443"])
    result = assess(seen, policy(waivers=[waiver()]), (), FACTS)
    assert {check["id"]: check["verdict"] for check in result["checks"]} == {
        "network.published:backend:8000": "warn",
        "network.published:frontend:3000": "fail",
    }


def test_no_secret_is_told() -> None:
    result = assess([Observation("secrets.git", False, "s3cret-value in a file")], policy(), ("s3cret-value",), FACTS)
    assert "s3cret-value" not in str(result)
