"""What happens to the server or to the connection in the middle of a deployment; the same command again has to mend it.

RESIDENCY_FAULT_ALL=1 runs all of them, else the first.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from deployed_server import Server
from ledger_client import LedgerClient
from oracle import digest, look, violations
from play import DEADLINE, NAME, play
from results import note

BACKUPS = "/var/lib/residency-scheduler/backups"


def power_cut(_server: Server) -> None:
    """Kill the whole server, and start it again."""
    subprocess.run(["docker", "kill", NAME], check=True, capture_output=True)
    subprocess.run(["docker", "start", NAME], check=True, capture_output=True)


def clean_reboot(_server: Server) -> None:
    """Stop the server as a reboot does, and start it again."""
    subprocess.run(["docker", "restart", NAME], check=True, capture_output=True)


def cut_connection(server: Server) -> None:
    """End all sessions of SSH but our own."""
    server.ssh("for pid in $(ps -eo pid,args | awk '/sshd: .*@/ {print $1}'); do [ $pid = $PPID ] || kill $pid; done || true")


def kill_docker(server: Server) -> None:
    """Kill Docker's daemon; systemd starts it again."""
    server.ssh("systemctl kill --signal=KILL docker")


def fill_disk(server: Server) -> None:
    """Leave no room for a dump."""
    server.ssh(f"mount -t tmpfs -o size=64k,mode=0700 tmpfs {BACKUPS}")


def make_room(server: Server) -> None:
    """Give the room back, with the backups of before."""
    server.ssh(f"umount {BACKUPS}")


@dataclass(frozen=True)
class Fault:
    """What happens shortly after which task began, and what a person does before giving the command again."""

    name: str
    task: str
    make: Callable[[Server], None]
    mend: Callable[[Server], None] | None = None


FAULTS = (
    Fault("power cut while the services change", "Start celery-worker", power_cut),
    Fault("power cut in a migration", "Run the pending revisions", power_cut),
    Fault("disk full at the dump", "Record the release as candidate", fill_disk, make_room),
    Fault("reboot before the change", "Back up the database", clean_reboot),
    Fault("connection cut in a migration", "Run the pending revisions", cut_connection),
    Fault("connection cut while the services change", "Start backend", cut_connection),
    Fault("Docker killed while the services change", "Start backend", kill_docker),
)


@pytest.mark.skipif(bool(os.environ.get("RESIDENCY_FAULTS_INVENTORY")), reason="only a server that the tests made may lose its power")
@pytest.mark.parametrize("fault", FAULTS if os.environ.get("RESIDENCY_FAULT_ALL") else FAULTS[:1], ids=lambda fault: fault.name)
def test_the_server_suffers(server: Server, fault: Fault) -> None:
    deploy = ("deploy.yml", "-e", "scheduler_version=v1.0.0")
    with LedgerClient(server.host["ansible_host"]) as client:
        runs = [play(server, *deploy, fault=(fault.task, lambda: fault.make(server)))]
        if fault.mend:
            fault.mend(server)
        runs.append(play(server, *deploy))
        between = digest(look(server))
        runs.append(play(server, *deploy))
    told = violations(server, runs, client, DEADLINE)
    if digest(look(server)) != between:
        told.append("5 again: the server is not as it was before the run that changed nothing")
    back = play(server, "rollback.yml", "-e", "rollback_to=v0.9.0", "-e", "rollback_database=downgrade")
    note(fault.name, fault.task, None, told)
    assert not told, "\n".join([*told, runs[1].output[-3000:]])
    assert back.rc == 0, back.output[-3000:]
