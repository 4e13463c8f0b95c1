# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_probe: what Redis says of itself. The probes themselves run against real services in tests/sick."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.service_probe import judge_redis

MB = 2**20
GOOD = {
    "maxmemory_policy": "allkeys-lru",
    "maxmemory": 512 * MB,
    "used_memory": 16 * MB,
    "evicted_keys": 0,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "rdb_last_bgsave_status": "ok",
}


@pytest.mark.parametrize(
    ("info", "sick"),
    [
        ({}, {}),
        ({"maxmemory": 0}, {}),
        ({"evicted_keys": 3}, {"redis: memory": "allkeys-lru, 3% of 512 MB used, 3 keys evicted"}),
        ({"used_memory": 500 * MB}, {"redis: memory": "allkeys-lru, 98% of 512 MB used, 0 keys evicted"}),
        ({"aof_last_write_status": "err"}, {"redis: persistence": "aof_last_write_status: err"}),
        ({"rdb_last_bgsave_status": "err"}, {"redis: persistence": "rdb_last_bgsave_status: err"}),
        ({"aof_enabled": 0, "aof_last_write_status": "err"}, {}),
    ],
)
def test_memory_and_persistence(info: dict[str, Any], sick: dict[str, str]) -> None:
    checks = judge_redis("redis", {**GOOD, **info})
    assert {check.subject: check.found for check in checks if check.verdict != "pass"} == sick
