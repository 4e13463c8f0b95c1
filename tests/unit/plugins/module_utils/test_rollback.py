# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release to go back to, what that means for the database, and which images nobody needs any more."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import rollback
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import release_prune


def record(number: int, verdict: str, **more: Any) -> dict[str, Any]:
    """Return the record of release v1.<number>.0, whose last verdict stands at *number* in the history."""
    images = {
        "backend": {"reference": f"stack-backend:v1.{number}.0", "id": f"sha256:{number}"},
        "db": {"reference": "postgres:15", "id": "sha256:db"},
    }
    told = {"verdict": verdict, "order": number, "proven": verdict == "good", "pruned": False, "revision": [f"r{number}"]}
    return {"id": f"2025120{number}", "version": f"v1.{number}.0", "commit": f"{number}" * 40, "images": images, **told, **more}


ONE, TWO, THREE = record(1, "good"), record(2, "good"), record(3, "good")
CUT, FAILED = record(4, "candidate"), record(5, "failed")


@pytest.mark.parametrize(
    ("records", "to", "leaving", "target"),
    [
        pytest.param([ONE, TWO], "", "v1.2.0", "v1.1.0", id="the last good one runs"),
        pytest.param([ONE, TWO, CUT], "", "v1.4.0", "v1.2.0", id="a run was cut"),
        pytest.param([ONE, TWO, CUT, FAILED], "", "v1.2.0", "v1.1.0", id="one that failed left nothing"),
        pytest.param([ONE, TWO, FAILED, record(6, "candidate")], "", "v1.6.0", "v1.2.0", id="a run was cut after one that failed"),
        pytest.param([ONE, record(2, "failed"), THREE], "", "v1.3.0", "v1.1.0", id="an old failure is none of today"),
        pytest.param(
            [record(1, "good", order=9, instead_of="20251202"), record(2, "rolled_back", order=8, proven=True)],
            "",
            "v1.1.0",
            "v1.1.0",
            id="after a rollback the same command goes no further",
        ),
        pytest.param(
            [record(1, "good", order=9, instead_of="20251202"), record(2, "rolled_back", order=8, proven=True)],
            "v1.2.0",
            "v1.1.0",
            "v1.2.0",
            id="a rollback of a rollback",
        ),
        pytest.param([ONE, TWO, THREE], "v1.1.0", "v1.3.0", "v1.1.0", id="by version"),
        pytest.param([ONE, TWO, THREE], "1111111", "v1.3.0", "v1.1.0", id="by commit"),
        pytest.param([ONE, TWO, THREE], "20251202", "v1.3.0", "v1.2.0", id="by record"),
    ],
)
def test_the_target(records: list[dict[str, Any]], to: str, leaving: str, target: str) -> None:
    left = rollback.leaving(records)
    assert left is not None
    assert left["version"] == leaving
    assert rollback.choose_target(records, left, to)["version"] == target


def test_a_release_of_the_same_version_that_was_left_is_not_meant() -> None:
    left = record(4, "rolled_back", version="v1.1.0", proven=True)
    gone = record(5, "good", version="v1.1.0", pruned=True)
    assert rollback.choose_target([ONE, TWO, THREE, left, gone], THREE, "v1.1.0")["id"] == ONE["id"]


@pytest.mark.parametrize(
    ("records", "target"),
    [
        pytest.param([ONE, TWO], "v1.2.0", id="nothing was recorded: it failed before"),
        pytest.param([ONE], "v1.1.0", id="the only one there is"),
        pytest.param([ONE, TWO, CUT], "v1.2.0", id="a candidate"),
        pytest.param([ONE, TWO, record(3, "good", order=9, instead_of="x")], "v1.3.0", id="after a rollback"),
    ],
)
def test_recovery_goes_to_the_last_good_release_never_before_it(records: list[dict[str, Any]], target: str) -> None:
    assert rollback.choose_target(records, rollback.leaving(records), "", automatic=True)["version"] == target


