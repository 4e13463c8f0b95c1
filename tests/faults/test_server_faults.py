"""What happens to the server or to the connection in the middle of a deployment or of a rollback; the same command again has to mend it.

RESIDENCY_FAULT_ALL=1 runs all of them, else the first.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from deployed_server import PROJECT, STATE, Server
from ledger_client import LedgerClient
from oracle import Run, digest, look, violations
from play import ALL, DEADLINE, NAME, my_part, play
from results import note

BACKUPS, LEDGER = f"{STATE}/backups", f"{STATE}/releases"
DEPLOY = ("deploy.yml", "-e", "scheduler_version=v1.0.0")
BACK = ("rollback.yml", "-e", "rollback_to=v0.9.0", "-e", "rollback_database=downgrade")


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


def restart_docker(server: Server) -> None:
    """Restart Docker's daemon as an update does."""
    server.ssh("systemctl restart docker")


def kill_postgres(server: Server) -> None:
    """Kill the database; Docker starts it again."""
    server.ssh(f"kill -KILL $(docker inspect --format '{{{{.State.Pid}}}}' {PROJECT}-db)")


def fill_backups(server: Server) -> None:
    """Leave no room for a dump."""
    server.ssh(f"mount -t tmpfs -o size=64k,mode=0700 tmpfs {BACKUPS}")


def make_room_for_backups(server: Server) -> None:
    """Give the room back, with the backups of before."""
    server.ssh(f"umount {BACKUPS}")


def fill_ledger(server: Server) -> None:
    """Leave no room for a record or a verdict."""
    server.ssh(
        f"mount -t tmpfs -o size=1m,mode=0750 tmpfs /mnt && cp -a {LEDGER}/. /mnt/ && (cat /dev/zero >/mnt/filler || true) 2>/dev/null;"
        f" mount --bind /mnt {LEDGER}"
    )


def make_room_for_ledger(server: Server) -> None:
    """Give the room back, with what was recorded meanwhile."""
    server.ssh(f"rm /mnt/filler; umount {LEDGER}; cp -a /mnt/. {LEDGER}/; umount /mnt")


def hold_lock(server: Server) -> None:
    """Keep a table from being altered, as somebody's forgotten transaction does."""
    sql = "BEGIN; LOCK TABLE ledger IN ACCESS SHARE MODE; SELECT pg_sleep(600)"
    server.ssh(f"docker exec --detach {PROJECT}-db psql -U scheduler -d residency_scheduler -c '{sql}'")


#: Ends that transaction.
UNLOCK = (
    f"docker exec {PROJECT}-db psql -U scheduler -d postgres -c"
    " \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()\""
)


def free_lock(server: Server) -> None:
    """Require that the application serves again, and end that transaction."""
    server.ssh(
        "ask() { python3 -c 'import ssl, urllib.request as r; r.urlopen(\"https://localhost/api/v1/version\", timeout=5,"
        " context=ssl._create_unverified_context())' 2>/dev/null; };"
        f" for _ in $(seq 60); do ask && break; sleep 1; done; ask; {UNLOCK}"
    )


@dataclass(frozen=True)
class Fault:
    """What happens shortly after which task began, and what a person does before giving the command again.

    :ivar way: the playbook and its options that the fault befalls.
    """

    name: str
    task: str
    make: Callable[[Server], None]
    mend: Callable[[Server], None] | None = None
    way: tuple[str, ...] = DEPLOY


FAULTS = (
    Fault("power cut while the services change", "Start celery-worker", power_cut),
    Fault("power cut in a migration", "Run the pending revisions", power_cut),
    Fault("disk full at the dump", "Record the release as candidate", fill_backups, make_room_for_backups),
    Fault("disk full at the record", "Build, pull and pin", fill_ledger, make_room_for_ledger),
    Fault("disk full at the verdict", "Watch for restarts", fill_ledger, make_room_for_ledger),
    Fault("reboot before the change", "Back up the database", clean_reboot),
    Fault("connection cut in a migration", "Run the pending revisions", cut_connection),
    Fault("connection cut while the services change", "Start backend", cut_connection),
    Fault("Docker killed while the services change", "Start backend", kill_docker),
    Fault("Docker restarted in the bake time", "Watch for restarts", restart_docker),
    Fault("PostgreSQL killed in a migration", "Run the pending revisions", kill_postgres),
    Fault("PostgreSQL killed in a rehearsal", "Rehearse the migration", kill_postgres),
    Fault("power cut in a downgrade", "Run the downgrade", power_cut, way=BACK),
    Fault("reboot while the services go back", "Start celery-worker", clean_reboot, way=BACK),
    Fault("a lock held against a downgrade", "Take the revisions back", hold_lock, free_lock, way=BACK),
    Fault("connection cut in a downgrade", "Run the downgrade", cut_connection, way=BACK),
    Fault("Docker killed while the services go back", "Start backend", kill_docker, way=BACK),
)


