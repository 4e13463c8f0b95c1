"""What do a backup's manifest, its proof and its rehearsal cost, against a plain pg_dump? And how long is the outage of a restore?

A PostgreSQL in a container of its own, with a database of about 10 MB and then of 1 GB (RESIDENCY_BENCHMARK_ROWS sets another size).
Prints a Markdown table; read the ratios, which come from the same run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests/database")]

import psycopg2  # noqa: E402
from database_server import DATABASE, PASSWORD, PROJECT, USER, Server, docker, start  # noqa: E402

ROWS = [int(rows) for rows in os.environ.get("RESIDENCY_BENCHMARK_ROWS", "25000 5800000").split()]


def fill(server: Server, rows: int) -> float:
    """Fill the database; return its size in MB."""
    server.reset()
    server.sql("ALTER TABLE ledger ADD COLUMN note text")
    text = "md5(n::text) || ' resident ' || n % 900 || ' on duty from ' || (timestamptz '2025-01-01' + n * interval '1 minute')::text"
    columns = f"'client ' || n % 900, n, 1 + n % 20, {text}"
    sql = f"INSERT INTO ledger (client, number, resident_id, note) SELECT {columns} FROM generate_series(1, {rows}) n; ANALYZE;"
    server.postgres.run(f"SET statement_timeout = 0; {sql}", "Filling failed", timeout=1200)
    return server.postgres.size() / 1e6


def plain(server: Server, folder: Path) -> float:
    """Dump as the manual way does; return the seconds."""
    target = folder / "plain.dump"
    started = time.monotonic()
    with target.open("wb") as stream:
        command = ["docker", "exec", server.container, "pg_dump", "-U", USER, "-Fc", DATABASE]
        subprocess.run(command, stdout=stream, check=True)
        os.fsync(stream.fileno())
    target.unlink()
    return time.monotonic() - started


def outage(server: Server, backup: str) -> tuple[float, float]:
    """Restore while a client asks fifty times a second, each time anew; return the longest gap and the seconds of the whole."""
    done, answered = threading.Event(), [time.monotonic()]
    gaps: list[float] = []

    def ask() -> None:
        while not done.wait(0.02):
            try:
                with psycopg2.connect(host=server.address, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=10) as one:
                    one.cursor().execute("SELECT 1")
            except psycopg2.Error:
                continue
            gaps.append(time.monotonic() - answered[0])
            answered[0] = time.monotonic()

    client = threading.Thread(target=ask)
    client.start()
    try:
        whole = server.restore(backup=backup, confirm=backup)["seconds"]["whole"]
    finally:
        done.set()
        client.join()
    return max(gaps), whole


def main() -> None:
    """Measure and print."""
    server = start()
    try:
        with tempfile.TemporaryDirectory(prefix="residency-benchmark-") as name:
            print("| database, MB | pg_dump -Fc, s | backup, s | ratio | read back, proof, rehearsal, s | ratio | outage of a restore, s |")
            print("|---|---|---|---|---|---|---|")
            for rows in ROWS:
                server = replace(server, folder=Path(name) / str(rows))
                server.folder.mkdir()
                size = fill(server, rows)
                server.application()
                server.revision("two", "one", "op.add_column('ledger', sa.Column('batch', sa.Integer))")
                before = plain(server, server.folder)
                taken = server.dump()
                typed = (before + plain(server, server.folder)) / 2
                backup = taken["seconds"]["whole"] - taken["seconds"]["read_back"]
                rehearsal = server.rehearse()["seconds"]
                proof = taken["seconds"]["read_back"] + rehearsal["whole"] - rehearsal["migration"]
                (server.folder / "application/alembic/versions/two.py").unlink()
                gap, _whole = outage(server, taken["name"])
                print(
                    f"| {size:.0f} | {typed:.1f} | {backup:.1f} | {backup / typed:.2f} | {proof:.1f} | {proof / typed:.2f} | {gap:.2f} |",
                    flush=True,
                )
    finally:
        docker("rm", "--force", "--volumes", PROJECT, check=False)


if __name__ == "__main__":
    main()
