# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the application's database, and a dump that nobody keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, redact

#: The argument spec of one query.
QUERY_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "sql": {"type": "str", "required": True},
    "expect": {"type": "str", "required": True},
}


def inside(container: str, program: str) -> list[str]:
    """Return the command that runs *program* in the database's container; the user's and the database's names are known only there."""
    return ["docker", "exec", "--interactive", container, "sh", "-c", f"exec {program}"]


def ask(container: str, query: Mapping[str, Any], runner: Runner, secrets: Sequence[str]) -> Check:
    """Return whether the answer of a query matches the whole of its regular expression."""
    psql = 'psql --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --no-align --tuples-only --no-psqlrc --set=ON_ERROR_STOP=1'
    result = runner.run(inside(container, psql), stdin=query["sql"], timeout=30)
    answer = result.stdout.strip() if result.rc == 0 else result.last_lines(1)
    return judge(
        f"database: {query['name']}",
        result.rc == 0 and re.fullmatch(query["expect"], answer) is not None,
        f"an answer like {query['expect']}",
        redact(answer, secrets)[:120] or "nothing",
        f"Ask it yourself: {query['sql']}",
        result.seconds,
        topic="database_queries",
    )


def prove_readable(container: str, runner: Runner, secrets: Sequence[str], timeout: float) -> Check:
    """Return whether ``pg_dump`` can read every table; writes nothing."""
    dump = 'pg_dump --username="$POSTGRES_USER" --format=custom --no-sync --file=/dev/null "$POSTGRES_DB"'
    result = runner.run(inside(container, dump), timeout=timeout)
    return judge(
        "database: readable for a backup",
        result.rc == 0,
        "a dump that reads every table",
        "the whole of it" if result.rc == 0 else redact(result.last_lines(2), secrets) or f"exit code {result.rc}",
        "Look at the database's log for damaged pages or missing rights.",
        result.seconds,
        topic="database_backup",
    )
