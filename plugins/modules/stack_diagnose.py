#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnoses a stack in one call: what is wrong with it, and why."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_diagnose
short_description: Find what is wrong with a stack, and its likely causes
version_added: 1.0.0
description:
  - Collects in one call, side by side, what the checklist's troubleshooting section looks at - the checks of
    M(residency.scheduler.stack_verify), states and exit codes of the containers, their logs, revisions and history of the database,
    disk, memory and C(docker stats), ports that the containers listen on and whether they reach each other, names of variables,
    Celery, Redis, certificates, the last deployments, and who works on the server.
  - Rules turn that into likely causes, the first to look at first, each with its evidence and the next commands. What may follow
    from another cause comes after it. C(docs/diagnosis.md) lists all causes.
  - Works whatever is broken. What could not be had is told in RV(unavailable), and what is found is no failure of the task.
  - The action plugin of this module shows the causes on the terminal, and writes the support bundle on the controller.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - psycopg2 (for services of kind postgres)
  - redis (for services of kind redis)
  - cryptography (for certificates)
  - nsenter of util-linux (for who reaches whom)
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.compose.stack
  - residency.scheduler.endpoints
  - residency.scheduler.attributes.read_only
options:
  project:
    description:
      - The Docker Compose project. The file of the collection's own that belongs to a release is taken from the ledger.
  state_dir:
    description: Folder for the server's state, with the ledger.
    type: path
    required: true
  lock_file:
    description: File of the lock that lets one run at a time work on the server.
    type: path
    required: true
  tls_dir:
    description: Folder of C(fullchain.pem) and C(privkey.pem).
    type: path
    required: true
  paths:
    description: Folders whose file systems are looked at.
    type: list
    elements: path
    default: [/, /var/lib/docker]
  secrets:
    description: More secret values to blot out, besides all those that the server has.
    type: dict
    default: {}
  domain:
    description: Public name of the application, sent as Host and SNI through the proxy.
    type: str
    default: localhost
  celery:
    description: The options of M(residency.scheduler.celery_health), except C(project) and C(beat_wait).
    type: dict
    default: {}
  alembic:
    description: The options of M(residency.scheduler.alembic_info), except C(project), C(sql) and C(timeout).
    type: dict
    default: {}
  logs:
    description: The options of M(residency.scheduler.log_review), except C(project), C(services) and C(seconds).
    type: dict
    default: {}
  queries:
    description: Queries to the application's database, as M(residency.scheduler.stack_verify) takes them.
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
    description: The application's own check, as M(residency.scheduler.stack_verify) takes it.
    type: list
    elements: str
    default: []
  seconds:
    description: How far back restarts and lines of logs count.
    type: int
    default: 600
  log_lines:
    description: Last lines of each container's log that are collected.
    type: int
    default: 200
  hold:
    description: Seconds for which the containers are watched for restarts.
    type: int
    default: 3
  probe_timeout:
    description: Seconds that one probe may take.
    type: int
    default: 5
  bundle_dir:
    description:
      - Folder on the controller for the support bundle, a C(.tar.gz) of everything that was collected, without secrets. Left out when
        empty, and in check mode. Logs may hold what the application wrote of people.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Find out what is wrong
  residency.scheduler.stack_diagnose:
    project: "{{ scheduler_compose | combine({'files': scheduler_compose_files}) }}"
    services: "{{ scheduler_services }}"
    endpoints: []
    state_dir: /var/lib/residency-scheduler
    lock_file: /run/residency-scheduler/residency-scheduler.lock
    tls_dir: /var/lib/residency-scheduler/tls
  register: diagnosis

- name: Find it out, and keep all that was seen for somebody else
  residency.scheduler.stack_diagnose:
    project: "{{ scheduler_compose | combine({'files': scheduler_compose_files}) }}"
    services: "{{ scheduler_services }}"
    endpoints:
      - {name: API health, url: "https://scheduler.example.com/health", json: {status: ok}}
    state_dir: /var/lib/residency-scheduler
    lock_file: /run/residency-scheduler/residency-scheduler.lock
    tls_dir: /var/lib/residency-scheduler/tls
    bundle_dir: /home/operator/reports
"""

RETURN = r"""
causes:
  description:
    - The likely causes, the first to look at first. C(follows_from) names the cause that explains one.
  returned: always
  type: list
  elements: dict
  sample:
    - {id: service.stopped, subject: db, service: db, sentence: "db does not run, or too few of its containers do.",
       evidence: ["residency-scheduler-db: exited, exit code 0, ended 2025-12-22T02:00:00+00:00"],
       commands: [docker start residency-scheduler-db], section: "Issue: Container Won't Start", follows_from: ""}
notes:
  description: What explains nothing but should be known, as a deployment that failed; in the form of RV(causes).
  returned: always
  type: list
  elements: dict
  sample: []
checks:
  description: The checks of a verification, but for the dump of the database and the security review.
  returned: always
  type: list
  elements: dict
facts:
  description: All that was collected, by part.
  returned: always
  type: dict
  sample: {docker: {answers: true, version: 26.1.5}}
logs:
  description: The last lines of each container's log, without secrets.
  returned: always
  type: dict
  sample: {}
unavailable:
  description: Why a part could not be had, by part.
  returned: always
  type: dict
  sample: {}
parts:
  description: Seconds that each part took; they run side by side.
  returned: always
  type: dict
  sample: {docker: 0.1, verification: 4.2}
seconds:
  description: Seconds of the whole.
  returned: always
  type: float
  sample: 5.1
bundle:
  description: Path of the support bundle on the controller; empty where none was written.
  returned: always
  type: str
  sample: ""
"""

from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.command import SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.database import QUERY_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis import Diagnosis
from ansible_collections.residency.scheduler.plugins.module_utils.endpoints import ENDPOINT_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.health import SystemClock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish
from ansible_collections.residency.scheduler.plugins.module_utils.quiet_module import QuietModule
from ansible_collections.residency.scheduler.plugins.module_utils.stack import SERVICES_SPEC

ARGUMENT_SPEC: dict[str, Any] = {
    "project": PROJECT_SPEC,
    "services": SERVICES_SPEC,
    "endpoints": {"type": "list", "elements": "dict", "required": True, "options": ENDPOINT_SPEC},
    "state_dir": {"type": "path", "required": True},
    "lock_file": {"type": "path", "required": True},
    "tls_dir": {"type": "path", "required": True},
    "paths": {"type": "list", "elements": "path", "default": ["/", "/var/lib/docker"]},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "domain": {"type": "str", "default": "localhost"},
    "celery": {"type": "dict", "default": {}},
    "alembic": {"type": "dict", "default": {}},
    "logs": {"type": "dict", "default": {}},
    "queries": {"type": "list", "elements": "dict", "default": [], "options": QUERY_SPEC},
    "app_script": {"type": "list", "elements": "str", "default": []},
    "seconds": {"type": "int", "default": 600},
    "log_lines": {"type": "int", "default": 200},
    "hold": {"type": "int", "default": 3},
    "probe_timeout": {"type": "int", "default": 5},
    "bundle_dir": {"type": "str", "default": ""},
}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = QuietModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: Diagnosis(module.params, SubprocessRunner(), SystemClock()).run())


if __name__ == "__main__":
    main()
