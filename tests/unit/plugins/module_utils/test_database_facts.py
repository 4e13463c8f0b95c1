# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restored copy against its manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.database_facts import Facts, compare, with_sequences

MANIFEST = Facts(
    tables={"public.a": 10, "public.b": 0},
    sequences={"public.a_id_seq": [10, 14], "public.new_seq": [None, None]},
    revision=["two"],
    extensions={"plpgsql": "1.0"},
    large_objects=1,
    invalid_indexes=["old_ix"],
    unvalidated_constraints=[],
    roles=["scheduler"],
)
FOUND = replace(MANIFEST, sequences={"public.a_id_seq": [12, 12], "public.new_seq": [None, None]}, extensions={"plpgsql": "1.1"})


def test_a_faithful_copy() -> None:
    assert compare(MANIFEST, FOUND) == []
    assert compare(MANIFEST, replace(FOUND, invalid_indexes=[], roles=[])) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tables": {"public.a": 9, "public.b": 0}}, "table public.a: 9 rows, the manifest says 10 rows"),
        ({"tables": {"public.a": 10}}, "table public.b: missing, the manifest says 0 rows"),
        ({"tables": {"public.a": 10, "public.b": 0, "public.c": 0}}, "table public.c: 0 rows, the manifest says missing"),
        ({"sequences": {"public.a_id_seq": [9, 9], "public.new_seq": [None, None]}}, "public.a_id_seq: 9, the manifest says 10 to 14"),
        ({"sequences": {"public.a_id_seq": [15, 15], "public.new_seq": [None, None]}}, "15, the manifest says 10 to 14"),
        ({"sequences": {"public.a_id_seq": [None, None], "public.new_seq": [None, None]}}, "None, the manifest says 10 to 14"),
        ({"sequences": {"public.a_id_seq": [10, 10], "public.new_seq": [1, 1]}}, "1, the manifest says None to None"),
        ({"sequences": {"public.a_id_seq": [10, 10]}}, "sequence public.new_seq: is missing"),
        ({"revision": ["one"]}, "Alembic's revision: one, the manifest says two"),
        ({"extensions": {}}, "extensions: , the manifest says plpgsql"),
        ({"large_objects": 0}, "large objects: 0, the manifest says 1"),
        ({"invalid_indexes": ["ix"]}, "index ix: invalid"),
        ({"unvalidated_constraints": ["a.fk"]}, "constraint a.fk: not validated"),
    ],
)
def test_every_difference_is_told(change: dict[str, Any], told: str) -> None:
    differences = compare(MANIFEST, replace(FOUND, **change))
    assert len(differences) == 1
    assert told in differences[0]


def test_a_sequence_has_the_range_between_two_readings() -> None:
    assert with_sequences(MANIFEST, {"s": 3}, {"s": 5, "later": 1}).sequences == {"s": [3, 5], "later": [None, 1]}
    assert Facts.from_dict(MANIFEST.to_dict()) == MANIFEST
