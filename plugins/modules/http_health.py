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
  - Redirects are not followed; a redirect is an answer with a status of its own. Body size and time are bounded.
author:
  - Residency Scheduler operations team (@residency-scheduler)
extends_documentation_fragment:
  - residency.scheduler.attributes.read_only
options:
  endpoints:
    description: What to ask, and what to expect.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the check, for reports.
        type: str
        required: true
      url:
        description: The URL. Its host is sent as Host and as TLS server name.
        type: str
        required: true
      connect_to:
        description: Connect to this C(address:port) in place of the host of the URL.
        type: str
      method:
        description: HTTP method.
        type: str
        choices: [GET, HEAD, OPTIONS]
        default: GET
      status:
        description: Accepted status codes.
        type: list
        elements: int
        default: [200]
      json:
        description: Expected values by dotted path into the JSON body.
        type: dict
        default: {}
      headers:
        description: Regular expressions by name of a header that has to be there.
        type: dict
        default: {}
      body:
        description: Regular expression that the body has to match.
        type: str
      max_seconds:
        description: Limit for the 95th percentile of the response times, in seconds.
        type: float
      requests:
        description: How many requests to send; every answer has to be right.
        type: int
        default: 1
      concurrency:
        description: How many of them at once.
        type: int
        default: 1
      timeout:
        description: Seconds that one request may take in all.
        type: float
        default: 10
      max_bytes:
        description: A longer body is a failure and is not read further.
        type: int
        default: 1000000
      ca_file:
        description: Certificates to trust in place of the system's.
        type: path
      validate_certs:
        description: Whether the certificate has to be valid for the host of the URL.
        type: bool
        default: true
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

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.check import failed, summary
from ansible_collections.residency.scheduler.plugins.module_utils.http_probe import Endpoint, percentile, probe
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

ENDPOINT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "connect_to": {"type": "str"},
    "method": {"type": "str", "choices": ["GET", "HEAD", "OPTIONS"], "default": "GET"},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "json": {"type": "dict", "default": {}},
    "headers": {"type": "dict", "default": {}},
    "body": {"type": "str"},
    "max_seconds": {"type": "float"},
    "requests": {"type": "int", "default": 1},
    "concurrency": {"type": "int", "default": 1},
    "timeout": {"type": "float", "default": 10},
    "max_bytes": {"type": "int", "default": 1000000},
    "ca_file": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
}


def run(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Ask all endpoints at once, and return the checks; a failed one is a Problem."""
    endpoints = [endpoint(value) for value in parameters["endpoints"]]
    with ThreadPoolExecutor(max_workers=max(1, len(endpoints))) as pool:
        probed = list(pool.map(probe, endpoints))
    checks = [check for found, _answers in probed for check in found]
    result = {
        "changed": False,
        "checks": [check.to_dict() for check in checks],
        "latency": {
            asked.name: _latency([answer.seconds for answer in answers])
            for asked, (_found, answers) in zip(endpoints, probed, strict=True)
        },
    }
    if failed(checks) and parameters["fail"]:
        raise Problem("An endpoint does not answer as expected", f"\n{summary(checks)}", "", **result)
    return result


def endpoint(value: Mapping[str, Any]) -> Endpoint:
    """Return the Endpoint of one entry of the option."""
    renamed = {"json": "json_values"}
    fields = {renamed.get(key, key): item for key, item in value.items() if item is not None}
    return Endpoint(**{**fields, "status": tuple(value["status"])})


def _latency(seconds: Sequence[float]) -> dict[str, float]:
    values = list(seconds)
    return {"p50": round(percentile(values, 50), 3), "p95": round(percentile(values, 95), 3), "max": round(max(values), 3)}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "endpoints": {"type": "list", "elements": "dict", "required": True, "options": ENDPOINT_SPEC},
            "fail": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params))


if __name__ == "__main__":
    main()
