# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks Alembic where a database stands, or migrates it. Runs in a one-shot container of the application's image."""

from __future__ import annotations

import time
from typing import Any


def main(config_file: str, target: str | None, sql: bool, history: bool, run: bool) -> dict[str, Any]:
    """Return heads, current revisions and what is pending; with *run*, migrate to *target* first.

    :arg config_file: path of ``alembic.ini``, relative to the image's working directory.
    :arg target: a revision, ``heads`` or ``base``; None to only look.
    :arg sql: also return the SQL of the pending revisions.
    :arg history: also return every revision, oldest first.
    :arg run: whether to migrate; otherwise only the steps to the target are returned.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(config_file)
    script = ScriptDirectory.from_config(config)
    answer = _state(config, script)
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
        try:
            (command.downgrade if direction == "downgrade" else command.upgrade)(config, target)
        except Exception as failure:  # the state after a failure is part of the answer
            answer["error"] = f"{type(failure).__name__}: {failure}"
        answer.update(_state(config, script))
        answer["seconds"] = round(time.monotonic() - started, 3)
    return answer


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
        return "downgrade", [{**_brief(revision), "direction": "downgrade", "reversible": _reversible(revision)} for revision in down]
    missing = _ancestors(script, [wanted]) - applied
    up = [revision for revision in reversed(list(script.walk_revisions())) if revision.revision in missing]
    return "upgrade", [{**_brief(revision), "direction": "upgrade"} for revision in up]


def _brief(revision: Any) -> dict[str, str]:
    return {"revision": revision.revision, "message": (revision.doc or "").strip()}


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


def _state(config: Any, script: Any) -> dict[str, Any]:
    from alembic.runtime.environment import EnvironmentContext

    current: list[str] = []

    def look(_revision: Any, context: Any) -> list[Any]:
        current.extend(context.get_current_heads())
        return []

    with EnvironmentContext(config, script, fn=look, dont_mutate=True):
        script.run_env()
    known = {revision.revision: revision for revision in script.walk_revisions()}
    unknown = sorted(set(current) - set(known))
    applied = set() if unknown else _ancestors(script, current)
    pending = [revision for revision in reversed(list(script.walk_revisions())) if revision.revision not in applied]
    return {
        "heads": sorted(script.get_heads()),
        "current": sorted(current),
        "unknown": unknown,
        "pending": [_brief(revision) for revision in ([] if unknown else pending)],
    }


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
