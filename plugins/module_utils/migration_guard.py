# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guards of a migration on PostgreSQL, around whatever connection the application's env.py makes.

Runs in the application's image with its SQLAlchemy. Every connection is made here, so that it goes to the wanted database, has time
limits, and is watched; on another database than PostgreSQL nothing of this happens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

#: Key of the advisory lock that migrations of this collection hold, each in its own database.
LOCK_KEY = 0x6D696772617465
#: Locks that make readers or writers wait, from the weakest to the strongest, and whom they make wait.
BLOCKING = {
    "ShareLock": "writers",
    "ShareRowExclusiveLock": "writers",
    "ExclusiveLock": "writers",
    "AccessExclusiveLock": "readers and writers",
}
#: lock_not_available (the lock_timeout), deadlock_detected: the transaction is undone, and may be tried again.
TRY_AGAIN = ("55P03", "40P01")

_OWN = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
#: The schema as lines of text, for telling what a failed migration has left behind.
SCHEMA = f"""
SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
         WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' ELSE 'relation' END
       || ' ' || c.oid::regclass || CASE WHEN i.indisvalid AND i.indisready OR i.indexrelid IS NULL THEN '' ELSE ' (invalid)' END
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
  WHERE {_OWN} AND c.relkind <> 'c'
UNION ALL SELECT 'column ' || c.oid::regclass || '.' || quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE {_OWN} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'constraint ' || o.conrelid::regclass || '.' || quote_ident(o.conname) || ' ' || pg_get_constraintdef(o.oid)
  FROM pg_constraint o JOIN pg_namespace n ON n.oid = o.connamespace WHERE {_OWN} AND o.conrelid <> 0
UNION ALL SELECT 'type ' || t.oid::regtype || ' (' || string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) || ')'
  FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace WHERE {_OWN} GROUP BY t.oid
UNION ALL SELECT 'function ' || p.oid::regprocedure || ' ' || md5(p.prosrc)
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_OWN}
UNION ALL SELECT 'trigger ' || t.tgrelid::regclass || '.' || quote_ident(t.tgname) FROM pg_trigger t WHERE NOT t.tgisinternal
"""
_HELD = """
SELECT c.oid::regclass::text, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.granted AND c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_'
"""
_BLOCKERS = """
SELECT pid, usename, application_name, state, round(extract(epoch FROM now() - xact_start))::int FROM pg_stat_activity
WHERE pid = ANY (SELECT unnest(pg_blocking_pids(waiting)) FROM unnest(%s::int[]) AS waiting)
"""


class WrongDatabase(SystemExit):
    """The application's env.py cannot be led to another database; ends the script with this message alone."""


