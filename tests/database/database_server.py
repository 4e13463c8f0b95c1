"""A real PostgreSQL in a container of its own, an application with real Alembic revisions, and the modules at work on both."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.alembic import LIMITS_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.backups import now_utc
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import Postgres
from ansible_collections.residency.scheduler.plugins.modules import alembic_migrate, migration_rehearsal, postgres_dump, postgres_restore

IMAGE = "residency-bed/postgres:15"
PROJECT = "residency-database-test"
DATABASE, USER, PASSWORD = "residency_scheduler", "scheduler", "s3cret-of-the-test"

ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine, pool

url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url, poolclass=pool.NullPool).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""
REVISION = '''"""{message}"""
from alembic import op
import sqlalchemy as sa
revision, down_revision, branch_labels, depends_on = {name!r}, {after!r}, None, None

def upgrade():
    {up}

def downgrade():
    {down}
'''
#: A schema with what a dump may lose: sequences, a constraint, a large object, settings and grants of the database.
SCHEMA = f"""
CREATE TABLE residents (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE ledger (id serial PRIMARY KEY, client text, number int, resident_id int REFERENCES residents (id));
CREATE INDEX ix_ledger_client ON ledger (client);
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('one');
INSERT INTO residents (name) SELECT 'resident ' || n FROM generate_series(1, 20) n;
INSERT INTO ledger (client, number, resident_id) SELECT 'client', n, 1 + n % 20 FROM generate_series(1, 500) n;
SELECT lo_create(0);
ALTER DATABASE {DATABASE} SET search_path TO "$user", public;
ALTER DATABASE {DATABASE} SET statement_timeout TO '30s';
REVOKE CONNECT ON DATABASE {DATABASE} FROM PUBLIC;
GRANT CONNECT ON DATABASE {DATABASE} TO reader;
GRANT SELECT ON residents TO reader;
"""


class Runner(SubprocessRunner):
    """The real runner, but that a one-shot container of the application is a process of this machine instead.

    There is no image here; the script, Alembic and the database are the real ones.
    """

    def __init__(self, application: Path) -> None:
        self.application = application

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Run *argv*, ``docker compose run ... python -`` in the application's folder."""
        if argv[:2] == ["docker", "compose"] and "run" in argv:
            done = subprocess.run(
                [sys.executable, "-"], input=stdin, capture_output=True, text=True, check=False, cwd=self.application, timeout=timeout
            )
            return CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr, 0.1)
        return super().run(argv, stdin=stdin, timeout=timeout)


