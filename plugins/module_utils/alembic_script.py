# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks Alembic where a database stands, or migrates it. Runs in a one-shot container of the application's image."""

from __future__ import annotations

import time
import warnings
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import migration_guard


def main(
    config_file: str,
    target: str | None = None,
    sql: bool = False,
    history: bool = False,
    run: bool = False,
    guard: dict[str, Any] | None = None,
    attempts: int = 1,
    pause: float = 0.0,
) -> dict[str, Any]:
    """Return heads, current revisions and what is pending; with *run*, migrate to *target* first.

    :arg config_file: path of ``alembic.ini``, relative to the image's working directory.
    :arg target: a revision, ``heads`` or ``base``; None to only look.
    :arg sql: also return the SQL of the pending revisions.
    :arg history: also return every revision, oldest first.
    :arg run: whether to migrate; otherwise only the steps to the target are returned.
    :arg guard: arguments of :class:`migration_guard.Guard`.
    :arg attempts: how often to try when a lock cannot be had in time; *pause* seconds lie between two attempts.
    """
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(config_file)
    script = ScriptDirectory.from_config(config)
    broken = _broken(script)
    if broken:
        return {"broken": broken}
    watch = migration_guard.Guard(**(guard or {}))
    with watch.installed():
        answer, engine = _state(config, script)
        answer["error"] = ""
        known = not answer["unknown"]
        if sql and answer["pending"] and known:
            answer["sql"] = _sql(config, answer["current"])
        if history:
            answer["history"] = _history(script, answer["current"] if known else [])
        if target is None or not known:
            return answer
        direction, answer["steps"] = _steps(script, answer["current"], answer["pending"], target)
        if run and answer["steps"]:
            started = time.monotonic()
            work = _Work(config, script, direction, target, watch)
            answer.update(work.locked(engine, attempts, pause))
            answer.update(_state(config, script)[0])
            answer["seconds"] = round(time.monotonic() - started, 3)
        return answer


def _broken(script: Any) -> str:
    """Return why the history of revisions cannot be read; empty if it can. Alembic only warns of a double id."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            list(script.walk_revisions())
            script.get_heads()
        except Exception as failure:  # a missing parent, a cycle, or a file that cannot be imported
            told = [str(warning.message) for warning in caught]
            return "; ".join([*told, f"{type(failure).__name__}: {failure}"])
    return "; ".join(text for text in (str(warning.message) for warning in caught) if "present more than once" in text)


class _Work:
    """One migration: the same way as Alembic's own command, with the guards around it."""

    def __init__(self, config: Any, script: Any, direction: str, target: str, watch: migration_guard.Guard) -> None:
        self.config, self.script, self.direction, self.target, self.watch = config, script, direction, target, watch
        #: The schema as it was when the database last stood at some revisions for good.
        self.standing: dict[tuple[str, ...], set[str]] = {}

    def locked(self, engine: Any, attempts: int, pause: float) -> dict[str, Any]:
        """Migrate under the advisory lock, where there is one."""
        if engine.dialect.name != "postgresql":
            return {"error": self.attempt()}
        lock = self.watch.advisory_lock(engine)
        if lock is None:
            return {"error": "another migration holds the lock", "kind": "locked"}
        with lock, self.watch.watched(lock):
            before = migration_guard.schema(lock)
            invalid = _invalid(before)
            self.watch.expect({line.removeprefix("table ") for line in before if line.startswith("table ")})
            heads = self.heads()
            self.standing[heads] = before
            answer: dict[str, Any] = {"error": "", "attempts": 0}
            while True:
                answer["attempts"] += 1
                answer["error"] = self.attempt()
                again = answer["error"] and self.state in migration_guard.TRY_AGAIN and not self.watch.autocommitted
                answer["kind"] = "lock_timeout" if again else "failed" if answer["error"] else ""
                if not again or answer["attempts"] >= attempts or self.heads() != heads:
                    break
                time.sleep(pause)
            after = migration_guard.schema(lock)
            answer |= {
                "locks": sorted(self.watch.locks.values(), key=lambda item: -item["seconds"]),
                "blockers": list(self.watch.blockers.values()),
                "invalid_indexes": sorted(_invalid(after) - invalid),
                "autocommitted": self.watch.autocommitted,
            }
            if answer["error"]:
                stands = self.standing.get(self.heads(), before)
                answer["left"] = sorted(f"new: {line}" for line in after - stands) + sorted(f"gone: {line}" for line in stands - after)
            return answer

    state = ""

    def attempt(self) -> str:
        """Migrate once; return the error, or nothing. What a failed attempt has persisted is looked at by the caller."""
        from alembic.runtime.environment import EnvironmentContext

        def steps(revision: Any, context: Any) -> Any:
            context.on_version_apply_callbacks += (self.arrived,)
            if self.direction == "downgrade":
                return self.script._downgrade_revs(self.target, revision)
            return self.script._upgrade_revs(self.target, revision)

        self.state = ""
        try:
            with EnvironmentContext(self.config, self.script, fn=steps, destination_rev=self.target):
                self.script.run_env()
        except Exception as failure:  # the state after a failure is part of the answer
            self.state = migration_guard.sqlstate(failure)
            return f"{type(failure).__name__}: {failure}"
        return ""

    def arrived(self, *, ctx: Any, heads: Any, **_more: Any) -> None:
        """Note the schema each time that the version table is written; it counts if that is what is committed."""
        self.standing[tuple(sorted(heads))] = migration_guard.schema(ctx.connection)

    def heads(self) -> tuple[str, ...]:
        """Return the revisions that are committed."""
        return tuple(_state(self.config, self.script)[0]["current"])


