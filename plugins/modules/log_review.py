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
  - Reads the logs of all running containers at once, for the last O(seconds) or since each container started if that is later, so
    that an old line raises no alarm. Colours are stripped and secrets blotted out.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.logs
  - residency.scheduler.attributes.read_only
options:
  services:
    description: Services whose logs are read; all when empty.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Review the logs of the last ten minutes
  residency.scheduler.log_review:
    project: "{{ scheduler_compose }}"
    seconds: 600

- name: Review the log of the workers
  residency.scheduler.log_review:
    project: "{{ scheduler_compose }}"
    services: [celery-worker]
    ignore: ["ERROR.*known and harmless"]
"""

RETURN = r"""
checks:
  description: One entry or more for each container.
  returned: always
  type: list
  elements: dict
findings:
  description: The lines that look like errors, by container; 20 at most from each.
  returned: always
  type: dict
  sample: {residency-scheduler-backend: ["ERROR: connection refused"]}
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.check import failed, summary
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.logs import EXPECTATIONS_SPEC, review
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish


def run(parameters: Mapping[str, Any], runner: Runner) -> dict[str, Any]:
    """Read the logs at once and judge them; a line that is an error is a Problem."""
    project = Project.from_parameters(parameters["project"])
    wanted = parameters["services"]
    containers = [item for item in read_containers(project.name, runner) if not wanted or item.service in wanted]
    checks, findings = review(containers, parameters, project.secrets(), runner)
    result = {"changed": False, "checks": [check.to_dict() for check in checks], "findings": findings}
    if failed(checks):
        raise Problem("There are errors in the logs", f"\n{summary(checks)}", "", **result)
    return result


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            "services": {"type": "list", "elements": "str", "default": []},
            **EXPECTATIONS_SPEC,
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, SubprocessRunner()))


if __name__ == "__main__":
    main()
