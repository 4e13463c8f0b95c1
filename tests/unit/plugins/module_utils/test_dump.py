# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much room a dump needs, and how numbers are told."""

from __future__ import annotations

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.dump import needed_for_dump, readable


@pytest.mark.parametrize(
    ("previous", "needed"),
    [(None, 1000), ({"origin": {"bytes": 500}, "dump": {"bytes": 100}}, 240), ({"origin": {"bytes": 0}, "dump": {"bytes": 9}}, 1000)],
)
def test_the_last_dump_tells_how_large_the_next_one_will_be(previous: dict[str, dict[str, int]] | None, needed: int) -> None:
    assert needed_for_dump(1000, previous) == needed


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_300, "12 kB"), (1_500_000, "1.5 MB"), (20e12, "20000 GB")]
)
def test_readable(size: float, text: str) -> None:
    assert readable(size) == text
