# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release to go back to, and what that means for the database. Pure decisions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.ledger import last_good
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

Record = Mapping[str, Any]
REFUSED = "Going back was refused"


@dataclass(frozen=True)
class Choice:
    """One way for the database: its value of ``rollback_database``, whether it can be gone, why (not), and what it costs."""

    database: str
    possible: bool
    why: str
    price: str

    def to_dict(self) -> dict[str, Any]:
        """Return what the module's result shows."""
        return {"database": self.database, "possible": self.possible, "why": self.why, "price": self.price}


def tried(records: Sequence[Record]) -> list[Record]:
    """Return the releases that may have left something behind: those not finished, the newest first, and the last good one.

    A release that failed left nothing: it is called so when the last good one serves again, whatever was tried before.
    """
    good = last_good(records)
    settled = max((int(item["order"]) for item in records if item["verdict"] in ("good", "failed")), default=-1)
    unfinished = [item for item in records if item["verdict"] == "candidate" and item["order"] > settled]
    return [*sorted(unfinished, key=lambda item: -int(item["order"])), *([good] if good else [])]


def leaving(records: Sequence[Record]) -> Record | None:
    """Return the release to go away from: the newest that is not finished, else the last good one."""
    return next(iter(tried(records)), None)


def choose_target(records: Sequence[Record], left: Record | None, to: str, automatic: bool = False) -> Record:
    """Return the release to go back to.

    :arg left: the release to go away from.
    :arg to: a version, a commit or the id of a record; empty for the last good release.
    :arg automatic: a deployment recovers: whatever failed, it is the last good release that has to serve, never one before it.
    :raises Problem: there is none, or it never was good.
    """
    if to:
        return _named([item for item in records if item["proven"]], records, to)
    good = last_good(records)
    if good is None:
        raise Problem(REFUSED, "no release was ever good on this server", "Deploy one: ansible-playbook playbooks/deploy.yml")
    # After a rollback the release that runs is the one that was wanted: the same command again goes no further.
    if automatic or left is None or left["id"] != good["id"] or good.get("instead_of"):
        return good
    earlier = last_good(records, good)
    if earlier is None:
        raise Problem(
            REFUSED, f"{good['version']} is the only good release on this server", "Correct it and go forward: playbooks/deploy.yml"
        )
    return earlier


def _named(proven: Sequence[Record], records: Sequence[Record], to: str) -> Record:
    def named(item: Record) -> bool:
        return to in (item["id"], item["version"]) or (len(to) >= 7 and str(item["commit"]).startswith(to))

    matching = [item for item in proven if named(item)]
    if matching:
        # The same version may have been good with other settings, and then have been left.
        return max(matching, key=lambda item: (item["verdict"] == "good", not item["pruned"], int(item["order"])))
    known = list(dict.fromkeys(str(item["version"]) for item in proven))
    if any(named(item) for item in records):
        why = f"{to} never was good on this server"
    else:
        near = difflib.get_close_matches(to, known, n=3)
        why = f"the ledger has no release {to[:100]!r}" + (f"; near it: {', '.join(near)}" if near else "")
    remedy = f"Name one of {', '.join(known)}" if known else "Deploy one: ansible-playbook playbooks/deploy.yml"
    raise Problem(REFUSED, why, f"{remedy}; a release that was never good here is deployed by playbooks/deploy.yml.")


def check_images(target: Record, present: Mapping[str, str]) -> None:
    """Refuse a release whose images are not all there. One that lost its name to another image, by a pull say, gets it back later.

    :arg present: ids of the images that exist, by reference and by id.
    :raises Problem: names what is missing, and the command that makes it again.
    """
    gone = sorted(
        f"{image['reference']} ({'another image has its name' if image['reference'] in present else 'gone'})"
        for image in target["images"].values()
        if image["id"] not in present
    )
    if gone:
        raise Problem(
            REFUSED,
            f"images of {target['version']} are not there any more: {', '.join(gone)}",
            "Nothing was stopped. Build them again, with all checks: "
            f"ansible-playbook playbooks/deploy.yml -e scheduler_version={target['version']}",
        )


