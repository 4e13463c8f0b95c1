# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the database beside the live one, made from a backup, and the swap of the two by name.

A side database is called ``DATABASE_side_TIME``, one that a swap has set aside ``DATABASE_before_TIME`` (a restore) or
``DATABASE_undone_TIME`` (its undoing); the times are UTC. A database that was restored on the way back from a release says so in its
comment. Nothing else is remembered: what is there says how far a run came.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import database_facts
from ansible_collections.residency.scheduler.plugins.module_utils.backups import Backup
from ansible_collections.residency.scheduler.plugins.module_utils.command import require
from ansible_collections.residency.scheduler.plugins.module_utils.database_facts import Facts
from ansible_collections.residency.scheduler.plugins.module_utils.dump import readable
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import MAINTENANCE, Postgres, Session, identifier, literal
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.streams import read_input

_NOTE = "residency.scheduler: restored from "
_STAMP = "%Y%m%d_%H%M%S"
#: PostgreSQL cuts longer names off, silently.
_LONGEST = 63
#: A copy is thrown away when the server crashes before it is done, so it need not wait for the disk at each commit.
_FAST = {"synchronous_commit": "off", "maintenance_work_mem": "128MB", "default_transaction_read_only": "off"}

#: Statements that make a database like another one, in order; %I and %L quote as SQL wants it. A value of a setting that is a list
#: (search_path) is stored quoted already.
_LIKE = """
SELECT string_agg(statement, E'\\n' ORDER BY step, statement) FROM (
  SELECT 1 AS step, format('CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L TABLESPACE %I',
      {name}, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, t.spcname) || {provider}
      || format(' CONNECTION LIMIT %s;', d.datconnlimit) AS statement
    FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = {live}
  UNION ALL SELECT 2, CASE WHEN s.setrole = 0 THEN format('ALTER DATABASE %I SET ', {name})
        ELSE format('ALTER ROLE %I IN DATABASE %I SET ', pg_get_userbyid(s.setrole), {name}) END
      || quote_ident(split_part(c, '=', 1)) || ' TO '
      || CASE WHEN split_part(c, '=', 1) IN ('local_preload_libraries', 'search_path', 'session_preload_libraries', 'temp_tablespaces')
           THEN substr(c, strpos(c, '=') + 1) ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END || ';'
    FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c WHERE d.datname = {live}
  UNION ALL SELECT 3, format('REVOKE ALL ON DATABASE %I FROM PUBLIC;', {name})
    FROM pg_database d WHERE d.datname = {live} AND d.datacl IS NOT NULL
  UNION ALL SELECT 4, format('GRANT %s ON DATABASE %I TO %s%s;', a.privilege_type, {name},
      CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
      CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = {live}
) statements
"""
#: PostgreSQL 15 names the provider of the locale; 17 has another column for its locale.
_PROVIDER = {
    15: "CASE d.datlocprovider WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', d.daticulocale) ELSE '' END",
    17: "CASE d.datlocprovider WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', d.datlocale) "
    "WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', d.datlocale) ELSE '' END",
}


def name_of(database: str, word: str, now: datetime) -> str:
    """Return the name of a side database, or of one that is set aside.

    :raises Problem: PostgreSQL could not hold the name.
    """
    name = f"{database}_{word}_{now:{_STAMP}}"
    if len(name.encode()) > _LONGEST:
        raise Problem("Naming a side database failed", f"{name} is longer than {_LONGEST} bytes", "Give the database a shorter name.")
    return name


def times(database: str, word: str, names: list[str]) -> dict[str, datetime]:
    """Return those of *names* that are called like :func:`name_of` calls them, with their times, oldest first."""
    pattern = re.compile(rf"{re.escape(database)}_{word}_(\d{{8}}_\d{{6}})")
    found = {name: match.group(1) for name in names if (match := pattern.fullmatch(name))}
    return {name: datetime.strptime(text, _STAMP).replace(tzinfo=UTC) for name, text in sorted(found.items(), key=lambda item: item[1])}


def write_note(postgres: Postgres, name: str, backup: str, instead_of: str) -> None:
    """Note on the database *name* that it was restored from *backup* on the way back from the release of the record *instead_of*.

    It is the database's comment, which goes with it when it is renamed.
    """
    note = literal(f"{_NOTE}{backup} instead of {instead_of}")
    postgres.run(f"COMMENT ON DATABASE {identifier(name)} IS {note};", f"Describing {name} failed", database=MAINTENANCE)


