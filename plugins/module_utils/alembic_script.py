# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks Alembic where a database stands, or migrates it. Runs in a one-shot container of the application's image."""

from __future__ import annotations

import time
from typing import Any


def main(config_file: str, target: str | None, sql: bool) -> dict[str, Any]:
    """Return heads, current revisions and what is pending; migrate to *target* first, if one is given.

    :arg config_file: path of ``alembic.ini``, relative to the image's working directory.
    :arg target: revision to upgrade to ("heads"), or None to only look.
    :arg sql: also return the SQL of the pending revisions.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(config_file)
    script = ScriptDirectory.from_config(config)
    answer = _state(config, script)
    answer["error"] = ""
    if sql and answer["pending"] and not answer["unknown"]:
        answer["sql"] = _sql(config, answer["current"])
    if target is not None:
        started = time.monotonic()
        answer["before"] = answer["current"]
        try:
            command.upgrade(config, target)
        except Exception as failure:  # the state after a failure is part of the answer
            answer["error"] = f"{type(failure).__name__}: {failure}"
        answer.update(_state(config, script))
        answer["seconds"] = round(time.monotonic() - started, 3)
    return answer


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
        "pending": [
            {"revision": revision.revision, "message": (revision.doc or "").strip()}
            for revision in ([] if unknown else pending)
        ],
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
