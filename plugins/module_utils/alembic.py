# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a database stands between the revisions of an image, and what that allows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ansible_collections.residency.scheduler.plugins.module_utils import alembic_script, app_script, migration_guard
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container, read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: The argument spec that both Alembic modules share; documented in the fragment ``alembic``.
ALEMBIC_SPEC: dict[str, Any] = {
    "service": {"type": "str", "default": "backend"},
    "config": {"type": "str", "default": "alembic.ini"},
}
#: The argument spec of the limits of a migration; documented in the fragment ``postgres.migration``.
LIMITS_SPEC: dict[str, Any] = {
    "lock_timeout": {"type": "float", "default": 3},
    "lock_attempts": {"type": "int", "default": 5},
    "statement_timeout": {"type": "float", "default": 0},
}


MERGE = "Merge them in the release (`alembic merge heads`), and deploy the merged one."


@dataclass(frozen=True)
class Revisions:
    """A database's revisions against those of an image.

    :ivar unknown: revisions in the database that the image does not have (a database ahead of the code).
    :ivar pending: revisions that an upgrade would run, oldest first, each with its message; where the SQL was asked for, as
        :func:`describe` returns them.
    :ivar width: characters that the column for revisions holds; None for any number.
    """

    current: tuple[str, ...]
    heads: tuple[str, ...]
    unknown: tuple[str, ...]
    pending: tuple[Mapping[str, Any], ...]
    width: int | None = None

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Revisions:
        """Build it from the script's answer."""
        sections = split_sql(str(answer.get("sql") or ""))
        pending = [describe(entry, sections) if answer.get("sql") else entry for entry in answer["pending"]]
        return cls(tuple(answer["current"]), tuple(answer["heads"]), tuple(answer["unknown"]), tuple(pending), answer.get("width"))

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


_RUNNING = re.compile(r"^-- Running (?:upgrade|downgrade) .*?-> ?(.*)$", re.MULTILINE)
#: A statement that loses rows or values, and what it loses.
_LOSES = (
    (re.compile(r"\bDROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?(\S+?)[\s;]", re.IGNORECASE), "drops the table {0}"),
    (re.compile(r"\bDROP\s+COLUMN\s+(?:IF\s+EXISTS\s+)?(\S+?)[\s;,]", re.IGNORECASE), "drops the column {0}"),
    (re.compile(r"\bDROP\s+SCHEMA\s+(?:IF\s+EXISTS\s+)?(\S+?)[\s;]", re.IGNORECASE), "drops the schema {0}"),
    (re.compile(r"\bTRUNCATE\s+(?:TABLE\s+)?(?:ONLY\s+)?(\S+?)[\s;,]", re.IGNORECASE), "empties the table {0}"),
    (re.compile(r"\bDELETE\s+FROM\s+(?!alembic_version\b)(?:ONLY\s+)?(\S+?)[\s;]", re.IGNORECASE), "deletes rows of {0}"),
    (re.compile(r"\bALTER\s+COLUMN\s+(\S+)\s+(?:SET\s+DATA\s+)?TYPE\b", re.IGNORECASE), "converts the column {0}"),
)
_POSTGRES_URL = re.compile(r"postgres(?:ql)?(?:\+\w+)?://[^/\s@:]*:([^/\s@]+)@")
#: PostgreSQL's word for a wrong password.
_REFUSED = "password authentication failed"
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_STRING = re.compile(r"'(?:[^']|'')*'")


def split_sql(text: str) -> dict[str, str]:
    """Split what Alembic's offline mode prints by revision. Pure.

    Its first BEGIN and last COMMIT belong to no revision. Text without a heading is under the empty name.
    """
    parts = _RUNNING.split(text)
    sections = {"": parts[0].strip()} if len(parts) == 1 and parts[0].strip() else {}
    for name, section in zip(parts[1::2], parts[2::2], strict=True):
        sections[name.strip()] = section.strip()
    return sections


def describe(entry: Mapping[str, Any], sections: Mapping[str, str]) -> dict[str, Any]:
    """Return a pending revision with its SQL, whether it runs in a transaction, and what it destroys. Pure."""
    sql = sections.get(str(entry["revision"]), sections.get("", ""))
    body = re.split(r"(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+\S*alembic_version\b", sql, maxsplit=1)[0]
    plain = _STRING.sub("''", _COMMENT.sub("", body)) + " "
    loses = [what.format(found.strip('"')) for pattern, what in _LOSES for found in pattern.findall(plain)]
    return {**entry, "sql": sql, "transactional": re.search(r"^COMMIT;", plain, re.MULTILINE) is None, "destroys": loses}


