# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints as the inventory describes them: what to ask, what to expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.http_probe import Answer, Endpoint, percentile, probe
from ansible_collections.residency.scheduler.plugins.module_utils.patterns import require_pattern
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: The argument spec of one endpoint; documented in the fragment ``endpoints``.
ENDPOINT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "connect_to": {"type": "str"},
    "method": {"type": "str", "choices": ["GET", "HEAD", "OPTIONS", "POST"], "default": "GET"},
    "send": {"type": "dict"},
    "send_secrets": {"type": "dict", "no_log": True},
    "send_headers": {"type": "dict", "no_log": True},
    "follow": {"type": "int", "default": 0},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "rate_limited": {"type": "str", "choices": ["fail", "accept"], "default": "fail"},
    "json": {"type": "dict", "default": {}},
    "headers": {"type": "dict", "default": {}},
    "body": {"type": "str"},
    "max_seconds": {"type": "float"},
    "requests": {"type": "int", "default": 1},
    "concurrency": {"type": "int", "default": 1},
    "timeout": {"type": "float", "default": 10},
    "max_bytes": {"type": "int", "default": 1000000},
    "tls": {"type": "bool", "default": False},
    "certificate_file": {"type": "path"},
    "ca_file": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "topic": {"type": "str", "default": "endpoints"},
}


def parse_endpoints(values: Sequence[Mapping[str, Any]]) -> list[Endpoint]:
    """Return the endpoints of the module option."""
    return [_endpoint(value) for value in values]


def _endpoint(value: Mapping[str, Any]) -> Endpoint:
    fields = {key: item for key, item in value.items() if item is not None}
    fields["json_values"] = fields.pop("json")
    fields["status"] = tuple(fields["status"])
    name = f"the endpoint {value['name']}"
    for pattern in [*fields["headers"].values(), *([fields["body"]] if "body" in fields else [])]:
        require_pattern(name, pattern)
    for option in ("requests", "concurrency", "timeout", "max_bytes"):
        if fields[option] <= 0:
            raise Problem(f"Reading {name} failed", f"{option} is {fields[option]}", f"Set {option} to more than 0.")
    secrets = fields.pop("send_secrets", {})
    if secrets or "send" in fields:
        fields["send"] = {**fields.get("send", {}), **secrets}
    return Endpoint(**fields)


def probe_all(endpoints: Sequence[Endpoint]) -> tuple[list[Check], dict[str, dict[str, float]]]:
    """Ask all at once; return the checks, and seconds (median, 95th percentile, maximum) by endpoint."""
    with ThreadPoolExecutor(max_workers=max(1, len(endpoints))) as pool:
        probed = list(pool.map(probe, endpoints))
    checks = [check for found, _answers in probed for check in found]
    return checks, {asked.name: _latency(answers) for asked, (_found, answers) in zip(endpoints, probed, strict=True)}


def _latency(answers: Sequence[Answer]) -> dict[str, float]:
    values = [answer.seconds for answer in answers]
    return {"p50": round(percentile(values, 50), 3), "p95": round(percentile(values, 95), 3), "max": round(max(values), 3)}
