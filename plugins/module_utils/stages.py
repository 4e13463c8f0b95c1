# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of a run, in order, each from its start to the start of the next. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def begin(stages: Sequence[Mapping[str, Any]], name: str, run: str, now: datetime) -> list[dict[str, Any]]:
    """Return *stages* with one more; those of another run (out of a fact cache) are dropped.

    :arg run: what tells this run from any other.
    """
    mine = [dict(stage) for stage in stages if stage.get("run") == run]
    return [*mine, {"name": name, "started": now.isoformat(timespec="milliseconds"), "run": run}]


def close(stages: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """Return the stages with their seconds; the last one lasts until *now*."""
    starts = [datetime.fromisoformat(stage["started"]) for stage in stages]
    ends = [*starts[1:], now][: len(starts)]
    return [
        {"name": stage["name"], "started": stage["started"], "seconds": round((end - start).total_seconds(), 1)}
        for stage, start, end in zip(stages, starts, ends, strict=True)
    ]
