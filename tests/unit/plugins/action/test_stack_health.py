# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line that a long wait shows."""

from __future__ import annotations

from ansible_collections.residency.scheduler.plugins.action.stack_health import progress

GOOD = {"subject": "db: containers", "verdict": "pass", "found": "db running"}
BAD = {"subject": "backend: HTTP", "verdict": "fail", "found": "no answer in time"}


def test_progress_names_who_is_waited_for_and_why() -> None:
    services = [
        {"service": "db", "status": "healthy", "checks": [GOOD]},
        {"service": "backend", "status": "waiting", "checks": [GOOD, BAD]},
        {"service": "frontend", "status": "waiting", "checks": []},
    ]
    line = progress({"services": services}, 20.4, 120.0)
    assert line == "  waiting, 20 of 120 s, for backend (backend: HTTP: no answer in time), frontend (waiting)"
