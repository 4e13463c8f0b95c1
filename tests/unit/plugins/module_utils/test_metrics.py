# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""metrics: Prometheus's text format."""

from __future__ import annotations

from ansible_collections.residency.scheduler.plugins.module_utils.metrics import Gauge, render


def test_figures_keep_all_their_digits() -> None:
    text = render([Gauge("a_seconds", "A.", 1766368800.5)], "p")
    assert text == '# HELP a_seconds A.\n# TYPE a_seconds gauge\na_seconds{project="p"} 1766368800.5\n'


def test_figures_of_one_name_are_told_once_and_have_labels() -> None:
    text = render([Gauge("a", "A.", 1, {"queue": "one"}), Gauge("a", "A.", 2, {"queue": 'odd "\\\n'})], "p")
    assert text == '# HELP a A.\n# TYPE a gauge\na{project="p",queue="one"} 1\na{project="p",queue="odd \\"\\\\\\n"} 2\n'
