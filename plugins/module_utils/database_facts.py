# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be counted in a database: the facts that a backup's manifest holds, and that a restored copy is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.postgres import literal

#: A query and what failed if it fails -> its rows; either on a connection of its own, or in an open transaction.
Ask = Callable[[str, str], list[dict[str, Any]]]

#: Transaction ids compare over this distance at most.
_HORIZON = 2_000_000_000
#: Ordinary tables and partitions that are the application's own: what an extension brings comes with the extension.
TABLE_NAMES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""
_SEQUENCES = """
SELECT format('%I.%I', schemaname, sequencename) AS name, last_value FROM pg_sequences WHERE NOT cycle ORDER BY 1
"""
_INVALID_INDEXES = """
SELECT i.indexrelid::regclass::text AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relkind = 'i' AND NOT (i.indisvalid AND i.indisready) ORDER BY 1
"""
_UNVALIDATED = """
SELECT conrelid::regclass::text || '.' || conname AS name FROM pg_constraint WHERE NOT convalidated ORDER BY 1
"""
_ROLES = """
SELECT DISTINCT r.rolname AS name FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype IN ('o', 'a', 'r')
  AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database() ORDER BY 1
"""


@dataclass(frozen=True)
class Facts:
    """The facts of one database at one moment.

    :ivar tables: rows by qualified table name.
    :ivar sequences: lowest and highest last value seen by sequence; None while it never gave a number. Sequences stand outside
        of every snapshot, so a dump holds some value between the one read before it and the one read after it.
    :ivar revision: Alembic's revisions; empty without its table.
    :ivar large_objects: how many there are.
    """

    tables: Mapping[str, int]
    sequences: Mapping[str, list[int | None]]
    revision: list[str]
    extensions: Mapping[str, str]
    large_objects: int
    invalid_indexes: list[str]
    unvalidated_constraints: list[str]
    roles: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return them as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Facts:
        """Build them from plain data; a missing part is a KeyError."""
        return cls(
            tables={str(name): int(rows) for name, rows in value["tables"].items()},
            sequences={str(name): list(seen) for name, seen in value["sequences"].items()},
            revision=[str(item) for item in value["revision"]],
            extensions={str(name): str(version) for name, version in value["extensions"].items()},
            large_objects=int(value["large_objects"]),
            invalid_indexes=[str(item) for item in value["invalid_indexes"]],
            unvalidated_constraints=[str(item) for item in value["unvalidated_constraints"]],
            roles=[str(item) for item in value["roles"]],
        )


def read(ask: Ask) -> Facts:
    """Ask a database for its facts; the rows of every table are counted."""
    names = _names(ask(TABLE_NAMES, "Listing the tables failed"))
    counts = _count(ask, names)
    versions = ask("SELECT extname AS name, extversion AS version FROM pg_extension ORDER BY 1", "Listing the extensions failed")
    large = ask("SELECT count(*) AS count FROM pg_largeobject_metadata", "Counting the large objects failed")
    return Facts(
        tables=counts,
        sequences={name: [value, value] for name, value in read_sequences(ask).items()},
        revision=read_revision(ask, names),
        extensions={row["name"]: row["version"] for row in versions},
        large_objects=int(large[0]["count"]),
        invalid_indexes=_names(ask(_INVALID_INDEXES, "Listing the invalid indexes failed")),
        unvalidated_constraints=_names(ask(_UNVALIDATED, "Listing the constraints failed")),
        roles=_names(ask(_ROLES, "Listing the roles failed")),
    )


def read_sequences(ask: Ask) -> dict[str, int | None]:
    """Return the last value of each sequence; None while it never gave a number."""
    return {row["name"]: row["last_value"] for row in ask(_SEQUENCES, "Reading the sequences failed")}


def read_revision(ask: Ask, tables: list[str]) -> list[str]:
    """Return the revisions in Alembic's table, sorted."""
    if "public.alembic_version" not in tables:
        return []
    rows = ask("SELECT version_num AS name FROM public.alembic_version ORDER BY 1", "Reading Alembic's revision failed")
    return _names(rows)


def with_sequences(facts: Facts, before: Mapping[str, int | None], after: Mapping[str, int | None]) -> Facts:
    """Return *facts* with the range of each sequence between two readings. Pure."""
    return Facts(**{**facts.__dict__, "sequences": {name: [before.get(name), value] for name, value in after.items()}})