def read_note(postgres: Postgres, instead_of: str) -> str:
    """Return from which backup the live database was restored on the way back from the release *instead_of*; empty if it was not."""
    query = f"SELECT shobj_description(oid, 'pg_database') AS note FROM pg_database WHERE datname = {literal(postgres.database)}"
    rows = postgres.rows(query, "Reading the database's comment failed", database=MAINTENANCE)
    backup, _of, noted = str(rows[0]["note"] if rows else "").removeprefix(_NOTE).partition(" instead of ")
    return backup if noted and noted == instead_of else ""


def sweep(postgres: Postgres, keep_days: int, now: datetime, wanted: str = "") -> list[str]:
    """Drop the copies of runs that were cut, and what was set aside long ago; the lock has to be held. Return their names.

    :arg wanted: a database that was set aside and stays, however old it is.
    """
    present = [name for name in postgres.databases() if name != wanted]
    old = []
    for word in ("before", "undone"):
        old += [name for name, then in times(postgres.database, word, present).items() if now - then > timedelta(days=keep_days)]
    for name in old:
        drop(postgres, name)
    return sweep_copies(postgres) + old


def sweep_copies(postgres: Postgres) -> list[str]:
    """Drop the copies of runs that were cut; the lock has to be held. Return their names."""
    left = list(times(postgres.database, "side", list(postgres.databases())))
    for name in left:
        drop(postgres, name)
    return left


def drop(postgres: Postgres, name: str) -> None:
    """Drop a database that is not the live one, whoever is connected to it."""
    if name == postgres.database:
        raise AssertionError("the live database is never dropped")
    postgres.run(f"DROP DATABASE IF EXISTS {identifier(name)} WITH (FORCE);", f"Dropping the database {name} failed", database=MAINTENANCE)


def create(postgres: Postgres, name: str, origin: Mapping[str, Any]) -> None:
    """Make an empty database with owner, encoding, locale, settings and grants of the live one.

    :arg origin: what the manifest knows of them, for where somebody has dropped the live one.
    """
    what = f"Making the side database {name} failed"
    if postgres.database not in postgres.databases():
        words = f"TEMPLATE template0 OWNER {identifier(origin['owner'])} ENCODING {literal(origin['encoding'])}"
        locale = f"LC_COLLATE {literal(origin['collate'])} LC_CTYPE {literal(origin['ctype'])}"
        postgres.run(f"CREATE DATABASE {identifier(name)} {words} {locale};", what, database=MAINTENANCE, timeout=300)
        return
    version = int(postgres.run("SHOW server_version_num;", what, database=MAINTENANCE)) // 10000
    provider = _PROVIDER[max(known for known in _PROVIDER if known <= version)] if version >= min(_PROVIDER) else "''"
    query = _LIKE.format(name=literal(name), live=literal(postgres.database), provider=provider)
    statements = postgres.run(query, what, database=MAINTENANCE)
    postgres.run(statements, what, database=MAINTENANCE, timeout=300)


def check_restorable(postgres: Postgres, backup: Backup) -> None:
    """Refuse, before anything is made, a backup that this server cannot or must not take.

    :raises Problem: another database's or cluster's, of a newer server, of roles that are missing here, or too large.
    """
    what = f"Restoring the backup {backup.name} was refused"
    origin = backup.content["origin"]
    if backup.content["database"] != postgres.database:
        raise Problem(what, f"it is one of the database {backup.content['database']}, and here is {postgres.database}", "Name another.")
    here = postgres.rows(
        "SELECT current_setting('server_version_num')::int AS version, (SELECT json_agg(rolname) FROM pg_roles) AS roles",
        what,
        database=MAINTENANCE,
    )[0]
    if here["version"] // 10000 < origin["server_version"] // 10000:
        was, is_now = origin["server_version"] // 10000, here["version"] // 10000
        raise Problem(what, f"PostgreSQL {was} wrote it, and {is_now} runs", f"Run PostgreSQL {was} or newer.")
    missing = sorted(set(backup.facts.roles) - set(here["roles"]))
    if missing:
        remedy = f"Make them first; the statements are in {backup.path}/roles.sql, without passwords."
        raise Problem(what, f"the roles {', '.join(missing)} do not exist here", remedy)
    needed, free = int(origin["bytes"] * 1.1), postgres.free_space()
    if needed > free:
        raise Problem(what, f"a copy needs {readable(needed)} beside the live database, {readable(free)} are free", "Make room.")


