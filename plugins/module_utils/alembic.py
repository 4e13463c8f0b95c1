# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a database stands between the revisions of an image, and what that allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import alembic_script, app_script
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: The argument spec that both Alembic modules share; documented in the fragment ``alembic``.
ALEMBIC_SPEC: dict[str, Any] = {
    "service": {"type": "str", "default": "backend"},
    "config": {"type": "str", "default": "alembic.ini"},
    "timeout": {"type": "int", "default": 600},
}


MERGE = "Merge them in the release (`alembic merge heads`), and deploy the merged one."


@dataclass(frozen=True)
class Revisions:
    """A database's revisions against those of an image.

    :ivar unknown: revisions in the database that the image does not have (a database ahead of the code).
    :ivar pending: revisions that an upgrade would run, oldest first, each with its message.
    """

    current: tuple[str, ...]
    heads: tuple[str, ...]
    unknown: tuple[str, ...]
    pending: tuple[Mapping[str, str], ...]

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Revisions:
        """Build it from the script's answer."""
        return cls(tuple(answer["current"]), tuple(answer["heads"]), tuple(answer["unknown"]), tuple(answer["pending"]))

    @property
    def at_head(self) -> bool:
        """Tell whether the database has exactly the image's heads."""
        return self.current == self.heads

    def to_dict(self) -> dict[str, Any]:
        """Return what the modules' results show."""
        return {
            "current": list(self.current),
            "heads": list(self.heads),
            "unknown": list(self.unknown),
            "pending": [dict(entry) for entry in self.pending],
            "at_head": self.at_head,
        }


def judge_revisions(revisions: Revisions) -> list[Check]:
    """Judge where the database stands: exactly at the one head of the release. Pure."""
    heads, current = ", ".join(revisions.heads), ", ".join(revisions.current) or "no revision"
    if revisions.unknown:
        found = f"{', '.join(revisions.unknown)}, which this release does not know: the database is ahead of the code"
        remedy = "Deploy a release that knows this revision. Never `alembic stamp`: it would only hide the difference."
    elif revisions.pending:
        found = f"{current}: behind by {', '.join(entry['revision'] for entry in revisions.pending)}"
        remedy = "Run the deployment again: it runs the pending revisions."
    else:
        found, remedy = current, "Read `alembic history`."
    count = len(revisions.heads)
    return [
        judge("database: heads of the release", count == 1, "one", f"{count}: {heads}", MERGE, topic="alembic"),
        judge("database: revision", revisions.at_head, heads, found, remedy, topic="alembic"),
    ]


def refuse_unsafe(revisions: Revisions) -> None:
    """Raise a Problem where an upgrade must not even be tried. Pure."""
    if revisions.unknown:
        raise Problem(
            "The migration was refused",
            f"the database stands at {', '.join(revisions.unknown)}, which this release does not know: the database is ahead of the code",
            "Deploy a release that knows this revision. Never `alembic stamp`: it would only hide the difference.",
            **revisions.to_dict(),
        )
    if not revisions.pending and not revisions.at_head and len(revisions.heads) == 1:
        raise Problem(
            "The migration was refused",
            f"the database stands at {', '.join(revisions.current)}, and {', '.join(revisions.heads)} alone is wanted",
            "Find out who wrote into alembic_version; the rows that are too many have to go, by hand and after a backup.",
            **revisions.to_dict(),
        )
    if len(revisions.heads) > 1:
        raise Problem(
            "The migration was refused",
            f"this release has {len(revisions.heads)} heads: {', '.join(revisions.heads)}",
            MERGE,
            **revisions.to_dict(),
        )


def ask(
    parameters: Mapping[str, Any],
    runner: Runner,
    *,
    target: str | None = None,
    run: bool = False,
    sql: bool = False,
    history: bool = False,
) -> dict[str, Any]:
    """Run the Alembic script in a one-shot container of the service's image, and return its answer.

    The image's entry point and command are bypassed: the application's own would migrate and then serve.

    :arg target: a revision, ``heads`` or ``base``, to which the steps are wanted; None to only look.
    :arg run: whether to take these steps.
    """
    project = Project.from_parameters(parameters["project"])
    # Under a name, a second migration beside one that still runs is refused by Docker itself.
    name = f"{project.name}-migration"
    named = ["--name", name] if run else []
    argv = project.argv("run", "--rm", "--no-deps", "-T", *named, "--entrypoint", "python", str(parameters["service"]), "-")
    remedy = "Check that the database is up and takes the password, and that the image exists."
    if named:
        remedy += f" If the container {name} still runs, it is migrating: wait for it (docker wait {name}), then run the deployment again."
    return app_script.run(
        argv,
        alembic_script,
        {"config_file": parameters["config"], "target": target, "sql": sql, "history": history, "run": run},
        runner,
        what="Asking Alembic failed",
        remedy=remedy,
        secrets=project.secrets(),
        timeout=parameters["timeout"],
    )