def written_since(ask: Ask, manifest: Facts, origin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each table that is not as in the backup: rows now, rows in the backup, and rows written since.

    A row tells which transaction wrote it, and the manifest which transactions its snapshot had seen. Where the database is not the
    one that was dumped (it was itself restored since), or too long ago, ``written`` is None and the counts alone speak.
    """
    here = ask(
        "SELECT d.oid::text AS oid, (SELECT system_identifier::text FROM pg_control_system()) AS cluster, "
        "pg_snapshot_xmax(pg_current_snapshot())::text AS next_transaction FROM pg_database d WHERE d.datname = current_database()",
        "Asking for the database's transactions failed",
    )[0]
    distance = int(here["next_transaction"]) - int(origin["oldest_transaction"])
    same = (here["oid"], here["cluster"]) == (origin["oid"], origin["cluster"]) and 0 <= distance < _HORIZON
    names = _names(ask(TABLE_NAMES, "Listing the tables failed"))
    written = f"count(*) FILTER (WHERE age(t.xmin) <= {distance})" if same else "NULL::bigint"
    queries = [f"SELECT {literal(name)} AS table, count(*) AS now, {written} AS written FROM ONLY {name} AS t" for name in names]
    rows = ask(" UNION ALL ".join(queries), "Counting the rows written since the backup failed") if queries else []
    rows += [{"table": name, "now": 0, "written": 0} for name in sorted(set(manifest.tables) - set(names))]
    told = [{**row, "in_backup": manifest.tables.get(row["table"], 0)} for row in rows]
    return [row for row in told if row["written"] or row["now"] != row["in_backup"]]


def compare(manifest: Facts, found: Facts) -> list[str]:
    """Return every difference between a backup's manifest and the database that it was restored into. Pure."""
    differences = []
    for name in sorted({*manifest.tables, *found.tables}):
        wanted, rows = manifest.tables.get(name), found.tables.get(name)
        if wanted != rows:
            differences.append(f"table {name}: {_rows(rows)}, the manifest says {_rows(wanted)}")
    for name in sorted({*manifest.sequences, *found.sequences}):
        if name not in manifest.sequences or name not in found.sequences:
            differences.append(f"sequence {name}: is {'missing' if name in manifest.sequences else 'not in the manifest'}")
        elif not _within(found.sequences[name][0], manifest.sequences[name]):
            low, high = manifest.sequences[name]
            differences.append(f"sequence {name}: {found.sequences[name][0]}, the manifest says {low} to {high}")
    if found.revision != manifest.revision:
        differences.append(f"Alembic's revision: {', '.join(found.revision)}, the manifest says {', '.join(manifest.revision)}")
    if set(found.extensions) != set(manifest.extensions):
        differences.append(f"extensions: {', '.join(found.extensions)}, the manifest says {', '.join(manifest.extensions)}")
    if found.large_objects != manifest.large_objects:
        differences.append(f"large objects: {found.large_objects}, the manifest says {manifest.large_objects}")
    invalid = sorted(set(found.invalid_indexes) - set(manifest.invalid_indexes))
    differences += [f"index {name}: invalid" for name in invalid]
    unproven = sorted(set(found.unvalidated_constraints) - set(manifest.unvalidated_constraints))
    differences += [f"constraint {name}: not validated" for name in unproven]
    return differences


def _within(value: int | None, seen: list[int | None]) -> bool:
    """Tell whether a sequence's value lies between the two readings; a reading of None is one before the first number."""
    if value is None or value in seen:
        return value in seen
    low, high = seen
    if high is None:
        return False
    return low is None or min(low, high) <= value <= max(low, high)


def _rows(count: int | None) -> str:
    return "missing" if count is None else f"{count} rows"


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return [str(row["name"]) for row in rows]


def _count(ask: Ask, tables: list[str]) -> dict[str, int]:
    """Count the rows of each table; ONLY, since a partition is a table of its own."""
    if not tables:
        return {}
    counts = " UNION ALL ".join(f"SELECT {literal(name)} AS name, count(*) AS rows FROM ONLY {name}" for name in tables)
    return {row["name"]: int(row["rows"]) for row in ask(counts, "Counting the rows failed")}
