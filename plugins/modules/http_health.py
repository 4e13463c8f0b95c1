#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks HTTP endpoints, and judges their answers in depth."""

from __future__ import annotations

DOCUMENTATION = r"""
module: http_health
short_description: Prove that HTTP endpoints answer as expected
version_added: 0.1.0
description:
  - Sends requests to all endpoints at once and judges status, JSON values, headers, body, certificate and response time.
  - Body size, time and the number of redirects are bounded.
author:
  - Residency Scheduler operations team (@residency-scheduler)
extends_documentation_fragment:
  - residency.scheduler.endpoints
  - residency.scheduler.attributes.read_only
options:
  fail:
    description: Whether a failed check fails the task; otherwise it is only returned.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Ask the API through the public address
  residency.scheduler.http_health:
    endpoints:
      - name: API health
        url: https://scheduler.example.com/health
        json:
          status: ok
        max_seconds: 0.5

- name: Look at the certificate, and at the way from http to https
  residency.scheduler.http_health:
    endpoints:
      - name: redirect
        url: http://scheduler.example.com/
        follow: 1
        tls: false
      - name: certificate
        url: https://scheduler.example.com/
        tls: true
        certificate_file: /var/lib/residency-scheduler/tls/fullchain.pem

- name: Log in
  residency.scheduler.http_health:
    endpoints:
      - name: login
        url: https://scheduler.example.com/api/v1/auth/login
        method: POST
        send: {username: admin}
        send_secrets: {password: "{{ admin_password }}"}
        body: access_token

- name: Load the page lightly, by way of the loopback address
  residency.scheduler.http_health:
    endpoints:
      - name: login page
        url: https://scheduler.example.com/login
        connect_to: 127.0.0.1:443
        body: (?i)password
        requests: 100
        concurrency: 10
"""

RETURN = r"""
checks:
  description: One entry or more for each endpoint, with what was expected and found.
  returned: always
  type: list
  elements: dict
  sample:
    - {subject: "API health: GET https://scheduler.example.com/health", verdict: pass, expected: "status 200, status = \"ok\"",
       found: "200, 42 bytes", seconds: 0.012, remedy: ""}
latency:
  description: Seconds by endpoint; the median, the 95th percentile, and the maximum.
  returned: always
  type: dict
  sample: {"API health": {"p50": 0.012, "p95": 0.020, "max": 0.021}}
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import failed, summary
from ansible_collections.residency.scheduler.plugins.module_utils.endpoints import ENDPOINT_SPEC, parse_endpoints, probe_all
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish
from ansible_collections.residency.scheduler.plugins.module_utils.quiet_module import QuietModule


def run(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Ask all endpoints at once, and return the checks; a failed one is a Problem."""
    checks, latency = probe_all(parse_endpoints(parameters["endpoints"]))
    result = {"changed": False, "checks": [check.to_dict() for check in checks], "latency": latency}
    if failed(checks) and parameters["fail"]:
        raise Problem("An endpoint does not answer as expected", f"\n{summary(checks)}", "", **result)
    return result


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = QuietModule(
        argument_spec={
            "endpoints": {"type": "list", "elements": "dict", "required": True, "options": ENDPOINT_SPEC},
            "fail": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params))


if __name__ == "__main__":
    main()
