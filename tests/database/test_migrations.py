"""Migrations: rehearsed on a copy, under a lock, with time limits, and truthful when they fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.migration_guard import LOCK_KEY
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from database_server import DATABASE, PASSWORD, USER, Server

ADD = "op.add_column('{0}', sa.Column('{1}', sa.Integer))"
FILES = "SELECT relname, relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
CONCURRENTLY = """with op.get_context().autocommit_block():
    op.create_index('ix_ledger_number', 'ledger', ['number'], postgresql_concurrently=True)"""


@contextmanager
def holding(server: Server, sql: str) -> Iterator[None]:
    """Hold what *sql* locks in an open transaction."""
    connection = psycopg2.connect(host=server.address, user=USER, password=PASSWORD, dbname=DATABASE, application_name="somebody")
    try:
        connection.cursor().execute(sql)
        yield
    finally:
        connection.close()


def test_a_migration_runs_once_and_tells_its_steps(server: Server) -> None:
    server.revision("two", "one", ADD.format("ledger", "batch"), "op.drop_column('ledger', 'batch')")
    server.revision("three", "two", "op.drop_column('residents', 'name')\nop.execute('DELETE FROM ledger')")
    server.revision("four", "three", CONCURRENTLY)
    plan = server.migrate(check_mode=True)
    assert server.sql("SELECT version_num FROM alembic_version") == "one"
    assert plan["notes"] == [
        "upgrade two: Revision two; in a transaction",
        "upgrade three: Revision three; in a transaction; DROPS THE COLUMN NAME; DELETES ROWS OF LEDGER; "
        "NO DOWNGRADE: the way back is the backup",
        "upgrade four: Revision four; NOT in a transaction: a failure leaves its first part behind; "
        "NO DOWNGRADE: the way back is the backup",
    ]
    assert "ALTER TABLE ledger ADD COLUMN batch INTEGER;" in plan["diff"]["after"]
    assert server.migrate()["current"] == ["four"]
    assert not server.migrate()["changed"]


def test_a_rehearsal_tells_seconds_locks_and_rows_and_touches_nothing(server: Server) -> None:
    indexed = "op.create_index('ix', 'ledger', ['number'])\nop.execute('SELECT pg_sleep(0.5)')\n"
    server.revision("two", "one", indexed + ADD.format("residents", "x"))
    server.revision("three", "two", "op.create_table('leave', sa.Column('id', sa.Integer))")
    server.dump()
    before = server.sql(FILES)
    done = server.rehearse()
    assert done["rehearsed"]
    assert server.sql(FILES) == before
    assert server.sql("SELECT version_num FROM alembic_version") == "one"
    assert not [name for name in server.postgres.databases() if "_side_" in name]
    locks = {item["table"]: item for item in done["locks"]}
    assert (locks["ledger"]["mode"], locks["ledger"]["blocks"]) == ("ShareLock", "writers")
    assert locks["ledger"]["seconds"] >= 0.5
    assert locks["residents"]["blocks"] == "readers and writers"
    assert "leave" not in locks
    assert done["rows"]["public.leave"] == {"before": None, "after": 0}
    assert done["seconds"]["migration"] >= 0.5
    assert "public.leave: no -> 0 rows" in done["checks"][0]["found"]


@pytest.mark.parametrize(
    ("up", "why"),
    [
        ("op.execute('SELECT nothing_like_it()')", "nothing_like_it"),
        ("op.execute('DELETE FROM ledger WHERE id <= 3')", r"public.ledger \(500 rows before, 497 after\)"),
        ("op.drop_table('ledger')", r"public.ledger \(500 rows before, no table after\)"),
        (CONCURRENTLY + "\nop.execute('SELECT nothing_like_it()')", "would leave behind: new: index ix_ledger_number"),
        ("op.execute('SELECT pg_sleep(3)')", "statement timeout"),
    ],
)
def test_a_rehearsal_finds_what_would_go_wrong(up: str, why: str, server: Server) -> None:
    server.revision("two", "one", up)
    server.dump()
    with pytest.raises(Problem, match=why) as caught:
        server.rehearse(statement_timeout=1)
    assert "goes on serving" in caught.value.message()
    assert (server.sql("SELECT count(*) FROM ledger"), server.sql("SELECT version_num FROM alembic_version")) == ("500", "one")
    assert not [name for name in server.postgres.databases() if "_side_" in name]


def test_a_loss_that_is_meant_and_a_database_that_is_too_large(server: Server) -> None:
    server.revision("two", "one", "op.execute('DELETE FROM ledger WHERE id <= 3')")
    server.dump()
    assert server.rehearse(row_loss_allowed=["public.ledger"])["rehearsed"]
    skipped = server.rehearse(max_bytes=1000)
    assert (skipped["rehearsed"], skipped["checks"][0]["verdict"]) == (False, "warn")
    assert "more than the 1.0 kB" in skipped["skipped"]


def test_a_transactional_failure_leaves_the_database_unchanged(server: Server) -> None:
    server.revision("two", "one", ADD.format("ledger", "batch"))
    server.revision("three", "two", ADD.format("residents", "email") + "\nop.execute('SELECT nothing_like_it()')")
    server.revision("four", "three", "pass")
    with pytest.raises(Problem, match="the database is unchanged, at one"):
        server.migrate()
    assert server.sql("SELECT count(*) FROM information_schema.columns WHERE column_name IN ('batch', 'email')") == "0"


def test_what_an_autocommit_block_leaves_behind_is_named(server: Server) -> None:
    server.revision("two", "one", ADD.format("ledger", "batch"))
    server.revision("three", "two", CONCURRENTLY + "\nop.execute('SELECT nothing_like_it()')")
    with pytest.raises(Problem) as caught:
        server.migrate()
    message = caught.value.message()
    assert "it went from one to two, and not to three; left behind: new: index ix_ledger_number" in message
    assert "column ledger.batch" not in message, "that one belongs to a revision that was applied"
    assert "DROP INDEX CONCURRENTLY" in message
    assert server.sql("SELECT version_num FROM alembic_version") == "two"


def test_an_index_that_is_invalid_afterwards_is_no_success(server: Server) -> None:
    """IF NOT EXISTS takes the invalid index of a killed run for a good one; so does Alembic."""
    server.sql("INSERT INTO ledger (id, client) VALUES (1001, 'twice'), (1002, 'twice');")
    up = """try:
    with op.get_context().autocommit_block():
        op.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_once ON ledger (client)")
