"""No secret leaves the places where it has to be: canaries, searched after runs that succeed and runs that fail at each stage.

All runs tell as much as Ansible can (-vvvvv, --diff). Searched are what they printed, Ansible's log, facts and temporary files, the
reports; process lists, environments and temporary files while they worked, here and on the server; afterwards the server's files, journal,
Docker's events and images, and containers that need no secret.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployed_server import HOME, PROJECT, ROOT, Server
from leaks import Watch, canaries, needles, on_the_server, search
from oracle import Run
from play import ALL, Prepared, kept_by, play
from results import note
from test_server_faults import BACKUPS


def spoil_environment(server: Server) -> None:
    """Let nothing take the place of the file."""
    server.ssh(f"mount --bind {HOME}/.env {HOME}/.env")


def mend_environment(server: Server) -> None:
    """Let the file be replaced again."""
    server.ssh(f"umount {HOME}/.env")


def lock_checkout(server: Server) -> None:
    """Leave a lock of git's behind, as somebody does whose editor has crashed."""
    server.ssh(f"touch {HOME}/.git/index.lock")


def unlock_checkout(server: Server) -> None:
    """Take it away."""
    server.ssh(f"rm -f {HOME}/.git/index.lock")


def close_backups(server: Server) -> None:
    """Let nobody write a backup."""
    server.ssh(f"mount --bind {BACKUPS} {BACKUPS}; mount -o remount,ro,bind {BACKUPS}")


def open_backups(server: Server) -> None:
    """Let backups be written again."""
    server.ssh(f"umount {BACKUPS}")


@dataclass(frozen=True)
class Failure:
    """A run that has to fail at a stage.

    :ivar role: whose task fails.
    :ivar variables: given as a file, since some are secret.
    """

    role: str
    variables: dict[str, Any]
    playbook: str = "deploy.yml"
    make: Callable[[Server], None] | None = None
    mend: Callable[[Server], None] | None = None


LOGIN = {"path": "/api/v1/auth/nowhere", "method": "POST", "send": {"username": "admin"}, "body": "access_token"}
DEMO = yaml.safe_load((ROOT / "inventories/demo/group_vars/scheduler.yml").read_text(encoding="utf-8"))


#: Whose failure is searched where not all are: the release prints its whole environment.
SAMPLE = ("services",)
AFTERWARDS = ("deploy.yml", "backup.yml", "restore_drill.yml", "preflight.yml", "verify.yml")


def failures(server: Server) -> tuple[Failure, ...]:
    """Return a failure of each stage."""
    settings = DEMO["scheduler_env"]
    all_failures = (
        Failure("preflight", {"scheduler_secrets": {**server.secrets, "DB_PASSWORD": f"{server.secrets['DB_PASSWORD']}/"}}),
        Failure("server", {"server_packages": ["no-such-package"]}),
        Failure("code", {"scheduler_version": "v1.0.0"}, make=lock_checkout, mend=unlock_checkout),
        Failure("environment", {"scheduler_env": {**settings, "LOG_LEVEL": "debug"}}, make=spoil_environment, mend=mend_environment),
        Failure("images", {"scheduler_env": {**settings, "PYTHON_IMAGE": "residency-bed/none:1"}}),
        Failure("backup", {"scheduler_version": "v1.0.0"}, make=close_backups, mend=open_backups),
        Failure("database", {"scheduler_version": "bad-migration"}),
        # It prints its whole environment, and the run tells the last lines of its log.
        Failure("services", {"scheduler_version": "bad-crash"}),
        Failure("verify", {"verify_login": {**LOGIN, "send_secrets": {"password": server.secrets["ADMIN_PASSWORD"]}}}, "verify.yml"),
        Failure("rollback", {"rollback_to": "v1.0.0", "rollback_database": "restore"}, "rollback.yml"),
    )
    return all_failures if ALL else tuple(failure for failure in all_failures if failure.role in SAMPLE)


