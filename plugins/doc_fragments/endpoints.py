# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of what is asked by HTTP."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared option documentation of http_health and stack_verify."""

    DOCUMENTATION = r"""
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
        choices: [GET, HEAD, OPTIONS, POST]
        default: GET
      send:
        description: A JSON document to send as the body.
        type: dict
      send_secrets:
        description: Further keys of that document, whose values are secret.
        type: dict
      send_headers:
        description: Further headers to send, such as C(Authorization), whose values are secret.
        type: dict
        version_added: 0.6.0
      follow:
        description: How many redirects to follow. With V(0) a redirect is an answer with a status of its own.
        type: int
        default: 0
      status:
        description: Accepted status codes.
        type: list
        elements: int
        default: [200]
      rate_limited:
        description:
          - What an answer 429 is. With V(accept) the service is up and guards itself; such answers are counted and told, and
            not judged further.
        type: str
        choices: [fail, accept]
        default: fail
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
        description:
          - Limit for the 95th percentile of the response times, in seconds. Good answers that took longer are asked for once more
            after three seconds, and only the second time counts.
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
        description: Seconds that one request, with its redirects, may take in all.
        type: float
        default: 10
      max_bytes:
        description: A longer body is a failure and is not read further.
        type: int
        default: 1000000
      tls:
        description:
          - Also judge the protocol version and the certificate - its name, its chain (with O(endpoints[].validate_certs)), and
            what is left of its lifetime, where less than a third is a warning and less than a sixth a failure.
        type: bool
        default: false
      certificate_file:
        description: PEM file on the managed host; with O(endpoints[].tls), the certificate that the server has to show.
        type: path
      ca_file:
        description: Certificates to trust in place of the system's.
        type: path
      validate_certs:
        description: Whether the certificate has to be valid for the host of the URL.
        type: bool
        default: true
      topic:
        description: What the checks are evidence of; the checklist's lines name the topics that prove them.
        type: str
        default: endpoints
"""
