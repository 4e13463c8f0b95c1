#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes every post-deployment check in one call, side by side."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_verify
short_description: Prove that a deployed stack works for its users, in one call
version_added: 0.2.0
description:
  - Makes the checks of M(residency.scheduler.stack_health), M(residency.scheduler.celery_health), M(residency.scheduler.http_health),
    M(residency.scheduler.alembic_info) and M(residency.scheduler.log_review), and asks the database, all at once. Only the
    endpoints with a limit for their response time wait until the others are done, so that they measure the application and not
    the checks.
  - A check that could not be made is a failed check. All findings are returned, not the first one only; the task itself does not
    fail, since M(residency.scheduler.checklist) tells the verdict.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
  - psycopg2 (for services of kind postgres)
  - redis (for services of kind redis)
  - cryptography (for endpoints with C(tls))
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.compose.stack
  - residency.scheduler.endpoints
  - residency.scheduler.attributes.read_only
options:
  domain:
    description: Public name of the application, sent as Host and SNI through the proxy.
    type: str
    default: localhost
  celery:
    description: The options of M(residency.scheduler.celery_health), except C(project).
    type: dict
    default: {}
  alembic:
    description: The options of M(residency.scheduler.alembic_info), except C(project) and C(sql).
    type: dict
    default: {}
  logs:
    description: The options of M(residency.scheduler.log_review), except C(project) and C(services).
    type: dict
    default: {}
  queries:
    description: Queries to the application's database.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the check, for reports.
        type: str
        required: true
      sql:
        description: The query.
        type: str
        required: true
      expect:
        description: Regular expression that the whole answer has to match.
        type: str
        required: true
  app_script:
    description:
      - The application's own check, a command and its words, started in the project's folder. Its verdict is advice - a warning, never
        a failure. Left out when empty.
    type: list
    elements: str
    default: []
  wait:
    description: Seconds to wait at most until all services are healthy; V(0) looks once.
    type: int
    default: 0
  hold:
    description: Seconds for which all services have to stay healthy.
    type: int
    default: 3
  probe_timeout:
    description: Seconds that one probe may take.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Verify the stack
  residency.scheduler.stack_verify:
    project: "{{ scheduler_compose }}"
    services: "{{ scheduler_services }}"
    endpoints:
      - {name: API health, url: "https://scheduler.example.com/health", json: {status: ok}, max_seconds: 0.5}
    queries:
      - {name: users, sql: SELECT count(*) FROM users, expect: '\d+'}
  register: verification

- name: Verify with expectations of the workers and the logs
  residency.scheduler.stack_verify:
    project: "{{ scheduler_compose }}"
    services: "{{ scheduler_services }}"
    endpoints: []
    celery: {unconsumed_queues_allowed: [metrics]}
    logs: {ignore: ["known and harmless"]}
"""

RETURN = r"""
checks:
  description: All checks, each with what was expected and found, its verdict, seconds, remedy and topic.
  returned: always
  type: list
  elements: dict
  sample:
    - {subject: "db: containers", verdict: pass, expected: 1 running, found: "residency-scheduler-db running", seconds: 0.0, remedy: "",
       topic: containers}
healthy:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
revision:
  description: The database's revisions; empty where it could not be asked.
  returned: always
  type: list
  elements: str
  sample: [20251222_shift_index]
latency:
  description: Seconds by endpoint; the median, the 95th percentile, and the maximum.
  returned: always
  type: dict
  sample: {"API health": {"p50": 0.012, "p95": 0.020, "max": 0.021}}
parts:
  description: Seconds that each part took; they run side by side.
  returned: always
  type: dict
  sample: {services: 4.1, celery: 2.2, alembic: 2.4, database: 0.3, database_backup: 0.4, endpoints: 0.1, performance: 0.4, logs: 0.2}
logs:
  description: Last lines logged by the containers of each service that is not healthy, and errors found in the logs, without secrets.
  returned: always
  type: dict
  sample: {}
"""

from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.command import SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.database import QUERY_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.endpoints import ENDPOINT_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.health import SystemClock
from ansible_collections.residency.scheduler.plugins.module_utils.options import complete
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish
from ansible_collections.residency.scheduler.plugins.module_utils.quiet_module import QuietModule
from ansible_collections.residency.scheduler.plugins.module_utils.stack import SERVICES_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.verification import Verification

ARGUMENT_SPEC: dict[str, Any] = {
    "project": PROJECT_SPEC,
    "services": SERVICES_SPEC,
    "endpoints": {"type": "list", "elements": "dict", "required": True, "options": ENDPOINT_SPEC},
    "domain": {"type": "str", "default": "localhost"},
    "celery": {"type": "dict", "default": {}},
    "alembic": {"type": "dict", "default": {}},
    "logs": {"type": "dict", "default": {}},
    "queries": {"type": "list", "elements": "dict", "default": [], "options": QUERY_SPEC},
    "app_script": {"type": "list", "elements": "str", "default": []},
    "wait": {"type": "int", "default": 0},
    "hold": {"type": "int", "default": 3},
    "probe_timeout": {"type": "int", "default": 5},
}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = QuietModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: Verification(complete(module.params), SubprocessRunner(), SystemClock()).run())


if __name__ == "__main__":
    main()
