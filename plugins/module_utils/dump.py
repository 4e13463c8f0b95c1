# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a backup: dump and manifest out of one snapshot, read back in full, and published by one rename."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import backups, database_facts
from ansible_collections.residency.scheduler.plugins.module_utils.command import require
from ansible_collections.residency.scheduler.plugins.module_utils.database_facts import Facts
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import Postgres, Session
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.streams import Written, digest_file, read_input, write_output

WHAT = "Taking a backup failed"
UNTOUCHED = "Nothing was changed, and no older backup was removed."

_ORIGIN = """
SELECT current_setting('server_version_num')::int AS server_version, (SELECT system_identifier::text FROM pg_control_system()) AS cluster,
  d.oid::text AS oid, pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate,
  d.datctype AS ctype, pg_database_size(d.oid) AS bytes, pg_snapshot_xmin(pg_current_snapshot())::text AS oldest_transaction
FROM pg_database d WHERE d.datname = current_database()
"""


@dataclass(frozen=True)
class Order:
    """What is wanted.

    :ivar compression: 0 to 9, as pg_dump's; None for its default.
    :ivar context: what the manifest says of the release that runs.
    :ivar timeout: seconds for the dump, and again for reading it back.
    """

    backup_dir: str
    pool: str
    compression: int | None
    context: Mapping[str, Any]
    timeout: float


def take(postgres: Postgres, order: Order, now: datetime) -> dict[str, Any]:
    """Take a backup and return its manifest; the folder's lock has to be held.

    :raises Problem: anything went wrong; what was written so far is removed.
    """
    name = backups.name_of(postgres.database, order.pool, now)
    partial = backups.begin(order.backup_dir, name)
    try:
        facts, origin, dump = _dump(postgres, os.path.join(partial, backups.DUMP), order)
        read_back = _read_back(postgres, os.path.join(partial, backups.DUMP), dump, order.timeout)
        _roles(postgres, os.path.join(partial, backups.ROLES), order.timeout)
        manifest = {
            "schema": backups.SCHEMA,
            "name": name,
            "pool": order.pool,
            "database": postgres.database,
            "created": now.isoformat(),
            "dump": {"bytes": dump.size, "sha256": dump.sha256},
            "seconds": {"dump": round(dump.result.seconds, 3), "read_back": round(read_back, 3)},
            "facts": facts.to_dict(),
            "origin": origin,
            "included": ["schema and rows", "sequences", "large objects", "roles without their passwords"],
            "not_included": ["passwords of roles", "other databases of the server", "files of the application"],
            **order.context,
        }
        backups.publish(partial, manifest)
        return manifest
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _dump(postgres: Postgres, path: str, order: Order) -> tuple[Facts, dict[str, Any], Written]:
    """Dump the database while the rows are counted in the same snapshot."""
    with Session(postgres) as session, ThreadPoolExecutor(1) as pool:
        session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;", WHAT)
        snapshot = session.ask("SELECT pg_export_snapshot();", WHAT).strip()
        origin = session.rows(_ORIGIN, WHAT)[0]
        before = database_facts.read_sequences(session.rows)
        counting = pool.submit(database_facts.read, lambda sql, what: session.rows(sql, what, order.timeout))
        words = ["--format=custom", f"--snapshot={snapshot}", "--lock-wait-timeout=60s", "--no-password", "--dbname", postgres.database]
        words += [] if order.compression is None else [f"--compress={order.compression}"]
        dump = write_output(postgres.argv("pg_dump", *words), path, order.timeout)
        require(dump.result, WHAT, f"{UNTOUCHED} Correct what pg_dump names, then run this again.", postgres.secrets)
        facts = counting.result()
        return database_facts.with_sequences(facts, before, database_facts.read_sequences(session.rows)), origin, dump


def _read_back(postgres: Postgres, path: str, dump: Written, timeout: float) -> float:
    """Prove that what lies on the disk is what was dumped, and that pg_restore can read all of it. Return the seconds."""
    started = time.monotonic()
    if digest_file(path) != dump.sha256:
        raise Problem(WHAT, f"{path} holds something else than pg_dump wrote", f"{UNTOUCHED} Look at the disk (dmesg, smartctl).")
    result = read_input(postgres.argv("pg_restore", "--file=/dev/null"), path, timeout)
    require(result, f"{WHAT}: the dump cannot be read back", f"{UNTOUCHED} Run this again; look at the disk.", postgres.secrets)
    return time.monotonic() - started


def _roles(postgres: Postgres, path: str, timeout: float) -> None:
    """Write the statements that make the roles; their passwords stay out, they are those of the environment file."""
    words = ["--roles-only", "--no-role-passwords", "--no-password", "--database", postgres.database]
    written = write_output(postgres.argv("pg_dumpall", *words), path, timeout)
    require(written.result, f"{WHAT}: the roles cannot be listed", UNTOUCHED, postgres.secrets)


@dataclass(frozen=True)
class Need:
    """Bytes that are needed and free, and what for."""

    purpose: str
    needed: int
    free: int


def check_space(postgres: Postgres, backup_dir: str, side_database: bool, previous: Mapping[str, Any] | None) -> dict[str, int]:
    """Return the bytes that are needed and free, for the dump and for a side database, see :func:`read_space`.

    :raises Problem: there is too little.
    """
    space, needs = read_space(postgres, backup_dir, side_database, previous)
    for need in needs:
        if need.needed > need.free:
            remedy = "Make room, or name another folder in scheduler_backup_dir."
            why = f"{need.purpose}, needs {readable(need.needed)}, and {readable(need.free)} are free"
            raise Problem(WHAT, why, f"{UNTOUCHED} {remedy}")
    return space


def read_space(
    postgres: Postgres, backup_dir: str, side_database: bool, previous: Mapping[str, Any] | None
) -> tuple[dict[str, int], list[Need]]:
    """Return the bytes that are needed and free, for the dump and for a side database, by name and as needs.

    :arg side_database: whether room for a second copy beside the live database is wanted.
    :arg previous: an older manifest, whose ratio of dump to database tells how large this dump will be.
    """
    size = postgres.size()
    needed = needed_for_dump(size, previous)
    existing = backups.folder(backup_dir)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    status = os.statvfs(existing)
    free = status.f_bavail * status.f_frsize
    space = {"database": size, "dump_needed": needed, "dump_free": free}
    needs = [Need(f"the dump, in {backup_dir}", needed, free)]
    if side_database:
        space |= {"side_needed": int(size * 1.1), "side_free": postgres.free_space()}
        # Both may be the same file system; the same number of free bytes says so often enough.
        shared = abs(space["side_free"] - free) < 64 * 1024 * 1024
        whole = space["side_needed"] + (needed if shared else 0)
        needs.append(Need("a copy of the database, beside it", whole, space["side_free"]))
    return space, needs


def needed_for_dump(size: int, previous: Mapping[str, Any] | None) -> int:
    """Return how many bytes a dump of a database of *size* may take: a fifth more than the last one did, else all of it. Pure."""
    if previous and previous["origin"]["bytes"]:
        return int(size * 1.2 * previous["dump"]["bytes"] / previous["origin"]["bytes"])
    return size


def readable(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def rows_of(facts: Facts) -> str:
    """Return how much a backup holds, as people read it."""
    return f"{sum(facts.tables.values())} rows in {len(facts.tables)} tables"