def whole(server: Server, *command: str) -> Run:
    """Run a playbook that nothing befalls, and return how it went."""
    done = play(server, *command)
    assert done.rc == 0, done.output[-3000:]
    return done


@pytest.mark.skipif(bool(os.environ.get("RESIDENCY_FAULTS_INVENTORY")), reason="only a server that the tests made may lose its power")
@pytest.mark.parametrize("fault", my_part(FAULTS) if ALL else FAULTS[:1], ids=lambda fault: fault.name)
def test_the_server_suffers(server: Server, fault: Fault) -> None:
    if fault.way == BACK:
        whole(server, *DEPLOY)
    with LedgerClient(server.host["ansible_host"]) as client:
        runs = [play(server, *fault.way, fault=(fault.task, lambda: fault.make(server)))]
        if fault.mend:
            fault.mend(server)
        runs.append(play(server, *fault.way))
        between = digest(look(server))
        runs.append(play(server, *fault.way))
    told = violations(server, runs, client, DEADLINE)
    if runs[0].suffered is None:
        told.append(f"no task of {fault.way[0]} is named {fault.task}: nothing happened")
    if digest(look(server)) != between:
        told.append("5 again: the server is not as it was before the run that changed nothing")
    note(fault.name, fault.task, None, told)
    if ALL and fault.way == DEPLOY:
        whole(server, *BACK)
    assert not told, "\n".join([*told, runs[0].output[-3000:], runs[1].output[-3000:]])


RECOVERIES = (
    ("bad-crash-migrated", "Stop what uses the database", ("rollback.yml", "-e", "rollback_database=downgrade")),
    ("bad-crash-migrated", "Run the downgrade", ("rollback.yml", "-e", "rollback_database=downgrade")),
    ("bad-crash-migrated", "Put the files of the release back", DEPLOY),
    # It has broken the container of the database itself.
    ("bad-db", "Wait for an answer of db", ("rollback.yml",)),
)


@pytest.mark.skipif(not ALL, reason="takes minutes")
@pytest.mark.parametrize(("version", "task", "mend"), my_part(RECOVERIES))
def test_a_deployment_that_fails_is_cut(server: Server, version: str, task: str, mend: tuple[str, ...]) -> None:
    with LedgerClient(server.host["ansible_host"]) as client:
        runs = [play(server, "deploy.yml", "-e", f"scheduler_version={version}", "-e", "services_wait=30", kill_in=task)]
        runs.append(play(server, *mend))
        between = digest(look(server))
        runs.append(play(server, *mend))
    told = violations(server, runs, client, DEADLINE)
    told += [] if runs[0].rc == -9 else [f"the deployment said {runs[0].rc}: nothing was cut"]
    if digest(look(server)) != between:
        told.append("5 again: the server is not as it was before the run that changed nothing")
    note(f"controller killed where {version} fails or is taken back, mended by {mend[0]}", task, None, told)
    if mend == DEPLOY:
        whole(server, *BACK)
    assert not told, "\n".join([*told, *(run.output[-3000:] for run in runs[:2])])


@pytest.mark.skipif(not ALL, reason="takes minutes")
def test_a_recovery_cannot_take_the_revisions_back(server: Server) -> None:
    if not my_part([0]):
        pytest.skip("another process tries it")
    mend = ("rollback.yml", "-e", "rollback_database=downgrade")
    with LedgerClient(server.host["ansible_host"]) as client:
        before = look(server)["containers"]
        failing = ("deploy.yml", "-e", "scheduler_version=bad-crash-migrated", "-e", "services_wait=30")
        runs = [play(server, *failing, fault=("Wait for Docker, which may be", lambda: hold_lock(server)))]
        after = look(server)["containers"]
        server.ssh(UNLOCK)
        runs += [play(server, *mend), play(server, *mend)]
    told = violations(server, runs, client, DEADLINE)
    told += [] if runs[0].rc == 2 and "started again" in runs[0].output else [f"3 truthful exit: the deployment said {runs[0].rc}"]
    if {name: item[1] for name, item in before.items()} != {name: item[1] for name, item in after.items()}:
        told.append(f"other containers than before were left: {after}")
    note("a lock held against the downgrade of a deployment that recovers", "Wait for Docker", None, told)
    assert not told, "\n".join([*told, *(run.output[-3000:] for run in runs)])