class Guard:
    """Makes and watches the connections of one migration.

    :arg database: the database to connect to, instead of the one that the application's settings name; None for that one.
    :arg lock_timeout: seconds that a statement waits for a lock; None for the server's setting.
    :arg statement_timeout: seconds that a statement may take; None for the server's setting.
    :arg observe: whether the locks that each statement takes are looked up.
    :arg passwords: to be tried in turn, where the database does not take the one of the application's settings.
    """

    def __init__(
        self,
        database: str | None = None,
        lock_timeout: float | None = None,
        statement_timeout: float | None = None,
        observe: bool = False,
        passwords: Sequence[str] = (),
    ) -> None:
        self.database = database
        self._passwords = passwords
        self.observe = observe
        #: Whether a statement ran outside of a transaction, and so cannot be undone.
        self.autocommitted = False
        self.locks: dict[str, dict[str, Any]] = {}
        self.blockers: dict[int, dict[str, Any]] = {}
        self._limits = {"lock_timeout": lock_timeout, "statement_timeout": statement_timeout}
        self._pids: list[int] = []
        self._holding: dict[int, dict[str, tuple[str, float]]] = {}
        self._started = 0.0
        self._existing: set[str] = set()

    @contextmanager
    def installed(self) -> Iterator[Guard]:
        """Guard all connections that SQLAlchemy makes within the block."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        listeners: list[tuple[str, Callable[..., Any]]] = [("do_connect", self._connect)]
        listeners.append(("set_connection_execution_options", self._options))
        if self.observe:
            listeners += [("before_cursor_execute", self._before), ("after_cursor_execute", self._after)]
            listeners += [("commit", self._over), ("rollback", self._over)]
        for name, listener in listeners:
            event.listen(Engine, name, listener)
        try:
            yield self
        finally:
            for name, listener in listeners:
                event.remove(Engine, name, listener)

    def _connect(self, dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        """Make a connection: to the wanted database, and with the time limits."""
        if dialect.name != "postgresql":
            return None
        if self.database:
            known = [name for name in ("dbname", "database") if name in parameters]
            parameters.update(dict.fromkeys(known or ("dbname",), self.database))
        connection = self._logged_in(dialect, arguments, parameters)
        cursor = connection.cursor()
        cursor.execute("SELECT current_database(), pg_backend_pid()")
        database, pid = cursor.fetchone()
        if self.database and database != self.database:
            connection.close()
            raise WrongDatabase(f"{self.database} was wanted, and the connection that the application makes goes to {database}")
        cursor.execute("SET application_name = 'residency.scheduler migration'")
        for name, seconds in self._limits.items():
            if seconds is not None:
                cursor.execute(f"SET {name} = '{int(seconds * 1000)}ms'")
        connection.commit()  # else a rollback would take the limits back
        cursor.close()
        self._pids.append(int(pid))
        return connection

    def _logged_in(self, dialect: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        """Return a connection by the first password that the database takes; the application's own is the last."""
        for password in self._passwords:
            try:
                return dialect.connect(*arguments, **{**parameters, "password": password})
            except dialect.dbapi.Error:
                continue
        return dialect.connect(*arguments, **parameters)

    def _options(self, _connection: Any, options: dict[str, Any]) -> None:
        self.autocommitted = self.autocommitted or options.get("isolation_level") == "AUTOCOMMIT"

    def advisory_lock(self, engine: Any) -> Any:
        """Return a connection that holds the lock of migrations, or None where another one holds it.

        Without a transaction: an open one would make CREATE INDEX CONCURRENTLY wait for ever.
        """
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self.autocommitted = False
        if connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({LOCK_KEY})").scalar():
            return connection
        connection.close()
        return None

    @contextmanager
    def watched(self, connection: Any) -> Iterator[None]:
        """Note, by way of *connection*, which sessions the migration waits for while the block runs."""
        own = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.3):
                waiting = [pid for pid in self._pids if pid != own]
                for pid, user, application, state, seconds in connection.exec_driver_sql(_BLOCKERS, (waiting,)):
                    self.blockers[pid] = {"pid": pid, "user": user, "application": application, "state": state, "seconds": seconds}

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join(10)

    def expect(self, tables: set[str]) -> None:
        """Take note of the tables that are in use before the migration; locks of new ones make nobody wait."""
        self._existing = tables

    def _before(self, *_arguments: Any) -> None:
        self._started = time.monotonic()

    def _after(self, connection: Any, _cursor: Any, _statement: Any, _parameters: Any, _context: Any, _many: Any) -> None:
        """Look up, on the same connection, which locks it holds after a statement."""
        if connection.dialect.name != "postgresql":
            return
        holding = self._holding.setdefault(id(connection), {})
        cursor = connection.connection.cursor()
        cursor.execute(_HELD)
        for table, mode in cursor.fetchall():
            strength = list(BLOCKING).index(mode) if mode in BLOCKING else -1
            if strength < 0 or table not in self._existing:
                continue
            held, since = holding.get(table, (mode, self._started))
            holding[table] = (mode if strength > list(BLOCKING).index(held) else held, since)
        cursor.close()

    def _over(self, connection: Any) -> None:
        """Close the account of a transaction that ends."""
        for table, (mode, since) in self._holding.pop(id(connection), {}).items():
            known = self.locks.get(table, {"table": table, "mode": mode, "seconds": 0.0})
            stronger = max(mode, known["mode"], key=list(BLOCKING).index)
            seconds = round(known["seconds"] + time.monotonic() - since, 3)
            self.locks[table] = {"table": table, "mode": stronger, "blocks": BLOCKING[stronger], "seconds": seconds}


def schema(connection: Any) -> set[str]:
    """Return the schema as lines of text; empty on another database than PostgreSQL."""
    if connection is None or connection.dialect.name != "postgresql":
        return set()
    return {row[0] for row in connection.exec_driver_sql(SCHEMA.replace("%", "%%"))}


def sqlstate(failure: BaseException) -> str:
    """Return PostgreSQL's code of an error, whichever driver raised it; empty for others."""
    original: Any = getattr(failure, "orig", failure)
    return str(getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or "")
