# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight has found, for the checklist."""

from __future__ import annotations

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, WARNS, Finding
from ansible_collections.residency.scheduler.plugins.module_utils.preflight_checklist import TOPICS, checks


def finding(subject: str, severity: str = WARNS) -> Finding:
    """Return a finding about a subject."""
    return Finding(subject, "little", "more", "Add some.", severity)


@pytest.mark.parametrize(
    ("subject", "topics"),
    [
        ("scheduler_version", {"preflight_version"}),
        ("changelog", {"preflight_changelog"}),
        ("scheduler_env.TYPO", {"preflight_environment"}),
        ("scheduler_secrets.DB_PASSWORD", {"preflight_secrets"}),
        ("/opt/residency-scheduler/.env", {"preflight_secrets"}),
        ("uptime", {"preflight_host"}),
        ("disk for the database", {"preflight_host", "preflight_backup"}),
        ("compose", {"preflight_docker"}),
        ("scheduler_domain", {"preflight_dns"}),
    ],
)
def test_each_finding_is_told_under_its_topic(subject: str, topics: set[str]) -> None:
    found = checks([finding(subject)], dict.fromkeys(TOPICS, "fine"))
    assert {check.topic for check in found if check.verdict == "warn"} == topics
    assert {check.found for check in found if check.topic in topics} == {f"{subject}: little"}
    assert {check.verdict for check in found if check.topic not in topics} == {"pass"}


def test_what_was_not_looked_at_has_no_check() -> None:
    assert checks([finding("changelog")], {"preflight_host": "2 CPUs"})[0].found == "2 CPUs"
    assert len(checks([finding("changelog")], {"preflight_host": "2 CPUs"})) == 1


def test_the_worst_counts() -> None:
    (check,) = checks([finding("cpus"), finding("memory", STOPS)], {"preflight_host": "2 CPUs"})
    assert (check.verdict, check.found, check.remedy) == ("fail", "cpus: little; memory: little", "Add some.")
