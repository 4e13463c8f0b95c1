# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup on disk: a folder that holds the dump, the roles, a manifest of what is in the dump, and the digests of all three.

A backup is made beside its place and published by one rename, so a folder with a backup's name is whole, or was damaged later.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.database_facts import Facts
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.streams import digest_file

SCHEMA = "residency.scheduler/backup/1"
DUMP, ROLES, MANIFEST, SUMS = "database.dump", "roles.sql", "manifest.json", "SHA256SUMS"
#: Why a backup was taken. Each pool is pruned by itself: many deployments never push the daily ones out.
POOLS = ("scheduled", "deployment", "restore")
_STAMP = "%Y%m%d_%H%M%S"
#: How far a time may lie ahead of the clock, which is set now and then.
AHEAD = timedelta(minutes=5)
_PARTIAL = ".partial_"


@dataclass(frozen=True)
class Backup:
    """A published backup.

    :ivar created: when its snapshot was taken.
    :ivar size: bytes of the dump.
    :ivar content: the whole manifest.
    """

    name: str
    path: str
    pool: str
    created: datetime
    size: int
    facts: Facts
    content: Mapping[str, Any]

    @property
    def dump(self) -> str:
        """Return the path of the dump."""
        return os.path.join(self.path, DUMP)

    def brief(self) -> dict[str, Any]:
        """Return what a list of backups shows."""
        return {
            "name": self.name,
            "path": self.path,
            "pool": self.pool,
            "created": self.created.isoformat(timespec="seconds"),
            "bytes": self.size,
            "revision": self.facts.revision,
            "release": dict(self.content["release"]),
            "rows": sum(self.facts.tables.values()),
        }


def folder(backup_dir: str) -> str:
    """Return the folder of the database's backups, which the checklist calls ``backups/postgres``."""
    return os.path.join(backup_dir, "postgres")


def name_of(database: str, pool: str, now: datetime) -> str:
    """Return a backup's name: the database, the time (UTC), and the pool unless it is the daily one's."""
    return f"{database}_{now:{_STAMP}}{'' if pool == POOLS[0] else '_' + pool}"


