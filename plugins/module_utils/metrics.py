# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures in Prometheus's text format, one file for each kind of run, as node_exporter's textfile collector reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.residency.scheduler.plugins.module_utils.files import write_text


@dataclass(frozen=True)
class Gauge:
    """One figure; the name ends with its unit.

    :ivar labels: what tells it from others of the same name, which stand right before or after it.
    """

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def render(gauges: Sequence[Gauge], project: str) -> str:
    """Return the text of the file; each figure has the label ``project``."""
    lines: list[str] = []
    told = ""
    for gauge in gauges:
        if gauge.name != told:
            lines += [f"# HELP {gauge.name} {gauge.help}", f"# TYPE {gauge.name} gauge"]
            told = gauge.name
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in {"project": project, **gauge.labels}.items())
        lines.append(f"{gauge.name}{{{labels}}} {gauge.value!r}")
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write(directory: str | None, name: str, project: str, gauges: Sequence[Gauge]) -> None:
    """Write the figures to *directory*; nothing without one. Everyone may read them: they hold no secret."""
    if directory:
        write_text(os.path.join(directory, f"residency_scheduler_{name}.prom"), render(gauges, project), 0o644)