@pytest.mark.skipif(not ALL, reason="takes minutes")
def test_what_a_cut_run_brought_up_is_not_taken_back_unasked(server: Server) -> None:
    if not my_part([0]):
        pytest.skip("another process tries it")
    with LedgerClient(server.host["ansible_host"]) as client:
        runs = [play(server, *DEPLOY, kill_in="Watch for restarts")]
        # Its rows are written into the new tables; another release fails before it touches anything.
        failed = play(server, "deploy.yml", "-e", "scheduler_version=bad-nginx", "-e", "preflight_inspect_release=false")
        state = look(server)
        runs += [play(server, *DEPLOY), play(server, *DEPLOY)]
    told = violations(server, runs, client, DEADLINE)
    told += [] if failed.rc == 2 and "not by itself" in failed.output else [f"3 truthful exit: {failed.playbook} said {failed.rc}"]
    if (state["version"]["version"], state["head"]) != ("1.0.0", look(server)["head"]):
        told.append(f"4 the old version serves: {state['version']}, checkout at {state['head']}")
    note("another release fails after a run that was cut at its end", "Watch for restarts", None, told)
    whole(server, *BACK)
    assert not told, "\n".join([*told, failed.output[-3000:]])


SECOND = (DEPLOY, BACK, ("backup.yml",), ("restore_drill.yml",))


@pytest.mark.skipif(not ALL, reason="the lock has unit tests with real runs")
@pytest.mark.parametrize(("way", "task"), my_part([(DEPLOY, "Run the pending revisions"), (BACK, "Run the downgrade")]))
def test_a_second_run_is_refused(server: Server, way: tuple[str, ...], task: str) -> None:
    if way == BACK:
        whole(server, *DEPLOY)
    refused: list[Run] = []
    first = play(server, *way, fault=(task, lambda: refused.extend(play(server, *other) for other in SECOND)))
    told = [] if first.rc == 0 else [f"{way[0]} said {first.rc}"]
    told += [] if len(refused) == len(SECOND) else [f"only {len(refused)} runs were tried beside it"]
    told += [f"8 one at a time: {run.playbook} said {run.rc}" for run in refused if run.rc == 0]
    told += [f"8 one at a time: {run.playbook} does not name who works" for run in refused if "works on this server" not in run.output]
    for run in refused:
        note(f"{run.playbook} while {way[0]} runs", task, None, told)
    if way == DEPLOY:
        whole(server, *BACK)
    assert not told, "\n".join([*told, *(run.output[-1500:] for run in refused)])


@pytest.mark.skipif(not ALL, reason="takes minutes")
def test_an_image_loses_its_name(server: Server) -> None:
    if not my_part([0]):
        pytest.skip("another process tries it")
    whole(server, *DEPLOY)
    # As a pull of a newer one does.
    name = server.ssh(f"docker inspect --format '{{{{.Config.Image}}}}' {PROJECT}-redis").strip()
    server.ssh(f"printf 'FROM {name}\nLABEL newer=1\n' | docker build --quiet --tag {name} -")
    with LedgerClient(server.host["ansible_host"]) as client:
        runs = [play(server, *BACK), play(server, *BACK), play(server, *BACK)]
    told = violations(server, runs, client, DEADLINE) + ([] if runs[0].rc == 0 else [f"rollback.yml said {runs[0].rc}"])
    told += [] if runs[0].began("Start redis") is None else ["redis was replaced though it ran the right image"]
    note("a ready-made image has lost its name to another one, then a way back", "Find the way back", None, told)
    assert not told, "\n".join([*told, runs[0].output[-3000:]])


@pytest.mark.skipif(not ALL, reason="takes minutes")
def test_a_restore_is_cut_between_swap_and_record(server: Server) -> None:
    if not my_part([0]):
        pytest.skip("another process tries it")
    whole(server, *DEPLOY)
    restore = ("rollback.yml", "-e", "rollback_to=v0.9.0", "-e", "rollback_database=restore")
    unconfirmed = play(server, *restore)
    name = unconfirmed.output.partition("confirm by the name ")[2].partition(".")[0]
    assert unconfirmed.rc == 2, unconfirmed.output[-3000:]
    assert name, unconfirmed.output[-3000:]
    runs = [play(server, *restore, "-e", f"rollback_confirm={name}", kill_in="Tell the way back")]
    again = (*restore, "-e", f"rollback_confirm={name}")
    runs += [play(server, *again), play(server, *again)]
    state = look(server)
    aside = [database for database in state["databases"] if "_before_" in database]
    told = [] if [run.rc for run in runs] == [-9, 0, 0] else [f"3 truthful exit: {[run.rc for run in runs]}"]
    told += [] if len(aside) == 1 else [f"1 data: set aside are {aside}"]
    told += [] if runs[2].changed() == 0 else [f"5 again: changed={runs[2].changed()}"]
    note("controller killed between a restore's swap and its record", "Tell the way back", None, told)
    server.ssh(f"docker exec {PROJECT}-db dropdb -U scheduler {' '.join(aside[:1])}")
    assert not told, "\n".join([*told, *(run.output[-3000:] for run in runs)])