def test_recovery_without_any_good_release() -> None:
    with pytest.raises(Problem, match="no release was ever good"):
        rollback.choose_target([CUT], CUT, "", automatic=True)


@pytest.mark.parametrize(
    ("records", "to", "words"),
    [
        ([], "", "no release was ever good on this server"),
        ([CUT], "", "no release was ever good on this server"),
        ([ONE], "", "v1.1.0 is the only good release on this server"),
        ([ONE, FAILED], "v1.5.0", "v1.5.0 never was good on this server"),
        ([ONE, TWO], "v1.2.1", "the ledger has no release 'v1.2.1'; near it: v1.2.0, v1.1.0"),
        ([ONE, TWO], "1111", "the ledger has no release '1111'"),
        ([ONE, TWO], "{{ x }}; rm -rf /", "the ledger has no release"),
        ([], "v1.0.0", "Deploy one"),
    ],
)
def test_no_target(records: list[dict[str, Any]], to: str, words: str) -> None:
    with pytest.raises(Problem) as caught:
        rollback.choose_target(records, rollback.leaving(records), to)
    assert words in caught.value.message()


def test_images_that_are_gone_are_named_with_the_command_that_makes_them_again() -> None:
    there = {"sha256:1": "sha256:1", "sha256:db": "sha256:db"}
    rollback.check_images(ONE, {**there, "stack-backend:v1.1.0": "sha256:1", "postgres:15": "sha256:db"})
    # It has lost its name, by a pull say: the id is what counts.
    rollback.check_images(ONE, {**there, "stack-backend:v1.1.0": "sha256:1", "postgres:15": "sha256:new"})
    moved = {"sha256:db": "sha256:db", "stack-backend:v1.1.0": "sha256:9"}
    for present, words in (({}, "(gone)"), (moved, "(another image has its name)")):
        with pytest.raises(Problem) as caught:
            rollback.check_images(ONE, present)
        assert words in caught.value.why
        assert "Nothing was stopped" in caught.value.message()
        assert "scheduler_version=v1.1.0" in caught.value.message()


DB = {"reference": "postgres:15", "id": "sha256:db"}
KEPT = {"db": {**DB, "kept": "stack-db:kept-db"}}
DOWN = {"revision": "r2", "direction": "downgrade", "reversible": True}
BACKUP = {"name": "b1", "revision": ["r1"], "minutes": "about 2"}
WRITTEN = [{"table": "public.ledger", "now": 9, "in_backup": 5, "written": 4}]


@pytest.mark.parametrize(
    ("choice", "possible", "words"),
    [
        (rollback.keep(ONE, ["r1"]), True, "stands at r1, as v1.1.0 left it"),
        (rollback.keep(ONE, ["r2"]), False, "stands at r2, and v1.1.0 wants r1: it would not start"),
        (rollback.keep(ONE, []), False, "stands at no revision"),
        (rollback.downgrade(ONE, {"r1", "r2"}, [DOWN], ["r2"]), True, "each of r2 can be taken back"),
        (rollback.downgrade(ONE, {"r1", "r2"}, [{**DOWN, "reversible": False}], ["r2"]), False, "r2 has no downgrade"),
        (rollback.downgrade(ONE, {"r2"}, [], ["r2"]), False, "does not know r1"),
        (rollback.downgrade(TWO, {"r1", "r2"}, [{**DOWN, "direction": "upgrade"}], ["r1"]), False, "v1.2.0 is ahead of the database"),
        (rollback.downgrade({**ONE, "revision": []}, {"r1"}, [], ["r1"]), False, "does not know the target's revision"),
        (rollback.restore(ONE, BACKUP, WRITTEN), True, "the backup b1 has that revision"),
        (rollback.restore(TWO, BACKUP, WRITTEN), False, "no backup of the revision r2 was found"),
        (rollback.restore(ONE, None, []), False, "no backup of the revision r1 was found"),
    ],
)
def test_the_ways_of_the_database(choice: rollback.Choice, possible: bool, words: str) -> None:
    assert choice.possible is possible
    assert words in choice.why