@contextmanager
def restored(postgres: Postgres, backup: Backup, name: str, timeout: float) -> Iterator[Facts]:
    """Restore *backup* into the new side database *name*, prove it against the manifest, and hand out what was counted in it.

    The side database is dropped at the end, unless it lost its name to a swap.

    :raises Problem: the restore failed, or what is there is not what the manifest says.
    """
    what = f"Restoring the backup {backup.name} failed"
    remedy = "The live database was not touched. Take another backup; keep this one for an inquiry."
    try:
        create(postgres, name, backup.content["origin"])
        words = ["--single-transaction", "--exit-on-error", "--no-password", "--dbname", name]
        result = read_input(postgres.argv("pg_restore", *words, options=_FAST), backup.dump, timeout)
        require(result, what, remedy, postgres.secrets)
        # Without statistics the first queries after a swap would be slow ones.
        postgres.run("ANALYZE;", what, database=name, timeout=timeout)
        found = read_facts(postgres, name, timeout)
        differences = database_facts.compare(backup.facts, found)
        if differences:
            raise Problem(what, f"it is not what its manifest says: {'; '.join(differences[:10])}", remedy, differences=differences)
        yield found
    finally:
        drop(postgres, name)


def read_facts(postgres: Postgres, name: str, timeout: float) -> Facts:
    """Return the facts of the database *name*."""
    return database_facts.read(lambda sql, what: postgres.rows(sql, what, database=name, timeout=timeout))


def swap(postgres: Postgres, incoming: str, aside: str, now: Callable[[], float]) -> float:
    """Give *incoming* the live database's name, and the live one the name *aside*. Return the seconds without a live database.

    Both renames stand in one transaction, which holds the lock of the live database: whoever wants to connect waits, and whoever is
    connected is ended until nobody is left. No setting is changed for it, so a server or a program that is killed at any moment
    leaves the one or the other state, and neither of them refuses connections.

    :raises Problem: it did not happen; everything is as before.
    """
    what = "Swapping the databases failed"
    live = postgres.database
    prepared = postgres.rows(
        f"SELECT gid FROM pg_prepared_xacts WHERE database IN ({literal(live)}, {literal(incoming)})", what, database=MAINTENANCE
    )
    if prepared:
        remedy = "COMMIT PREPARED or ROLLBACK PREPARED them, then run this again. Nothing was changed."
        raise Problem(what, f"prepared transactions hold it: {', '.join(row['gid'] for row in prepared)}", remedy)
    # Somebody may have dropped the live one.
    away = f"ALTER DATABASE {identifier(live)} RENAME TO {identifier(aside)};" if live in postgres.databases() else ""
    renames = f"""
        SET lock_timeout = '10s'; SET statement_timeout = '15s';
        BEGIN;
        {away}
        ALTER DATABASE {identifier(incoming)} RENAME TO {identifier(live)};
        COMMIT;
    """
    connected = f"SELECT pid FROM pg_stat_activity WHERE datname IN ({literal(live)}, {literal(incoming)}) AND pid <> pg_backend_pid()"
    terminate = f"SELECT count(pg_terminate_backend(pid)) FROM ({connected}) AS connected;"
    done = threading.Event()
    with Session(postgres, MAINTENANCE) as renaming, Session(postgres, MAINTENANCE) as ending:
        # Both sessions are open before the first connection is ended.
        renaming.ask("SELECT 1;", what)
        ending.ask(terminate, what)
        started = now()

        def end_connections() -> None:
            while not done.wait(0.03):
                try:
                    ending.ask(terminate, what)
                except Problem:
                    return  # the renames then end by their own time limit

        helper = threading.Thread(target=end_connections, daemon=True)
        helper.start()
        try:
            renaming.ask(renames, what, 60)
        except Problem as problem:
            if not swapped(postgres, incoming, now):
                raise Problem(what, problem.why, "Nothing was changed. " + problem.remedy) from problem
        finally:
            done.set()
            helper.join(5)
        return now() - started


def swapped(postgres: Postgres, incoming: str, now: Callable[[], float], patience: float = 60.0) -> bool:
    """Tell whether a swap whose answer got lost has happened: then nothing has the incoming one's name any more.

    A server that was killed answers again once it has recovered.
    """
    deadline = now() + patience
    while True:
        try:
            present = postgres.databases()
            return incoming not in present and postgres.database in present
        except Problem:
            if now() > deadline:
                raise
            time.sleep(0.5)