def tell(step: Mapping[str, Any]) -> str:
    """Return what a person has to know of a step, in one line. Pure."""
    words = [f"{step.get('direction', 'upgrade')} {step['revision']}: {step['message']}"]
    if "sql" in step:
        words.append("in a transaction" if step["transactional"] else "NOT in a transaction: a failure leaves its first part behind")
        words += [str(item).upper() for item in step["destroys"]]
    words += [] if step.get("reversible", True) else ["NO DOWNGRADE: the way back is the backup"]
    return "; ".join(words)


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
    long = [entry["revision"] for entry in revisions.pending if revisions.width and len(entry["revision"]) > revisions.width]
    if long:
        raise Problem(
            "The migration was refused",
            f"the column alembic_version.version_num holds {revisions.width} characters, and {', '.join(long)} is longer",
            "Give the revision a shorter id in the release, or widen the column by a revision of its own, deployed before this one.",
            **revisions.to_dict(),
        )


def former_passwords(containers: Sequence[Container]) -> list[str]:
    """Return the passwords of PostgreSQL that a project's containers were made with. Pure."""
    found = dict[str, None]()
    for environment in (container.environment for container in containers):
        found |= {environment[name]: None for name in ("POSTGRES_PASSWORD", "PGPASSWORD") if environment.get(name)}
        found |= {unquote(url.group(1)): None for url in map(_POSTGRES_URL.match, environment.values()) if url}
    return list(found)


def ask(
    parameters: Mapping[str, Any],
    runner: Runner,
    *,
    target: str | None = None,
    run: bool = False,
    sql: bool = False,
    history: bool = False,
    database: str | None = None,
    observe: bool = False,
) -> dict[str, Any]:
    """Run the Alembic script in a one-shot container of the service's image, and return its answer.

    The image's entry point and command are bypassed: the application's own would migrate and then serve.

    :arg target: a revision, ``heads`` or ``base``, to which the steps are wanted; None to only look.
    :arg run: whether to take these steps.
    :arg database: another database of the server than the application's own.
    :arg observe: whether to look up the locks that the steps take.
    """
    project = Project.from_parameters(parameters["project"])
    # Under a name, a second migration beside one that still runs is refused by Docker itself.
    name = f"{project.name}-{'rehearsal' if database else 'migration'}"
    named = ["--name", name] if run else []
    argv = project.argv("run", "--rm", "--no-deps", "-T", *named, "--entrypoint", "python", str(parameters["service"]), "-")
    remedy = "Check that the database is up and takes the password, and that the image exists."
    if named:
        remedy += f" If the container {name} still runs, it is migrating: wait for it (docker wait {name}), then run this again."
    guard: dict[str, Any] = {"database": database, "observe": observe}
    options: dict[str, Any] = {"config_file": parameters["config"], "target": target, "sql": sql, "history": history, "run": run}
    if run:
        guard |= {key: parameters[key] for key in ("lock_timeout", "statement_timeout")}
        # In the pauses those go on who waited behind the migration.
        options |= {"attempts": parameters["lock_attempts"], "pause": 2 * parameters["lock_timeout"]}
    words: dict[str, Any] = {"what": "Asking Alembic failed", "remedy": remedy, "secrets": project.secrets()}
    words |= {"helpers": [migration_guard], "timeout": float(parameters["timeout"])}
    # One that only looks at a database that hangs must not stay behind: the next look would add another. A migration is never cut.
    words |= {} if run else {"limit": float(parameters["timeout"])}
    try:
        answer = app_script.run(argv, alembic_script, {**options, "guard": guard}, runner, **words)
    except Problem as problem:
        # While a rotation is on its way, the database still has the password of the release that runs, or has it no more.
        former = former_passwords(read_containers(project.name, runner)) if _REFUSED in problem.message() else []
        if not former:
            raise
        guard["passwords"] = former
        answer = app_script.run(argv, alembic_script, {**options, "guard": guard}, runner, **words)
    if answer.get("broken"):
        why = redact(f"the release's history of revisions is broken: {answer['broken']}", project.secrets())
        remedy = "Correct the release: each revision's id has to be there once, and down_revision has to name one that exists."
        raise Problem("Reading the revisions failed", why, remedy)
    return answer