def keep(target: Record, present: Sequence[str]) -> Choice:
    """Tell whether the code alone can go back: the target's image has to find the revision that it left."""
    wanted = list(target.get("revision") or [])
    if sorted(wanted) == sorted(present):
        return Choice("keep", True, f"the database stands at {_names(present)}, as {target['version']} left it", "nothing")
    why = f"the database stands at {_names(present)}, and {target['version']} wants {_names(wanted)}: it would not start"
    return Choice("keep", False, why, "-")


def no_downgrade(why: str) -> Choice:
    """Return the choice where no image takes revisions back."""
    return Choice("downgrade", False, why, "-")


def downgrade(target: Record, known: Set[str], steps: Sequence[Mapping[str, Any]], present: Sequence[str]) -> Choice:
    """Tell whether the running release's image can take its revisions back.

    :arg known: the revisions of that image.
    :arg steps: its steps from the database's revision to the target's.
    """
    wanted = list(target.get("revision") or [])
    stuck = [str(step["revision"]) for step in steps if not step["reversible"]]
    if not wanted or not set(wanted) <= known or not set(present) <= known:
        missing = sorted({*wanted, *present} - known) if wanted else ["the target's revision"]
        return no_downgrade(f"the running release's image does not know {_names(missing)}")
    if any(step["direction"] != "downgrade" for step in steps):
        return no_downgrade(f"{target['version']} is ahead of the database")
    if stuck:
        return no_downgrade(f"{_names(stuck)} has no downgrade")
    names = _names([str(step["revision"]) for step in steps])
    return Choice("downgrade", True, f"each of {names} can be taken back", f"what {names} added is dropped, with what was written into it")


def restore(target: Record, backup: Mapping[str, Any] | None, lost: Sequence[Mapping[str, Any]]) -> Choice:
    """Tell whether a backup brings the target's revision back, and what was written since."""
    wanted = list(target.get("revision") or [])
    if backup is None or sorted(backup["revision"]) != sorted(wanted):
        return Choice("restore", False, f"no backup of the revision {_names(wanted)} was found", "-")
    written = sum(int(row["written"] if row["written"] is not None else abs(row["now"] - row["in_backup"])) for row in lost)
    tables = ", ".join(str(row["table"]).removeprefix("public.") for row in lost if row["table"] != "public.alembic_version")
    set_aside = f"{written} rows written since are set aside ({tables or 'no table of the application'}), and kept"
    return Choice("restore", True, f"the backup {backup['name']} has that revision", f"{set_aside}; {backup['minutes']} minutes")


def decide(wanted: str, choices: Sequence[Choice], target: Record, automatic: bool) -> Choice:
    """Return the choice to carry out.

    :arg wanted: the value of ``rollback_database``.
    :arg automatic: a deployment recovers: keep the database where that works, else take its revisions back; never lose a row unasked.
    :raises Problem: it is not possible; the message is the table of what is, with its price.
    """
    by_name = {choice.database: choice for choice in choices}
    for name in ["keep", "downgrade"] if automatic else [wanted]:
        if by_name[name].possible:
            return by_name[name]
    first = by_name["keep" if automatic else wanted]
    raise Problem(
        REFUSED,
        f"{first.why}. Nothing was stopped. What there is:\n{table(choices)}",
        f"Choose one: ansible-playbook playbooks/rollback.yml -e rollback_to={target['version']} -e rollback_database=..., or go forward: "
        "playbooks/deploy.yml with a corrected release.",
        choices=[choice.to_dict() for choice in choices],
    )


def table(choices: Sequence[Choice]) -> str:
    """Return the choices as lines for a person."""
    lines = []
    for choice in choices:
        price = f"; price: {choice.price}" if choice.possible else ""
        lines.append(f"  - {choice.database}: {'possible' if choice.possible else 'impossible'}, {choice.why}{price}")
    return "\n".join(lines)


def _names(revisions: Sequence[str]) -> str:
    return ", ".join(revisions) or "no revision"