@dataclass
class Server:
    """The container, and the folders of one test."""

    container: str
    folder: Path

    @property
    def address(self) -> str:
        """Return the container's address, which may be another one after each start."""
        return docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.container).strip()

    @property
    def postgres(self) -> Postgres:
        """Return the adapter that the modules use."""
        return Postgres(self.container, USER, DATABASE, SubprocessRunner(), (PASSWORD,))

    @property
    def url(self) -> str:
        """Return the application's URL of the database."""
        return f"postgresql+psycopg2://{USER}:{PASSWORD}@{self.address}:5432/{DATABASE}"

    @property
    def backup_dir(self) -> Path:
        """Return the folder of the backups."""
        return self.folder / "backups"

    def sql(self, text: str, database: str | None = None) -> str:
        """Run SQL and return what it printed."""
        return self.postgres.run(text, "Running SQL failed", database=database).strip()

    def reset(self) -> None:
        """Make the application's database anew, and drop all others."""
        for name in self.postgres.databases():
            if name not in ("postgres", "template0", "template1"):
                self.sql(f'DROP DATABASE "{name}" WITH (FORCE);', "postgres")
        self.sql(f"CREATE DATABASE {DATABASE};", "postgres")
        self.sql("DO $$ BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$;")
        self.sql(SCHEMA)

    def application(self) -> Path:
        """Make the application's folder with alembic.ini, and revision ``one``, at which the database stands."""
        folder = self.folder / "application"
        (folder / "alembic/versions").mkdir(parents=True, exist_ok=True)
        (folder / "alembic/env.py").write_text(ENVIRONMENT, encoding="utf-8")
        ini = f"[alembic]\nscript_location = {folder}/alembic\nsqlalchemy.url = {self.url}\n"
        (folder / "alembic.ini").write_text(ini, encoding="utf-8")
        self.revision("one", None, "pass")
        return folder

    def revision(self, name: str, after: str | None, up: str, down: str = "raise NotImplementedError") -> None:
        """Write a revision; *up* and *down* are lines of Python."""
        text = REVISION.format(
            name=name, after=after, message=f"Revision {name}", up=up.replace("\n", "\n    "), down=down.replace("\n", "\n    ")
        )
        (self.folder / f"application/alembic/versions/{name}.py").write_text(text, encoding="utf-8")

    def parameters(self, **more: Any) -> dict[str, Any]:
        """Return what all modules are given."""
        (self.folder / ".env").write_text(f"DB_PASSWORD='{PASSWORD}'\n", encoding="utf-8")
        project = {"name": PROJECT, "directory": str(self.folder), "files": ["docker-compose.yml"], "env_file": ".env"}
        limits = {name: option["default"] for name, option in LIMITS_SPEC.items()}
        common = {"project": project, "service": "backend", "config": "alembic.ini", "database_service": "db", "timeout": 300}
        return {**common, **limits, "backup_dir": str(self.backup_dir), "state_dir": None, "metrics_dir": None, **more}

    def dump(self, **more: Any) -> dict[str, Any]:
        """Take a backup."""
        defaults = {"pool": "scheduled", "retention_days": 30, "keep": 7, "compression": None, "side_database": True}
        time.sleep(1)  # two backups of one second would have one name
        return postgres_dump.run(self.parameters(**{**defaults, **more}), False, SubprocessRunner(), now_utc())

    def restore(self, state: str = "restored", *, check_mode: bool = False, **more: Any) -> dict[str, Any]:
        """Prove, restore, or undo."""
        defaults = {"state": state, "backup": "newest", "set_aside": "", "confirm": "", "safety_dump": False, "keep_days": 7}
        defaults["instead_of"] = ""
        runner = Runner(self.folder / "application")
        time.sleep(1)
        return postgres_restore.run(self.parameters(**{**defaults, **more}), check_mode, runner, now_utc())

    def rehearse(self, **more: Any) -> dict[str, Any]:
        """Rehearse the pending revisions."""
        defaults = {"backup": "newest", "max_bytes": 0, "row_loss_allowed": []}
        runner = Runner(self.folder / "application")
        return migration_rehearsal.run(self.parameters(**{**defaults, **more}), False, runner, now_utc())

    def migrate(self, *, check_mode: bool = False, **more: Any) -> dict[str, Any]:
        """Run the pending revisions."""
        defaults = {"target": "heads", "allow_downgrade": False}
        return alembic_migrate.run(self.parameters(**{**defaults, **more}), check_mode, Runner(self.folder / "application"))


def start() -> Server:
    """Start PostgreSQL and wait for it; a container that an earlier test has left is replaced."""
    docker("rm", "--force", "--volumes", PROJECT, check=False)
    labels = {"project": PROJECT, "service": "db", "oneoff": "False"}
    options = [word for name, value in labels.items() for word in ("--label", f"com.docker.compose.{name}={value}")]
    settings = {"POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": DATABASE}
    options += [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
    docker("run", "--detach", "--name", PROJECT, "--shm-size", "256m", *options, IMAGE, "postgres", "-c", "max_prepared_transactions=4")
    server = Server(PROJECT, Path(os.devnull))
    wait(server)
    return server


def wait(server: Server, patience: float = 60.0) -> None:
    """Wait until the server takes connections by TCP, as it does only once it is set up."""
    deadline = time.monotonic() + patience
    while True:
        ready = ["docker", "exec", server.container, "pg_isready", "--host", "127.0.0.1", "--username", USER, "--dbname", "postgres"]
        if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
            return
        assert time.monotonic() < deadline, docker("logs", "--tail", "20", server.container)
        time.sleep(0.1)


def docker(*words: str, check: bool = True) -> str:
    """Run docker and return what it printed."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout
