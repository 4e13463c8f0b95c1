"""The database server that these tests share; every test has a database, an application and a folder for backups of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from database_server import PROJECT, Server, docker, start


@pytest.fixture(name="cluster", scope="session")
def cluster_fixture() -> Iterator[Server]:
    """A running PostgreSQL."""
    try:
        yield start()
    finally:
        docker("rm", "--force", "--volumes", PROJECT, check=False)


@pytest.fixture(name="server")
def server_fixture(cluster: Server, tmp_path: Path) -> Server:
    """PostgreSQL with a fresh database at revision ``one``."""
    server = replace(cluster, folder=tmp_path)
    server.reset()
    server.application()
    return server