except Exception:
    op.get_context()._transaction = None"""
    server.revision("two", "one", up)
    with pytest.raises(Problem) as caught:
        server.migrate()
    assert "ix_once" in caught.value.message()


def test_readers_go_on_while_a_migration_waits_for_a_lock(server: Server) -> None:
    """It gives up its place in time, tries again, names who holds the lock, and in the end changes nothing."""
    server.revision("two", "one", ADD.format("ledger", "batch"))
    done, longest = threading.Event(), [0.0]

    def read() -> None:
        with psycopg2.connect(host=server.address, user=USER, password=PASSWORD, dbname=DATABASE) as connection:
            while not done.is_set():
                started = time.monotonic()
                connection.cursor().execute("SELECT count(*) FROM ledger")
                connection.commit()
                longest[0] = max(longest[0], time.monotonic() - started)

    readers = [threading.Thread(target=read) for _reader in range(3)]
    for reader in readers:
        reader.start()
    try:
        with holding(server, "SELECT count(*) FROM ledger"), pytest.raises(Problem) as caught:
            server.migrate(lock_timeout=1.0, lock_attempts=3)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert "a lock could not be had in 3 attempts, held by process" in caught.value.message()
    assert "(somebody, idle in transaction for" in caught.value.message()
    assert "the database is unchanged, at one" in caught.value.message()
    assert 0.5 < longest[0] < 2.5, "a reader waits as long as the migration does, and no longer"
    assert server.migrate()["attempts"] == 1


def test_a_lock_that_is_released_in_time_is_had_by_a_later_attempt(server: Server) -> None:
    server.revision("two", "one", ADD.format("ledger", "batch"))
    held = holding(server, "SELECT count(*) FROM ledger")
    held.__enter__()
    timer = threading.Timer(5.0, lambda: held.__exit__(None, None, None))
    timer.start()
    done = server.migrate(lock_timeout=1.0)
    timer.join()
    assert done["attempts"] > 1
    assert done["current"] == ["two"]


def test_two_migrations_never_run_side_by_side(server: Server) -> None:
    server.revision("two", "one", ADD.format("ledger", "batch"))
    with holding(server, f"SELECT pg_advisory_lock({LOCK_KEY})"), pytest.raises(Problem, match="another migration of this database"):
        server.migrate()
    assert server.migrate()["changed"]


@pytest.mark.parametrize(
    ("revisions", "why"),
    [
        ([("two", "one"), ("also_two", "one")], "2 heads: also_two, two"),
        ([("two", "nowhere")], "broken.*nowhere"),
        ([("a_revision_with_a_name_that_the_column_cannot_hold", "one")], "holds 32 characters"),
    ],
)
def test_a_broken_history_is_refused(revisions: list[tuple[str, str]], why: str, server: Server) -> None:
    for name, after in revisions:
        server.revision(name, after, "pass")
    with pytest.raises(Problem, match=why):
        server.migrate()
    assert server.sql("SELECT version_num FROM alembic_version") == "one"


def test_a_double_revision_id_is_refused(server: Server) -> None:
    server.revision("two", "one", "pass")
    folder = server.folder / "application/alembic/versions"
    (folder / "again.py").write_text((folder / "two.py").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(Problem, match="two is present more than once"):
        server.migrate()


def test_a_database_ahead_is_refused(server: Server) -> None:
    server.sql("UPDATE alembic_version SET version_num = 'from_the_future'")
    with pytest.raises(Problem, match="the database is ahead of the code"):
        server.migrate()
