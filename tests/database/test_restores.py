"""Restores: proven beside the live database, swapped by name, undone, and cut at any moment."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time

import psycopg2
import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import side_database
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import lock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from database_server import DATABASE, PASSWORD, USER, Server, docker, wait

#: Of each victim.
KILLS = int(os.environ.get("RESIDENCY_KILLS", "24" if os.environ.get("RESIDENCY_LONG_TESTS") else "10"))
DATABASE_FACTS = """
SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, datconnlimit,
  (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a),
  (SELECT array_agg(setconfig) FROM pg_db_role_setting WHERE setdatabase = d.oid) FROM pg_database d WHERE datname = current_database()
"""


def ledger(server: Server, database: str | None = None) -> str:
    return server.sql("SELECT count(*) FROM ledger", database)


def test_a_drill_touches_nothing_and_is_recorded(server: Server) -> None:
    state, metrics = server.folder / "state", server.folder / "metrics"
    name = server.dump()["name"]
    before = server.postgres.databases()
    done = server.restore("proven", state_dir=str(state), metrics_dir=str(metrics))
    assert (done["backup"]["name"], done["backup"]["rows"]) == (name, 521)
    assert server.postgres.databases() == before
    [record] = [json.loads(item.read_text(encoding="utf-8")) for item in (state / "drills").iterdir()]
    assert (record["verdict"], record["backup"]["name"]) == ("good", name)
    text = (metrics / "residency_scheduler_restore_drill.prom").read_text(encoding="utf-8")
    assert 'residency_scheduler_restore_drill_success{project="residency-database-test"} 1\n' in text


def test_a_failed_drill_is_recorded_too(server: Server) -> None:
    state, metrics = server.folder / "state", server.folder / "metrics"
    with pytest.raises(Problem, match="Looking for the newest backup failed"):
        server.restore("proven", state_dir=str(state), metrics_dir=str(metrics))
    [record] = [json.loads(item.read_text(encoding="utf-8")) for item in (state / "drills").iterdir()]
    assert record["verdict"] == "failed"
    assert "success{project" in (metrics / "residency_scheduler_restore_drill.prom").read_text(encoding="utf-8")


def test_what_cannot_be_written_neither_fails_a_drill_nor_hides_why_one_failed(server: Server) -> None:
    taken = server.folder / "taken"
    taken.write_text("in their place", encoding="utf-8")
    with pytest.raises(Problem, match="Looking for the newest backup failed"):
        server.restore("proven", state_dir=str(taken), metrics_dir=str(taken))
    server.dump()
    done = server.restore("proven", state_dir=str(taken), metrics_dir=str(taken))
    assert [check["verdict"] for check in done["checks"]] == ["pass", "warn", "warn"]


def test_a_restore_swaps_and_its_undoing_swaps_back(server: Server) -> None:
    like = server.sql(DATABASE_FACTS)
    name = server.dump()["name"]
    server.sql("INSERT INTO ledger (client, number) SELECT 'later', n FROM generate_series(1, 7) n; DELETE FROM residents WHERE id = 99;")
    server.sql("UPDATE ledger SET number = 0 WHERE id <= 3;")
    with pytest.raises(Problem) as caught:
        server.restore(backup=name)
    assert "public.ledger: 507 rows now, 500 in the backup; 10 written or changed since" in caught.value.message()
    assert f"confirm by the name {name}" in caught.value.message()
    assert server.restore(backup=name, check_mode=True)["changed"]
    assert ledger(server) == "507"
    done = server.restore(backup=name, confirm=name, safety_dump=True, instead_of="20260101T000000Z-v1.1.0")
    assert side_database.read_note(server.postgres, "20260101T000000Z-v1.1.0") == name
    assert side_database.read_note(server.postgres, "20260102T000000Z-v1.1.0") == "", "that is another way back"
    assert (ledger(server), ledger(server, done["kept"])) == ("500", "507")
    assert server.sql(DATABASE_FACTS) == like, "owner, encoding, locale, limits, grants and settings have to be those of before"
    assert server.sql("INSERT INTO ledger (client) VALUES ('next') RETURNING id") == "501"
    assert done["safety_backup"].endswith("_restore")
    assert server.restore("proven", backup=done["safety_backup"])["backup"]["rows"] == 528
    undone = server.restore("undone", confirm=done["kept"])
    assert (ledger(server), ledger(server, undone["kept"])) == ("507", "501")
    again = server.restore("undone", set_aside=undone["kept"], confirm=undone["kept"])
    assert (ledger(server), ledger(server, again["kept"])) == ("501", "507")


@pytest.mark.parametrize("confirm", ["", "residency_scheduler_20200101_000000"])
def test_nothing_is_swapped_without_the_right_name(confirm: str, server: Server) -> None:
    name = server.dump()["name"]
    before = server.postgres.databases()
    with pytest.raises(Problem, match="was not confirmed"):
        server.restore(backup=name, confirm=confirm)
    assert server.postgres.databases() == before


def test_a_revision_that_the_image_does_not_know_is_refused(server: Server) -> None:
    server.sql("UPDATE alembic_version SET version_num = 'from_the_future'")
    name = server.dump()["name"]
    with pytest.raises(Problem, match="is unknown to the image"):
        server.restore(backup=name, confirm=name)


def test_an_older_backup_is_migrated_before_it_becomes_live(server: Server) -> None:
    name = server.dump()["name"]
    server.revision("two", "one", "op.add_column('ledger', sa.Column('batch', sa.Integer))")
    assert server.migrate()["current"] == ["two"]
    done = server.restore(backup=name, confirm=name)
    assert done["migrated"] == ["two"]
    assert server.sql("SELECT version_num FROM alembic_version") == "two"
    assert server.sql("SELECT count(batch) FROM ledger") == "0"


def test_a_dropped_database_comes_back(server: Server) -> None:
    name = server.dump()["name"]
    server.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)", "postgres")
    done = server.restore(backup=name, confirm=name)
    assert ledger(server) == "500"
    assert done["set_aside"] == []


def test_what_was_set_aside_goes_after_its_time_with_a_restore(server: Server) -> None:
    aside, copy, foreign = f"{DATABASE}_before_20200101_000000", f"{DATABASE}_side_20200101_000000", f"{DATABASE}_beforehand"
    for name in (aside, copy, foreign):
        server.sql(f"CREATE DATABASE {name}", "postgres")
    backup = server.dump()["name"]
    # A drill runs unasked, at night: it drops what it could have made, and nothing that a person may still want.
    assert server.restore("proven")["swept"] == [copy]
    assert {aside, foreign} <= set(server.postgres.databases())
    assert server.restore(backup=backup, confirm=backup)["swept"] == [aside]
    assert foreign in server.postgres.databases()


def test_two_restores_at_once_refuse_each_other(server: Server) -> None:
    server.dump()
    with lock(server.postgres), pytest.raises(Problem, match="is at work on this database"):
        server.restore("proven")
    assert server.restore("proven")["backup"]


def test_prepared_transactions_are_told(server: Server) -> None:
    name = server.dump()["name"]
    server.sql("BEGIN; UPDATE ledger SET number = 1 WHERE id = 1; PREPARE TRANSACTION 'half done';")
    try:
        with pytest.raises(Problem, match="half done"):
            server.restore(backup=name, confirm=name)
    finally:
        server.sql("ROLLBACK PREPARED 'half done'")
    assert ledger(server) == "500"


def test_clients_that_come_again_and_again_do_not_stop_a_swap(server: Server) -> None:
    """Forty connections a second, and some that hold theirs: the swap ends them, and the outage is short."""
    name = server.dump()["name"]
    done, gaps, last = threading.Event(), [0.0], [time.monotonic()]

    def come() -> None:
        while not done.is_set():
            try:
                with psycopg2.connect(host=server.address, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=5) as one:
                    one.cursor().execute("SELECT pg_sleep(0.05)")
                gaps.append(time.monotonic() - last[0])
                last[0] = time.monotonic()
            except psycopg2.Error:
                continue

    clients = [threading.Thread(target=come) for _client in range(4)]
    for client in clients:
        client.start()
    try:
        seconds = server.restore(backup=name, confirm=name)["seconds"]["swap"]
    finally:
        done.set()
        for client in clients:
            client.join()
    assert seconds < 5
    assert max(gaps) < 5


SWAP = """
import sys
sys.path[:0] = {paths!r}
from ansible_collections.residency.scheduler.plugins.module_utils import side_database
from ansible_collections.residency.scheduler.plugins.module_utils.command import SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import Postgres
import time
postgres = Postgres({container!r}, {user!r}, {database!r}, SubprocessRunner(), ())
print("begin", flush=True)
side_database.swap(postgres, {incoming!r}, {aside!r}, time.monotonic)
"""


@pytest.mark.parametrize("victim", ["module", "renaming session", "server"])
def test_a_swap_that_is_killed_leaves_the_one_or_the_other(victim: str, server: Server) -> None:
    """The live name is there always, takes connections, and holds the rows of one of the two; nothing has to be unlocked."""
    chance, happened, hit = random.Random(f"20251222 {victim}"), 0, 0
    server.sql(f"CREATE DATABASE {DATABASE}_other TEMPLATE {DATABASE}", "postgres")
    server.sql("DELETE FROM ledger WHERE id <= 100", f"{DATABASE}_other")
    # How long it takes here, from its begin: the kills come before and after that moment, also on a slow machine.
    began = time.monotonic()
    side_database.swap(server.postgres, f"{DATABASE}_other", f"{DATABASE}_aside", time.monotonic)
    latest = max(0.6, 1.5 * (time.monotonic() - began))
    server.sql(f"ALTER DATABASE {DATABASE} RENAME TO {DATABASE}_other", "postgres")
    server.sql(f"ALTER DATABASE {DATABASE}_aside RENAME TO {DATABASE}", "postgres")
    for number in range(KILLS):
        incoming, aside = f"{DATABASE}_other", f"{DATABASE}_aside"
        text = SWAP.format(
            paths=sys.path, container=server.container, user=USER, database=DATABASE, incoming=incoming, aside=aside
        )
        # A client that holds a connection, so that the swap has something to end; and in half of the rounds one that holds the
        # second database, so that the swap stands between its two renames when it is killed.
        held = psycopg2.connect(host=server.address, user=USER, password=PASSWORD, dbname=DATABASE)
        between = psycopg2.connect(host=server.address, user=USER, password=PASSWORD, dbname="postgres")
        if number % 2:
            between.cursor().execute(f"COMMENT ON DATABASE {incoming} IS 'held'")
        process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, latest))
        if victim == "module":
            process.kill()
        elif victim == "server":
            docker("kill", "--signal", "KILL", server.container)
            docker("start", server.container)
            wait(server)
        else:
            pids = server.sql(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE '%RENAME TO%' AND pid <> pg_backend_pid()", "postgres"
            ).split()
            hit += len(pids)
            for pid in pids:
                docker("exec", server.container, "sh", "-c", f"kill -9 {pid} || true")
            wait(server)
        between.close()
        process.wait(90)
        process.stdout.close()
        held.close()
        time.sleep(0.3)  # a psql of the killed module may still be at its last statement
        wait(server)
        present = server.postgres.databases()
        assert DATABASE in present, f"kill {number}: the live name is missing"
        swapped = aside in present
        happened += swapped
        assert (incoming in present) != swapped, f"kill {number}: {sorted(present)}"
        rows = {ledger(server), ledger(server, aside if swapped else incoming)}
        assert rows == {"400", "500"}, f"kill {number}: {rows}"
        if swapped:
            server.sql(f"ALTER DATABASE {aside} RENAME TO {incoming}", "postgres")
    print(f"{victim}: {KILLS} kills, {happened} swaps happened, {KILLS - happened} did not")
    assert 0 < happened < KILLS, "the kills have to come before and after the swap"
    # On a busy machine many come before it has begun.
    assert victim != "renaming session" or hit >= KILLS / 8, "the renames have to be killed while they are at work"
    assert side_database.swap(server.postgres, f"{DATABASE}_other", f"{DATABASE}_aside", time.monotonic) < 5
