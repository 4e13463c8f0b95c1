# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL in a running container, by the client programs of that very container: client and server have the same version."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, clean_environment, redact, require
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: By this name our connections are known in ``pg_stat_activity``.
APPLICATION = "residency.scheduler"
#: The database that every cluster has; from here other databases are made, renamed and dropped.
MAINTENANCE = "postgres"
#: Key of the advisory lock that whoever makes, swaps or drops side databases holds in the maintenance database.
LOCK_KEY = 0x7265736964656E63

#: A database may have limits of its own, which would end a long count, or policies that would hide rows. Notices would stand among
#: the answers.
_UNLIMITED = {"client_min_messages": "error", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "row_security": "off"}

#: The argument spec of the options that name the database's container; documented in the fragment ``postgres``.
POSTGRES_SPEC: dict[str, Any] = {
    "database_service": {"type": "str", "default": "db"},
    "timeout": {"type": "int", "default": 3600},
}


def identifier(name: str) -> str:
    """Return *name* as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return *text* as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Postgres:
    """The server in *container*; *user* and *database* are those that the container was made with.

    :ivar secrets: values to be blotted out of whatever is quoted.
    """

    container: str
    user: str
    database: str
    runner: Runner
    secrets: Sequence[str]

    def argv(self, program: str, *words: str, options: Mapping[str, str] | None = None) -> list[str]:
        """Return the command that runs one of PostgreSQL's programs in the container.

        :arg options: settings of the server for this connection alone (``PGOPTIONS``).
        """
        settings = " ".join(f"-c {name}={value}" for name, value in (options or {}).items())
        environment = ["--env", f"PGAPPNAME={APPLICATION}", *(["--env", f"PGOPTIONS={settings}"] if settings else [])]
        return ["docker", "exec", "--interactive", *environment, self.container, program, "--username", self.user, *words]

    def psql(self, database: str | None = None) -> list[str]:
        """Return the command of a psql that reads SQL from its standard input, and ends at the first error."""
        words = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--set=ON_ERROR_STOP=1"]
        return self.argv("psql", *words, "--dbname", database or self.database, options=_UNLIMITED)

    def run(self, sql: str, what: str, *, database: str | None = None, timeout: float = 60.0) -> str:
        """Run SQL and return what it printed.

        :arg what: what failed, for the error message.
        """
        result = self.runner.run(self.psql(database), stdin=sql, timeout=timeout)
        remedy = f"Look at the server's log: docker logs --tail 50 {self.container}"
        return require(result, what, remedy, self.secrets).stdout

    def rows(self, sql: str, what: str, *, database: str | None = None, timeout: float = 60.0) -> list[dict[str, Any]]:
        """Run one query and return its rows by column."""
        return parse_rows(self.run(as_json(sql), what, database=database, timeout=timeout))

    def databases(self) -> dict[str, str]:
        """Return the object id of each database by name."""
        found = self.rows("SELECT datname, oid::text AS oid FROM pg_database", "Listing the databases failed", database=MAINTENANCE)
        return {row["datname"]: row["oid"] for row in found}

    def size(self, database: str | None = None) -> int:
        """Return the size of a database in bytes."""
        sql = f"SELECT pg_database_size({literal(database or self.database)})"
        return int(self.run(sql, "Asking for the database's size failed", database=MAINTENANCE))

    def free_space(self) -> int:
        """Return the free bytes of the file system that holds the server's data."""
        command = ["docker", "exec", self.container, "sh", "-c", 'df -Pk "${PGDATA:-/var/lib/postgresql/data}"']
        result = require(self.runner.run(command), "Asking for free space failed", f"Look at docker exec {self.container} df.")
        return int(result.stdout.splitlines()[-1].split()[3]) * 1024


def find(project: Project, service: str, runner: Runner) -> Postgres:
    """Return the project's database server.

    :raises Problem: no container of *service* runs.
    """
    running = [item for item in read_containers(project.name, runner) if item.service == service and item.state == "running"]
    if not running:
        raise Problem(
            "Looking for the database failed",
            f"no container of the service {service} of project {project.name} runs",
            "Start it (the playbook deploy.yml does), or name the service in database_service.",
        )
    user = running[0].environment.get("POSTGRES_USER") or "postgres"
    database = running[0].environment.get("POSTGRES_DB") or user
    return Postgres(running[0].name, user, database, runner, project.secrets())


def as_json(sql: str) -> str:
    """Return the query that prints the rows of *sql* as one JSON list."""
    return f"SELECT coalesce(json_agg(t), '[]') FROM ({sql}) t;"


def parse_rows(text: str) -> list[dict[str, Any]]:
    """Parse what a query of :func:`as_json` printed."""
    return list(json.loads(text))


class Session:
    """A psql that stays open: a transaction with its snapshot, or an advisory lock, lives as long as it does.

    It ends with the process that opened it, even a killed one, since its standard input ends then.
    """

    MARK = "residency.scheduler:end-of-answer"

    def __init__(self, postgres: Postgres, database: str | None = None) -> None:
        self._postgres = postgres
        self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            postgres.psql(database),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_environment(dict(os.environ)),
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )
        self._stdin = cast(IO[str], self._process.stdin)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session; what was not committed is rolled back, and locks are released."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, sql: str, what: str, timeout: float = 60.0) -> str:
        """Send SQL and return what it printed.

        :raises Problem: it failed, or did not answer in time; the session is over then.
        """
        try:
            self._stdin.write(f"{sql}\n\\echo {self.MARK}\n")
            self._stdin.flush()
        except OSError:
            pass  # what it said before it ended is read below
        said: list[str] = []
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self._process.kill()
                raise self._problem(what, f"no answer within {timeout:.0f} s") from None
            if line is None:
                raise self._problem(what, "\n".join(said[-10:]) or "psql ended without a word")
            if line == self.MARK:
                return "\n".join(said)
            said.append(line)

    def rows(self, sql: str, what: str, timeout: float = 60.0) -> list[dict[str, Any]]:
        """Send one query and return its rows by column."""
        return parse_rows(self.ask(as_json(sql), what, timeout))

    def _read(self) -> None:
        for line in cast(IO[str], self._process.stdout):
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _problem(self, what: str, why: str) -> Problem:
        remedy = f"Look at the server's log: docker logs --tail 50 {self._postgres.container}"
        return Problem(what, redact(why, self._postgres.secrets), remedy)


def lock(postgres: Postgres) -> Session:
    """Return a session that holds the lock of those who make, swap or drop side databases.

    :raises Problem: another one holds it.
    """
    session = Session(postgres, MAINTENANCE)
    got = session.ask(f"SELECT pg_try_advisory_lock({LOCK_KEY});", "Taking the database's lock failed")
    if got.strip() != "t":
        session.close()
        raise Problem(
            "Taking the database's lock failed",
            "a restore, a drill or a rehearsal is at work on this database",
            "Wait for it to end, then run this again. The lock ends with its holder; nothing has to be unlocked by hand.",
        )
    return session
