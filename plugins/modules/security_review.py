#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reviews the security of a deployed stack: what it shows to the network, and how its secrets are kept."""

from __future__ import annotations

DOCUMENTATION = r"""
module: security_review
short_description: Review the security of a deployed stack, with evidence
version_added: 0.5.0
description:
  - Looks at what the public address answers, at TLS, published ports, Docker's socket, containers, secrets and settings, all at
    once, and returns each finding with its severity, what was found, and what to do.
  - Reads only. It sends requests that a visitor could send too; with O(rate_limit), more of them than are allowed.
  - A check that could not be made is a failed check. The task itself does not fail, since M(residency.scheduler.checklist) tells the
    verdict; P(residency.scheduler.verify#role) wires both together.
  - C(docs/security.md) of the collection lists every check, and what is not covered.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
  - git
  - cryptography
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.compose.stack
  - residency.scheduler.attributes.read_only
options:
  url:
    description: The public address. TLS is reviewed when it starts with C(https).
    type: str
    required: true
  connect_to:
    description: Where this host itself reaches the public address, as C(address:port). The host of O(url) when it is left out.
    type: str
  plain_connect_to:
    description: Where this host reaches the public address by plain HTTP, as C(address:port). The redirect is not looked at when empty.
    type: str
    default: ""
  validate_certs:
    description: Whether the certificate has to be one that browsers trust. Otherwise a self-signed one is a finding of severity low.
    type: bool
    default: true
  ca_file:
    description: Certificates to trust, in place of the system's.
    type: path
  timeout:
    description: Seconds that one request may take.
    type: float
    default: 10
  answers:
    description: Classes of answers whose headers have to be right; errors too, which servers often send without them.
    type: list
    elements: dict
    default:
      - {name: page, path: /}
      - {name: API, path: /health}
      - {name: not found, path: /api/no-such-path}
      - {name: wrong method, path: /health, method: POST}
    suboptions:
      name:
        description: Name of the class, for reports.
        type: str
        required: true
      path:
        description: Path below O(url).
        type: str
        required: true
      method:
        description: Method of the request.
        type: str
        default: GET
  hidden_paths:
    description: Paths that must not be answered by 2xx.
    type: list
    elements: str
    default: [/.env, /.git/HEAD, /.git/config, /.htpasswd]
  protected_paths:
    description: Paths that have to answer 401 or 403 without a token, and with one that nobody has signed.
    type: list
    elements: str
    default: []
  origin_path:
    description: Path that is asked with foreign origins.
    type: str
    default: /health
  rate_limit:
    description: What is asked too often, to see that somebody says 429, and answers again later. Left out when empty.
    type: dict
    suboptions:
      path:
        description: Path below O(url).
        type: str
        required: true
      method:
        description: Method of the request; V(POST) sends an empty JSON object.
        type: str
        choices: [GET, POST]
        default: GET
      requests:
        description: How many requests are sent.
        type: int
        default: 40
  docker_socket:
    description: Docker's socket on this host.
    type: path
    default: /var/run/docker.sock
  secret_services:
    description: The services that need a secret, by its name in the env file.
    type: dict
    default: {}
  private_files:
    description: Further files that only root may read, as the key of the certificate.
    type: list
    elements: path
    default: []
  backup_dirs:
    description: Folders of backups.
    type: list
    elements: path
    default: []
  debug_names:
    description: Settings that have to be off in the env file and in every container.
    type: list
    elements: str
    default: [DEBUG, APP_DEBUG, FASTAPI_DEBUG, FLASK_DEBUG]
  fail_at:
    description:
      - The least severity with which a finding is a failure; others are warnings. What could not be checked fails at any severity.
      - With V(never) nothing fails.
    type: str
    choices: [critical, high, medium, low, never]
    default: critical
  severities:
    description: Other severities than those of the collection, by rule.
    type: dict
    default: {}
  thresholds:
    description:
      - Other limits than those of the collection. C(hsts_seconds) (15552000), C(lifetime_warn) (1/3) and C(lifetime_fail) (1/6) of a
        certificate's lifetime, C(capabilities_allowed) (C([NET_BIND_SERVICE])), C(secret_length) (8, shorter secrets are not looked
        for), C(git_bytes) (500000000) and C(git_seconds) (60) of git's objects that are searched, C(rate_limit_recovers) (15 seconds),
        C(waiver_days) (366, the longest waiver).
    type: dict
    default: {}
  waivers:
    description:
      - Findings that somebody has accepted. They are told as warnings, with reason and date, and the score counts them all the same.
      - One that has ended counts no more, and is told, as is one that covers nothing.
    type: list
    elements: dict
    default: []
    suboptions:
      check:
        description: Id of the check (C(network.published:backend:8000)), or of a rule (C(network.published)), which covers all its targets.
        type: str
        required: true
      reason:
        description: Why it is accepted, and by whom.
        type: str
        required: true
      until:
        description: Last day on which it counts, as C(YYYY-MM-DD).
        type: str
        required: true
"""

EXAMPLES = r"""
- name: Review the security
  residency.scheduler.security_review:
    project: "{{ scheduler_compose }}"
    services: "{{ scheduler_services }}"
    url: https://scheduler.example.com
    connect_to: 127.0.0.1:443
    plain_connect_to: 127.0.0.1:80
    secret_services: {DB_PASSWORD: [db, backend]}
  register: review

- name: Review it, where every high finding fails but one
  residency.scheduler.security_review:
    project: "{{ scheduler_compose }}"
    services: "{{ scheduler_services }}"
    url: https://scheduler.example.com
    fail_at: high
    waivers:
      - check: network.published:backend:8000
        reason: The hospital's gateway reads it until it is moved (A. Operator)
        until: 2026-12-31
"""

RETURN = r"""
checks:
  description:
    - All checks, as those of M(residency.scheduler.stack_verify), each with its C(id), C(area), C(severity), and whether it is
      C(waived). The last one tells the score.
  returned: always
  type: list
  elements: dict
  sample:
    - {id: "network.published:backend:8000", area: network, severity: high, waived: false, verdict: warn,
       subject: "published port: backend:8000", expected: "only the proxy's ports on other addresses than loopback",
       found: "on 0.0.0.0:8000 (high)", remedy: "Publish it on 127.0.0.1 only, or not at all.", seconds: 0.0, topic: security_network}
findings:
  description: The checks that found something, the worst first.
  returned: always
  type: list
  elements: dict
score:
  description:
    - How much of each area's rules is kept, in percent; a critical rule weighs 27, a high one 9, a medium one 3, a low one 1.
  returned: always
  type: dict
  sample: {headers: 98, tls: 100, network: 85, containers: 96, secrets: 97, settings: 92}
passed:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
parts:
  description: Seconds that each part took; they run side by side.
  returned: always
  type: dict
  sample: {headers: 0.1, git: 0.4, containers: 0.6}
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.command import SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.health import SystemClock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish
from ansible_collections.residency.scheduler.plugins.module_utils.security_review import ARGUMENTS, Review
from ansible_collections.residency.scheduler.plugins.module_utils.stack import SERVICES_SPEC

ARGUMENT_SPEC: dict[str, Any] = {"project": PROJECT_SPEC, "services": SERVICES_SPEC, **ARGUMENTS}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: Review(module.params, SubprocessRunner(), SystemClock(), datetime.now(UTC).date()).run())


if __name__ == "__main__":
    main()