def test_the_price_counts_rows() -> None:
    assert "4 rows written since are set aside (ledger), and kept; about 2 minutes" in rollback.restore(ONE, BACKUP, WRITTEN).price
    unknown = [{"table": "public.ledger", "now": 9, "in_backup": 5, "written": None}]
    assert "4 rows" in rollback.restore(ONE, BACKUP, unknown).price


NO_KEEP, CAN_DOWNGRADE = rollback.keep(ONE, ["r2"]), rollback.downgrade(ONE, {"r1", "r2"}, [DOWN], ["r2"])
NO_DOWNGRADE, CAN_RESTORE = rollback.downgrade(ONE, {"r2"}, [], ["r2"]), rollback.restore(ONE, BACKUP, WRITTEN)


@pytest.mark.parametrize(
    ("wanted", "automatic", "choices", "decided"),
    [
        ("keep", False, [rollback.keep(ONE, ["r1"])], "keep"),
        ("downgrade", False, [NO_KEEP, CAN_DOWNGRADE, CAN_RESTORE], "downgrade"),
        ("restore", False, [NO_KEEP, CAN_DOWNGRADE, CAN_RESTORE], "restore"),
        ("keep", True, [NO_KEEP, CAN_DOWNGRADE, CAN_RESTORE], "downgrade"),
        ("keep", False, [NO_KEEP, CAN_DOWNGRADE, CAN_RESTORE], None),
        ("downgrade", False, [NO_KEEP, NO_DOWNGRADE, CAN_RESTORE], None),
        # Rows are never set aside unasked.
        ("keep", True, [NO_KEEP, NO_DOWNGRADE, CAN_RESTORE], None),
    ],
)
def test_the_decision(wanted: str, automatic: bool, choices: list[rollback.Choice], decided: str | None) -> None:
    if decided:
        assert rollback.decide(wanted, choices, ONE, automatic).database == decided
        return
    with pytest.raises(Problem) as caught:
        rollback.decide(wanted, choices, ONE, automatic)
    told = caught.value.message()
    assert "Nothing was stopped" in told
    assert "restore: possible, the backup b1 has that revision; price: 4 rows" in told
    assert "rollback_to=v1.1.0" in told


@pytest.mark.parametrize(
    ("records", "keep", "old", "images"),
    [
        ([ONE, TWO, THREE], 3, [], []),
        ([ONE, TWO, THREE], 2, ["20251201"], ["stack-backend:v1.1.0"]),
        ([ONE, TWO, THREE, CUT, FAILED], 2, ["20251201"], ["stack-backend:v1.1.0"]),
        ([record(1, "failed"), TWO, THREE], 2, ["20251201"], ["stack-backend:v1.1.0"]),
        # The run that said so was cut before it removed them.
        ([{**ONE, "pruned": True}, TWO, THREE], 2, ["20251201"], ["stack-backend:v1.1.0"]),
        # It can be wanted again.
        ([record(1, "rolled_back", proven=True), TWO, THREE], 2, [], []),
        # The same images, deployed twice.
        ([{**ONE, "images": THREE["images"]}, TWO, THREE], 2, ["20251201"], []),
        # The second name that a ready-made image has only for an old release.
        ([{**ONE, "images": KEPT | {"db": {**DB, "kept": "stack-db:kept-1"}}}, {**TWO, "images": KEPT}], 2, [], []),
        (
            [{**ONE, "images": KEPT | {"cache": {"reference": "redis:7", "id": "sha256:old", "kept": "stack-cache:kept-old"}}}]
            + [{**item, "images": KEPT} for item in (TWO, THREE)],
            2,
            ["20251201"],
            ["stack-cache:kept-old"],
        ),
    ],
)
def test_what_is_pruned(records: list[dict[str, Any]], keep: int, old: list[str], images: list[str]) -> None:
    releases, references = release_prune.decide(records, keep)
    assert ([item["id"] for item in releases], references) == (old, images)