def names(backup_dir: str, database: str) -> list[str]:
    """Return the names of the database's backups, oldest first; what is in them was not looked at."""
    pattern = re.compile(re.escape(database) + r"_\d{8}_\d{6}(?:_(?:" + "|".join(POOLS[1:]) + "))?")
    try:
        with os.scandir(folder(backup_dir)) as entries:
            return sorted(item.name for item in entries if pattern.fullmatch(item.name) and item.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


@contextmanager
def locked(backup_dir: str, wait: float) -> Iterator[None]:
    """Let one process at a time write in the folder; the kernel frees the lock when its holder ends, however it ends.

    :raises Problem: another one writes there for longer than *wait* seconds.
    """
    os.makedirs(folder(backup_dir), mode=0o700, exist_ok=True)
    descriptor = os.open(folder(backup_dir), os.O_RDONLY)
    deadline = time.monotonic() + wait
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    why = f"another backup has been writing to {folder(backup_dir)} for {wait:.0f} s"
                    raise Problem("Taking a backup failed", why, "Wait for it to end, then run this again.") from None
                time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


def sweep_partial(backup_dir: str) -> list[str]:
    """Remove what a backup that was cut has left; the lock has to be held. Return the names."""
    left = sorted(name for name in os.listdir(folder(backup_dir)) if name.startswith(_PARTIAL))
    for name in left:
        shutil.rmtree(os.path.join(folder(backup_dir), name))
    return left


def begin(backup_dir: str, name: str) -> str:
    """Make the folder in which a backup grows, and return it."""
    path = os.path.join(folder(backup_dir), _PARTIAL + name)
    if os.path.exists(os.path.join(folder(backup_dir), name)):
        raise Problem("Taking a backup failed", f"{name} exists: names have whole seconds", "Run this again.")
    os.mkdir(path, 0o700)
    return path


def publish(partial: str, manifest: Mapping[str, Any]) -> None:
    """Write manifest and digests, and give the backup its name. Everything is on the disk then."""
    _write(os.path.join(partial, MANIFEST), json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    sums = "".join(f"{digest_file(os.path.join(partial, name))}  {name}\n" for name in (DUMP, ROLES, MANIFEST))
    _write(os.path.join(partial, SUMS), sums)
    parent = os.path.dirname(partial)
    final = os.path.join(parent, os.path.basename(partial).removeprefix(_PARTIAL))
    _sync(partial)
    os.rename(partial, final)
    _sync(parent)


def read(backup_dir: str, name: str) -> Backup:
    """Return a backup by its name, without reading the dump.

    :raises Problem: there is none, or its manifest cannot be read.
    """
    path = os.path.join(folder(backup_dir), name)
    if not name or os.path.basename(name) != name or not os.path.isdir(path):
        raise Problem(
            f"Reading the backup {name} failed",
            f"{folder(backup_dir)} has no folder of this name",
            "List the backups: ls " + folder(backup_dir),
        )
    try:
        content = json.loads(read_text(os.path.join(path, MANIFEST)))
        if content["schema"] != SCHEMA or content["name"] != name:
            raise ValueError(f"it is the manifest of {content['name']}, {content['schema']}")
        return Backup(
            name=name,
            path=path,
            pool=str(content["pool"]),
            created=datetime.fromisoformat(content["created"]),
            size=int(content["dump"]["bytes"]),
            facts=Facts.from_dict(content["facts"]),
            content={**content, "release": dict(content["release"])},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Problem(f"Reading the backup {name} failed", f"its manifest cannot be read ({error!r})", _DAMAGED) from error


_DAMAGED = "It is damaged, and must not be restored. Take another one."


def check_integrity(backup: Backup) -> None:
    """Compare every file with its digest.

    :raises Problem: a file is missing, or is not the one that was written.
    """
    what = f"Checking the backup {backup.name} failed"
    listed = dict(line.split("  ", 1)[::-1] for line in read_text(os.path.join(backup.path, SUMS)).splitlines() if "  " in line)
    if set(listed) != {DUMP, ROLES, MANIFEST}:
        raise Problem(what, f"{SUMS} lists {', '.join(sorted(listed)) or 'nothing'}, and not its three files", _DAMAGED)
    for name, wanted in listed.items():
        if digest_file(os.path.join(backup.path, name)) != wanted:
            raise Problem(what, f"{name} is not the file that was written: its SHA-256 differs", _DAMAGED)
    if listed[DUMP] != backup.content["dump"]["sha256"]:
        raise Problem(what, f"{DUMP} is the dump of another backup", _DAMAGED)


def decide_prune(
    present: Sequence[Backup], coming: str, now: datetime, days: int, keep: int, needed: Sequence[str] = ()
) -> list[Backup]:
    """Return the backups to remove once one more is there: older than *days*, and not among the newest *keep* of their pool. Pure.

    :arg present: those that are whole; a damaged one neither counts nor is removed.
    :arg coming: the pool of the one more.
    :arg needed: names that stay whatever their age, such as those that a rollback would restore.
    """
    removed = []
    for pool in POOLS:
        ordered = sorted((item for item in present if item.pool == pool), key=lambda item: item.created)
        kept = max(0, keep - (pool == coming))
        old = [item for item in ordered[: max(0, len(ordered) - kept)] if now - item.created > timedelta(days=days)]
        removed += [item for item in old if item.name not in needed]
    return removed


def whole(backup_dir: str, database: str) -> list[Backup]:
    """Return the backups that can be read and whose dump has its full size, oldest first."""
    found = []
    for name in names(backup_dir, database):
        try:
            backup = read(backup_dir, name)
            if os.path.getsize(backup.dump) == backup.size:
                found.append(backup)
        except (Problem, OSError):
            continue
    return found


def newest(backup_dir: str, database: str) -> Backup:
    """Return the newest backup of any pool.

    One that is dated after now was taken while the clock was ahead, and is passed over: it would stay the newest for as long.

    :raises Problem: there is none; the newest folder is damaged is one as well, rather than an older backup unasked.
    """
    stamps = {name: name.removeprefix(f"{database}_")[:15] for name in names(backup_dir, database)}
    latest = f"{now_utc() + AHEAD:{_STAMP}}"
    listed = sorted((name for name, stamp in stamps.items() if stamp <= latest), key=lambda name: stamps[name])
    if not listed:
        ahead = f", but {len(stamps)} dated after now" if stamps else ""
        why = f"{folder(backup_dir)} has no backup of {database}{ahead}"
        raise Problem("Looking for the newest backup failed", why, "Take one: ansible-playbook playbooks/backup.yml.")
    return read(backup_dir, listed[-1])


def remove(backup: Backup) -> None:
    """Remove a backup; it loses its name first, so that a half removed one is never taken for whole."""
    parent, name = os.path.split(backup.path)
    gone = os.path.join(parent, f"{_PARTIAL}removed_{name}")
    os.rename(backup.path, gone)
    shutil.rmtree(gone)


def now_utc() -> datetime:
    """Return the time in whole seconds, as names and manifests have it."""
    return datetime.now(UTC).replace(microsecond=0)


def _write(path: str, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
