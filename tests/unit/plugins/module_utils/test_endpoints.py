# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""endpoints: what an inventory may say, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.endpoints import ENDPOINT_SPEC, parse_endpoints, probe_all
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

PLAIN = {name: option.get("default") for name, option in ENDPOINT_SPEC.items()} | {"name": "api", "url": "http://127.0.0.1:1/"}


def test_defaults() -> None:
    (endpoint,) = parse_endpoints([PLAIN])
    assert (endpoint.status, endpoint.json_values, endpoint.send, endpoint.topic) == ((200,), {}, None, "endpoints")


def test_secrets_become_part_of_what_is_sent() -> None:
    (endpoint,) = parse_endpoints([{**PLAIN, "send": {"username": "a"}, "send_secrets": {"password": "b"}}])
    assert endpoint.send == {"username": "a", "password": "b"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"body": "("}, "Reading the endpoint api failed: '(' is no regular expression"),
        ({"headers": {"X": "[a"}}, "Reading the endpoint api failed: '[a' is no regular expression"),
        ({"requests": 0}, "requests is 0"),
        ({"concurrency": -1}, "concurrency is -1"),
        ({"timeout": 0.0}, "timeout is 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_endpoints([{**PLAIN, **given}])
    assert message in caught.value.message()


def test_all_are_asked_and_timed() -> None:
    checks, latency = probe_all(parse_endpoints([PLAIN, {**PLAIN, "name": "other"}]))
    assert [check.verdict for check in checks] == ["fail", "fail"]
    assert set(latency) == {"api", "other"}
    assert probe_all([]) == ([], {})