def failing_role(run: Run) -> str:
    """Return the role whose task failed first."""
    before, fatal, _after = run.output.partition("\nfatal: [")
    assert fatal, run.output[-3000:]
    return re.findall(r"^TASK \[residency\.scheduler\.(\w+) : ", before, re.MULTILINE)[-1]


def test_the_search_finds_what_is_planted(prepared: Prepared, tmp_path: Path) -> None:
    server, name = prepared.server, "DB_PASSWORD"
    # It has no character that a shell would take for its own.
    value = server.secrets[name]
    began = time.time() - 1
    with Watch(server, [tmp_path]) as watch:
        server.ssh(f"bash -c 'sleep 1; true # {value}' & TOKEN='{value}' sleep 1 & wait")
        server.ssh(f"echo '{value}' >/tmp/planted; sleep 1; rm /tmp/planted")
        (tmp_path / "here").write_text(value, encoding="utf-8")
        time.sleep(0.5)
        server.ssh(f"docker exec {PROJECT}-frontend true '{value}'; echo '{value}' >/var/log/planted; logger '{value}'; sync")
    found = "\n".join([*watch.found, *on_the_server(server, began)])
    server.ssh("rm /var/log/planted; journalctl --rotate --quiet; journalctl --vacuum-time=1s --quiet")
    places = ("process list: bash -c", "environment of sleep", "temporary file /tmp/planted", f"temporary file {tmp_path}/here")
    for place in (*places, "the file /var/log/planted", f"{name} in Docker's events", f"{name} in the journal"):
        assert place in found, found


@pytest.mark.parametrize("form", [str, json.dumps, repr, lambda text: text.encode().hex(), lambda text: text[3:40]])
def test_the_search_knows_the_forms(form: Callable[[str], str]) -> None:
    values = canaries()
    for name, value in values.items():
        assert any(told.startswith(name) for told in search(values, {"a text": f"one\ntwo {form(value)} two\nthree"}))
    assert search(values, {"a text": "none of them" * 100}) == []
    assert len(needles(values)) >= 5 * len(values)


def test_no_secret_leaks(prepared: Prepared, tmp_path: Path) -> None:
    server, kept, began = prepared.server, tmp_path / "kept", time.time()
    kept.mkdir()
    runs, told = [], []
    with Watch(server, [kept]) as watch:
        for number, failure in enumerate(failures(server)):
            given = tmp_path / f"{number}.json"
            given.touch(mode=0o600)
            given.write_text(json.dumps(failure.variables), encoding="utf-8")
            if failure.make:
                failure.make(server)
            run = play(server, failure.playbook, "-e", f"@{given}", kept=kept)
            if failure.mend:
                failure.mend(server)
            runs.append(run)
            if run.rc != 2 or failing_role(run) != failure.role:
                told.append(f"{failure.role}: {run.playbook} ended with {run.rc}, in {failing_role(run)}")
        for playbook in AFTERWARDS if ALL else ():  # the deployment of the bare server was a good run too
            # The database has logged why migrations failed.
            runs.append(play(server, playbook, "-e", "scheduler_version=v0.9.0", "-e", "verify_log_seconds=5", kept=kept))
            told += [] if runs[-1].rc == 0 else [f"{playbook} ended with {runs[-1].rc}: {runs[-1].output[-2000:]}"]
    found = watch.found + search(server.secrets, kept_by(runs, kept, server)) + on_the_server(server, began) + prepared.leaks
    note("secrets are searched after runs that fail at each stage, and after good ones", "each stage", None, told + found)
    if os.environ.get("RESIDENCY_FAULT_OUTPUT"):
        Path(os.environ["RESIDENCY_FAULT_OUTPUT"], "leaks").write_text("\n".join(told + found), encoding="utf-8")
    assert not told, "\n".join(told)
    assert not found, "\n".join(found[:50])
    assert any("********" in run.output for run in runs), "nothing was blotted out: bad-crash printed nothing"
