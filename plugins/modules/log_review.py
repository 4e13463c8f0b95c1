#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for errors in the logs of the running containers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: log_review
short_description: Look for errors in the logs of a compose project since a given time
version_added: 0.1.0
description:
  - Reads the logs of all running containers at once, since O(since) or since each container started if that is later, so that an
    old line raises no alarm. Colours are stripped and secrets blotted out.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.attributes.read_only
options:
  services:
    description: Services whose logs are read; all when empty.
    type: list
    elements: str
    default: []
  since:
    description: RFC 3339 time; only lines from then on count.
    type: str
  patterns:
    description: Regular expressions; a line that matches one of them is an error.
    type: list
    elements: str
    default: ["\\b(ERROR|CRITICAL|FATAL)\\b", "^Traceback "]
  ignore:
    description: Regular expressions; a line that matches one of them is never an error.
    type: list
    elements: str
    default: []
  lines:
    description: Lines to read at most from each container.
    type: int
    default: 2000
"""

EXAMPLES = r"""
- name: Review the logs since the deployment began
  residency.scheduler.log_review:
    project: "{{ scheduler_compose }}"
    since: "2025-12-22T02:00:00Z"

- name: Review the log of the workers
  residency.scheduler.log_review:
    project: "{{ scheduler_compose }}"
    services: [celery-worker]
    ignore: ["ERROR.*known and harmless"]
"""

RETURN = r"""
checks:
  description: One entry for each container.
  returned: always
  type: list
  elements: dict
findings:
  description: The lines that look like errors, by container; 20 at most from each.
  returned: always
  type: dict
  sample: {residency-scheduler-backend: ["ERROR: connection refused"]}
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, failed, judge, summary
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container, parse_time, read_containers, read_log
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish


def run(parameters: Mapping[str, Any], runner: Runner) -> dict[str, Any]:
    """Read the logs at once and judge them; a line that is an error is a Problem."""
    project = Project.from_parameters(parameters["project"])
    secrets = project.secrets()
    wanted = parameters["services"]
    containers = [
        item
        for item in read_containers(project.name, runner)
        if item.state == "running" and (not wanted or item.service in wanted)
    ]
    since = parse_time(parameters["since"]) if parameters["since"] else None

    def review(container: Container) -> list[str]:
        return errors(_read(container, since, parameters["lines"], runner, secrets), parameters["patterns"], parameters["ignore"])

    with ThreadPoolExecutor(max_workers=max(1, len(containers))) as pool:
        found = dict(zip((item.name for item in containers), pool.map(review, containers), strict=True))
    checks = [_check(name, lines) for name, lines in found.items()]
    result = {
        "changed": False,
        "checks": [check.to_dict() for check in checks],
        "findings": {name: lines[-20:] for name, lines in found.items() if lines},
    }
    if failed(checks):
        raise Problem("There are errors in the logs", f"\n{summary(checks)}", "", **result)
    return result


def _read(container: Container, since: datetime | None, lines: int, runner: Runner, secrets: Sequence[str]) -> list[str]:
    start = max(since, container.started) if since else container.started
    return read_log(container.name, runner, secrets, lines=lines, since=start.isoformat())


def errors(lines: Sequence[str], patterns: Sequence[str], ignore: Sequence[str]) -> list[str]:
    """Return the lines that match one of *patterns* and none of *ignore*. Pure."""
    wrong, harmless = [re.compile(text) for text in patterns], [re.compile(text) for text in ignore]
    return [
        line
        for line in lines
        if any(pattern.search(line) for pattern in wrong) and not any(pattern.search(line) for pattern in harmless)
    ]


def _check(name: str, lines: Sequence[str]) -> Check:
    return judge(
        f"{name}: log",
        not lines,
        "no error",
        f"{len(lines)} errors, the last: {lines[-1][:200]}" if lines else "no error",
        f"Read it: docker logs {name}. A line that is harmless goes into verify_log_ignore.",
    )


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            "services": {"type": "list", "elements": "str", "default": []},
            "since": {"type": "str"},
            "patterns": {"type": "list", "elements": "str", "default": [r"\b(ERROR|CRITICAL|FATAL)\b", "^Traceback "]},
            "ignore": {"type": "list", "elements": "str", "default": []},
            "lines": {"type": "int", "default": 2000},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, SubprocessRunner()))


if __name__ == "__main__":
    main()