def _invalid(schema: set[str]) -> set[str]:
    return {line.removeprefix("index ").removesuffix(" (invalid)") for line in schema if line.endswith(" (invalid)")}


def _steps(script: Any, current: list[str], pending: list[dict[str, str]], target: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the direction to *target*, and the revisions on the way in the order in which they run.

    :raises SystemExit: the image has no such revision.
    """
    if target == "heads":
        return "upgrade", [{**entry, "direction": "upgrade"} for entry in pending]
    try:
        wanted = None if target == "base" else script.get_revision(target).revision
    except Exception as failure:
        raise SystemExit(f"this image has no revision {target}: {failure}") from failure
    applied = _ancestors(script, current)
    if wanted is None or wanted in applied:
        kept = _ancestors(script, [wanted]) if wanted else set()
        down = [revision for revision in script.walk_revisions() if revision.revision in applied - kept]
        return "downgrade", [{**_step(revision), "direction": "downgrade"} for revision in down]
    missing = _ancestors(script, [wanted]) - applied
    up = [revision for revision in reversed(list(script.walk_revisions())) if revision.revision in missing]
    return "upgrade", [{**_step(revision), "direction": "upgrade"} for revision in up]


def _brief(revision: Any) -> dict[str, str]:
    return {"revision": revision.revision, "message": (revision.doc or "").strip()}


def _step(revision: Any) -> dict[str, Any]:
    return {**_brief(revision), "reversible": _reversible(revision)}


def _parents(revision: Any) -> list[str]:
    before = revision.down_revision or ()
    return sorted([before] if isinstance(before, str) else before)


def _reversible(revision: Any) -> bool:
    """Tell whether a revision's ``downgrade`` does something: not if it is empty, or only raises."""
    function = getattr(revision.module, "downgrade", None)
    if function is None:
        return False
    return not set(function.__code__.co_names) <= {"NotImplementedError", "RuntimeError", "Exception"}


def _history(script: Any, current: list[str]) -> list[dict[str, Any]]:
    applied, heads = _ancestors(script, current), set(script.get_heads())
    return [
        {
            **_brief(revision),
            "after": _parents(revision),
            "applied": revision.revision in applied,
            "head": revision.revision in heads,
            "branch_point": bool(revision.is_branch_point),
            "merge_point": bool(revision.is_merge_point),
        }
        for revision in reversed(list(script.walk_revisions()))
    ]


def _state(config: Any, script: Any) -> tuple[dict[str, Any], Any]:
    """Return where the database stands, and the engine that the application's env.py made for it."""
    from alembic.runtime.environment import EnvironmentContext

    current: list[str] = []
    seen: dict[str, Any] = {}

    def look(_revision: Any, context: Any) -> list[Any]:
        current.extend(context.get_current_heads())
        seen["engine"] = context.connection.engine
        seen["width"] = _width(context)
        return []

    with EnvironmentContext(config, script, fn=look, dont_mutate=True):
        script.run_env()
    known = {revision.revision: revision for revision in script.walk_revisions()}
    unknown = sorted(set(current) - set(known))
    applied = set() if unknown else _ancestors(script, current)
    pending = [revision for revision in reversed(list(script.walk_revisions())) if revision.revision not in applied]
    answer = {
        "heads": sorted(script.get_heads()),
        "current": sorted(current),
        "unknown": unknown,
        "pending": [_step(revision) for revision in ([] if unknown else pending)],
        "width": seen["width"],
    }
    return answer, seen["engine"]


def _width(context: Any) -> int | None:
    """Return how many characters the column for revisions holds, or will hold once it is made; None for any number."""
    from sqlalchemy import inspect

    table = context._version
    if context._has_version_table():
        columns = inspect(context.connection).get_columns(table.name, schema=table.schema)
        types = [column["type"] for column in columns if column["name"] == "version_num"]
    else:
        types = [table.c.version_num.type]
    return getattr(types[0], "length", None) if types else None


def _ancestors(script: Any, revisions: list[str]) -> set[str]:
    applied: set[str] = set()
    for revision in revisions:
        applied.update(item.revision for item in script.iterate_revisions(revision, "base"))
    return applied


def _sql(config: Any, current: list[str]) -> str:
    import io

    from alembic import command

    if len(current) > 1:
        return ""
    buffer = io.StringIO()
    config.output_buffer = buffer
    try:
        command.upgrade(config, f"{current[0] if current else 'base'}:head", sql=True)
    except Exception as failure:  # a migration that needs a live connection has no offline SQL
        return f"-- no SQL: {type(failure).__name__}: {failure}"
    finally:
        config.output_buffer = None
    return buffer.getvalue()
