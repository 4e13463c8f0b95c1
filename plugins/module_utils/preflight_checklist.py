# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight has found, as evidence for the lines "Pre-Deployment" of the checklist. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, Finding


@dataclass(frozen=True)
class Topic:
    """A topic of the checklist: what is looked at for it, what is expected, and the subjects of the findings that belong to it."""

    subject: str
    expected: str
    findings: str


TOPICS = {
    "preflight_version": Topic("version", "a tag or commit of the repository, which stays where it is", r"scheduler_(version|repo|home)"),
    "preflight_changelog": Topic("changelog", "a word of the version", "changelog"),
    "preflight_environment": Topic(
        "environment", "a value for every name of the release, and no other name", r"environment\b.*|scheduler_env.*|compose project"
    ),
    "preflight_secrets": Topic("secrets", "long, random, different, and no example", r"scheduler_secrets.*|secrets of the server|/.*"),
    "preflight_host": Topic(
        "server", "enough for the stack", "cpus|memory|memory limits|disk|disk for the database|operating system|clock|restart|uptime"
    ),
    "preflight_docker": Topic("Docker and Compose", "versions that are supported", "docker|compose|images"),
    "preflight_dns": Topic("domain", "a name that leads to this server", "scheduler_domain"),
    "preflight_backup": Topic("backups", "a folder with room for them", "scheduler_backup_dir|disk for the database"),
}


def checks(findings: Sequence[Finding], facts: Mapping[str, str]) -> list[Check]:
    """Return a check for each topic of *facts*, which failed or is a warning where a finding belongs to it.

    :arg facts: what was seen, by topic; a topic that is not there was not looked at.
    """
    return [_check(topic, seen, findings) for topic, seen in facts.items()]


def _check(topic: str, seen: str, findings: Sequence[Finding]) -> Check:
    known = TOPICS[topic]
    mine = [finding for finding in findings if re.fullmatch(known.findings, finding.subject)]
    verdict = "fail" if any(finding.severity == STOPS for finding in mine) else "warn" if mine else "pass"
    found = "; ".join(f"{finding.subject}: {finding.found}" for finding in mine) or seen
    return Check(f"preflight: {known.subject}", verdict, known.expected, found, remedy=mine[0].remedy if mine else "", topic=topic)
