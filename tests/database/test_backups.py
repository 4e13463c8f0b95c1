"""Backups: what is in them, which are refused, which are removed."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import threading
from datetime import timedelta
from pathlib import Path

import psycopg2
import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import backups
from ansible_collections.residency.scheduler.plugins.module_utils.backups import now_utc
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from database_server import DATABASE, PASSWORD, USER, Server

DAMAGED = int(os.environ.get("RESIDENCY_DAMAGED_BACKUPS", "300"))


def test_a_backup_says_what_is_in_it(server: Server) -> None:
    taken = server.dump()
    facts = taken["manifest"]["facts"]
    assert facts["tables"] == {"public.alembic_version": 1, "public.ledger": 500, "public.residents": 20}
    assert facts["sequences"] == {"public.ledger_id_seq": [500, 500], "public.residents_id_seq": [20, 20]}
    assert (facts["revision"], facts["large_objects"], facts["roles"]) == (["one"], 1, ["reader", USER])
    path = Path(taken["path"])
    assert sorted(item.name for item in path.iterdir()) == ["SHA256SUMS", "database.dump", "manifest.json", "roles.sql"]
    assert {stat.S_IMODE(item.stat().st_mode) for item in path.iterdir()} == {0o600}
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert "CREATE ROLE reader" in (path / "roles.sql").read_text(encoding="utf-8")
    everything = b"".join(item.read_bytes() for item in path.iterdir())
    assert PASSWORD.encode() not in everything
    assert b"SCRAM-SHA-256$" not in everything


def test_a_backup_is_good_though_its_figures_cannot_be_written(server: Server) -> None:
    folder = server.folder / "metrics"
    folder.write_text("in its place", encoding="utf-8")
    taken = server.dump(metrics_dir=str(folder))
    assert [check["verdict"] for check in taken["checks"]] == ["pass", "warn"]
    assert str(folder) in taken["checks"][1]["found"]
    assert taken["checks"][1]["remedy"]
    folder.unlink()


def test_the_manifest_is_of_the_snapshot_that_was_dumped(server: Server) -> None:
    """Rows that are written while the dump runs are in both, or in neither."""
    done = threading.Event()

    def write() -> None:
        connection = psycopg2.connect(host=server.address, user=USER, password=PASSWORD, dbname=DATABASE)
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not done.is_set():
                cursor.execute("INSERT INTO ledger (client, number) SELECT 'busy', n FROM generate_series(1, 50) n")
                cursor.execute("DELETE FROM ledger WHERE id IN (SELECT id FROM ledger LIMIT 5)")
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        taken = [server.dump() for _round in range(4)]
    finally:
        done.set()
        writer.join()
    for backup in taken:
        assert server.restore("proven", backup=backup["name"])["checks"][0]["verdict"] == "pass"
    assert len({backup["manifest"]["facts"]["tables"]["public.ledger"] for backup in taken}) > 1, "nobody wrote meanwhile"


def damage(victim: Path, kind: str, chance: random.Random, other: Path) -> None:
    """Damage a file in one of the ways that disks, networks and people know."""
    content = bytearray(victim.read_bytes())
    if kind == "cut":
        victim.write_bytes(content[: chance.randrange(len(content))])
    elif kind == "flip":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        victim.write_bytes(content)
    elif kind == "empty":
        victim.write_bytes(b"")
    elif kind == "remove":
        victim.unlink()
    else:
        victim.write_bytes((other / victim.name).read_bytes())


def test_no_damaged_backup_is_accepted(server: Server, tmp_path: Path) -> None:
    """Truncated, a bit flipped, emptied, files of another backup: all of it has to be seen before anything is made."""
    good = Path(server.dump()["path"])
    server.sql("INSERT INTO residents (name) VALUES ('one more'); CREATE ROLE one_more; GRANT SELECT ON residents TO one_more;")
    other = Path(server.dump()["path"])
    scratch = tmp_path / "damaged" / "postgres" / good.name
    chance, accepted = random.Random(20251222), []
    for number in range(DAMAGED):
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(good, scratch)
        victim = chance.choice(["database.dump", "database.dump", "database.dump", "manifest.json", "roles.sql", "SHA256SUMS"])
        kind = chance.choice(["cut", "flip", "flip", "empty", "other", "remove"])
        damage(scratch / victim, kind, chance, other)
        try:
            backups.check_integrity(backups.read(str(tmp_path / "damaged"), good.name))
            accepted.append(f"{number}: {kind} {victim}")
        except Problem:
            continue
    server.sql("REVOKE SELECT ON residents FROM one_more; DROP ROLE one_more;")
    assert not accepted
    shutil.rmtree(scratch)
    shutil.copytree(other, scratch)
    with pytest.raises(Problem, match="Reading the backup"):
        backups.read(str(tmp_path / "damaged"), good.name)


def test_a_damaged_dump_is_refused_before_anything_is_made(server: Server) -> None:
    dump = Path(server.dump()["path"]) / "database.dump"
    dump.write_bytes(dump.read_bytes()[:-100])
    with pytest.raises(Problem) as caught:
        server.restore("proven")
    assert "its SHA-256 differs" in caught.value.message()
    assert sorted(server.postgres.databases()) == ["postgres", DATABASE, "template0", "template1"]


def test_a_dump_that_differs_from_its_manifest_does_not_pass_for_proven(server: Server) -> None:
    """All digests are right, and the rows are not those that the manifest counts: only restoring it can tell."""
    path = Path(server.dump()["path"])
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest["facts"]["tables"]["public.ledger"] += 1
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    sums = "".join(f"{backups.digest_file(str(path / name))}  {name}\n" for name in ("database.dump", "roles.sql", "manifest.json"))
    (path / "SHA256SUMS").write_text(sums, encoding="utf-8")
    with pytest.raises(Problem) as caught:
        server.restore("proven")
    assert "table public.ledger: 500 rows, the manifest says 501 rows" in caught.value.message()
    assert not [name for name in server.postgres.databases() if "_side_" in name]


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        (("database",), "payroll", "it is one of the database payroll"),
        (("origin", "server_version"), 990000, "PostgreSQL 99 wrote it"),
        (("origin", "bytes"), 10**15, "a copy needs"),
        (("facts", "roles"), ["nobody_here"], "the roles nobody_here do not exist"),
    ],
)
def test_what_this_server_cannot_take_is_refused(field: tuple[str, ...], value: object, why: str, server: Server) -> None:
    path = Path(server.dump()["path"])
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    inner = manifest
    for key in field[:-1]:
        inner = inner[key]
    inner[field[-1]] = value
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    sums = "".join(f"{backups.digest_file(str(path / name))}  {name}\n" for name in ("database.dump", "roles.sql", "manifest.json"))
    (path / "SHA256SUMS").write_text(sums, encoding="utf-8")
    with pytest.raises(Problem) as caught:
        server.restore("proven")
    assert why in caught.value.message()
    assert not [name for name in server.postgres.databases() if "_side_" in name]


def test_a_failed_dump_leaves_nothing_and_removes_nothing(server: Server) -> None:
    first = server.dump()["name"]
    server.sql("BEGIN; LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'in the way';")
    try:
        with pytest.raises(Problem) as caught:
            server.dump(keep=1, retention_days=0, timeout=2)
    finally:
        server.sql("ROLLBACK PREPARED 'in the way';")
    assert "Taking a backup failed" in caught.value.message()
    assert os.listdir(server.backup_dir / "postgres") == [first]


def test_too_little_space_is_told_first(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs

    class Full:
        f_bavail, f_frsize = 10, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: Full() if str(path).startswith(str(server.folder)) else real(path))
    with pytest.raises(Problem) as caught:
        server.dump()
    assert "the dump, in" in caught.value.message()
    assert not server.backup_dir.exists()


def test_a_killed_backup_is_swept_and_never_taken_for_one(server: Server) -> None:
    os.makedirs(server.backup_dir / "postgres/.partial_residency_scheduler_20200101_000000")
    taken = server.dump()
    assert taken["swept"] == [".partial_residency_scheduler_20200101_000000"]
    assert os.listdir(server.backup_dir / "postgres") == [taken["name"]]


def test_two_backups_at_once_wait_for_each_other(server: Server) -> None:
    with backups.locked(str(server.backup_dir), 1), pytest.raises(Problem) as caught:
        server.dump(timeout=1)
    assert "another backup has been writing" in caught.value.message()


def test_old_backups_go_by_age_and_by_number_each_pool_by_itself(server: Server) -> None:
    def age(name: str, days: int) -> str:
        """Make a backup look as old as that."""
        then = now_utc() - timedelta(days=days)
        old = server.backup_dir / "postgres" / name
        suffix = "_deployment" if name.endswith("_deployment") else ""
        renamed = old.with_name(f"{DATABASE}_{then:%Y%m%d_%H%M%S}{suffix}")
        manifest = json.loads((old / "manifest.json").read_text(encoding="utf-8"))
        manifest |= {"name": renamed.name, "created": then.isoformat()}
        (old / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        old.rename(renamed)
        return renamed.name

    old = [age(server.dump()["name"], days) for days in (90, 60, 40)]
    deployment = age(server.dump(pool="deployment")["name"], 100)
    young = age(server.dump()["name"], 5)
    damaged = server.backup_dir / "postgres" / age(server.dump()["name"], 50)
    (damaged / "database.dump").write_bytes(b"")
    planned = server.dump(keep=3, retention_days=30)
    assert planned["removed"] == old[:2]
    left = set(os.listdir(server.backup_dir / "postgres"))
    assert left == {old[2], deployment, young, damaged.name, planned["name"]}
