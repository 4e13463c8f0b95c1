"""Bad releases in their sick state, and a server that is broken itself: the first cause that the diagnosis names is the right one.

A deployment goes back by itself, so a bad release's sick state lasts for a moment only. Here the service that is bad in it is brought up by
hand, from the release's own files, as `docker compose up` without any guard would leave it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from deployed_server import HOME, PROJECT, ROOT, STATE, Server, ansible
from diagnosed import diagnose

#: Where the bad releases are checked out, and their images built; beside the good one, which is not touched.
BAD = "/root/bad"
RELEASES = ("bad-crash", "bad-crash-migrated", "bad-db", "bad-health", "bad-nginx", "bad-worker", "dies-after-20s", "oom")
#: The good release's own compose file, which pins images, folders and limits; a copy, since the tests add releases to the ledger.
KEPT = f"{BAD}/kept.yml"
COMPOSE = f"docker compose --project-name {PROJECT} --env-file {HOME}/.env"
GOOD = f"{COMPOSE} --project-directory {HOME} -f {HOME}/docker-compose.yml -f {HOME}/docker-compose.prod.yml -f {KEPT}"
PREPARE = f"""
mkdir -p {BAD}; cd {BAD}; cp "$(ls {STATE}/releases/*/compose.yml | tail -n 1)" {KEPT}
for release in {" ".join(RELEASES)}; do
    git clone --quiet --depth 1 --branch $release "$(git -C {HOME} remote get-url origin)" $release 2>/dev/null
    (docker build --quiet --build-arg PYTHON_IMAGE=residency-bed/python:3.11 --tag {PROJECT}-bad:$release $release/backend >/dev/null) &
done
wait
"""


def bad(release: str) -> str:
    """Return the command of Compose for a bad release's files."""
    files = f"-f {BAD}/{release}/docker-compose.yml -f {BAD}/{release}/docker-compose.prod.yml -f {KEPT} -f {BAD}/{release}/image.yml"
    return f"{COMPOSE} --project-directory {BAD}/{release} {files}"


def bring_up(release: str, service: str) -> str:
    """Return the script that replaces a service by that of a bad release."""
    image = f"services: {{{service}: {{image: '{PROJECT}-bad:{release}'}}}}" if service in ("backend", "celery-worker") else "services: {}"
    return f"echo \"{image}\" >{BAD}/{release}/image.yml; {bad(release)} up --detach --no-deps --timeout 1 {service} 2>&1"


def wait_for(container: str, template: str, wanted: str) -> str:
    """Return the script that waits until Docker says a word of a container that looks like *wanted*."""
    look = f"docker inspect --format '{{{{{template}}}}}' {container} 2>/dev/null | grep --quiet --extended-regexp '{wanted}'"
    return f"; for turn in $(seq 150); do {look} && break; sleep 0.2; done"


@dataclass(frozen=True)
class Bad:
    """A bad release.

    :ivar service: what is bad in it.
    :ivar sick: the script that waits until it shows.
    :ivar cause: what has to be named first, with this evidence.
    :ivar undo: what it has done besides is undone by this.
    """

    release: str
    service: str
    sick: str
    cause: str
    evidence: str
    undo: str = "true"


BACKEND = f"{PROJECT}-backend"
CASES = [
    Bad("bad-health", "backend", wait_for(BACKEND, ".State.Running", "true") + "; sleep 6", "service.unhealthy backend", "503"),
    Bad("dies-after-20s", "backend", wait_for(BACKEND, ".RestartCount", "^1"), "service.restarted backend", "started again 1 times"),
    Bad("bad-crash", "backend", wait_for(BACKEND, ".RestartCount", "^[2-9]"), "service.crashes backend", "KeyError: 'default'"),
    Bad("oom", "backend", wait_for(BACKEND, ".RestartCount", "^[2-9]"), "service.out_of_memory backend", "32 MB"),
    Bad(
        "bad-crash-migrated",
        "backend",
        wait_for(BACKEND, ".RestartCount", "^[2-9]"),
        # Its database is ahead of the code that serves by now, which is not why it crashes.
        "service.crashes backend",
        "KeyError: 'default'",
        # Each start of it would migrate again.
        f"docker stop -t 1 {BACKEND} >/dev/null; {bad('bad-crash-migrated')} run --rm --no-deps --entrypoint alembic backend"
        " downgrade 20251222_shift_index 2>&1",
    ),
    Bad(
        "bad-worker",
        "celery-worker",
        wait_for(f"{PROJECT}-celery-worker-1", ".RestartCount", "^[2-9]"),
        "service.crashes celery-worker",
        "rotation_solver",
    ),
    Bad("bad-nginx", "nginx", wait_for(f"{PROJECT}-nginx", ".RestartCount", "^[2-9]"), "service.crashes nginx", "keepalive_forever"),
    Bad("bad-db", "db", wait_for(f"{PROJECT}-db", ".RestartCount", "^[2-9]"), "service.crashes db", "max_residents"),
]
#: By release: what had to be named first, and what was.
FIRST_CAUSES: dict[str, tuple[str, str]] = {}


@pytest.fixture(name="prepared", scope="module")
def prepared_fixture(server: Server) -> Iterator[Server]:
    """The server with the bad releases beside the good one, which runs again at the end."""
    server.ssh(PREPARE, timeout=300)
    try:
        yield server
    finally:
        # Not --wait: beat is unhealthy for ever.
        up = f"{GOOD} up --detach --timeout 1 2>&1{wait_for(BACKEND, '.State.Health.Status', '^healthy')}"
        server.ssh(f"{up}; docker exec {PROJECT}-nginx nginx -s reload; rm -r {BAD}", timeout=180)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.release)
def test_a_bad_release_is_diagnosed(case: Bad, prepared: Server) -> None:
    try:
        prepared.ssh(bring_up(case.release, case.service) + case.sick)
        diagnosed = diagnose(prepared)
    finally:
        prepared.ssh(f"{case.undo}; {GOOD} up --detach --no-deps --timeout 1 {case.service} 2>&1")
    FIRST_CAUSES[case.release] = (case.cause, diagnosed.first())
    assert diagnosed.causes
    if diagnosed.first() == case.cause:
        assert case.evidence in "\n".join(diagnosed.causes[0]["evidence"])


@pytest.mark.long
def test_the_first_cause_is_right_in_nine_of_ten() -> None:
    wrong = {name: f"{named or 'none'} in place of {cause}" for name, (cause, named) in FIRST_CAUSES.items() if named != cause}
    print("\n".join(f"{name}: {named}" for name, (_cause, named) in FIRST_CAUSES.items()))
    assert len(wrong) <= len(FIRST_CAUSES) // 10, wrong


def test_what_the_checklist_asks_in_troubleshooting_is_told(server: Server) -> None:
    """Where the checklist has a command, the bundle has what it would show, here of a stack that is well."""
    bundle = diagnose(server, verify_log_seconds=5).bundle
    facts = {path[6:-5]: json.loads(text) for path, text in bundle.items() if path.startswith("facts/")}
    checks = {check["subject"]: check for check in json.loads(bundle["checks.json"])}
    # alembic current, alembic history
    assert facts["alembic"]["current"] == facts["alembic"]["heads"] == [facts["alembic"]["history"][-1]["revision"]]
    assert all(step["applied"] for step in facts["alembic"]["history"])
    # docker compose logs, docker stats, df
    assert "INFO:" in bundle[f"logs/{BACKEND}.txt"]
    assert "iB / " in {figures["Name"]: figures["MemUsage"] for figures in facts["stats"]}[BACKEND]
    assert all(room["size"] > room["free"] > 0 for room in facts["host"]["file_systems"])
    # netstat, ping
    assert facts["network"][BACKEND]["listens"] == ["0.0.0.0:8000"]
    assert {way["name"]: way["error"] for way in facts["network"][BACKEND]["reaches"]} == {"db": "", "redis": ""}
    # env | grep, whose values diagnose() searches for
    assert "DATABASE_URL" in facts["environment"][BACKEND]["names"]
    # inspect active, and a ping of Redis
    assert len(facts["celery"]["nodes"]) == 2
    assert checks["redis: write and read"]["verdict"] == "pass"
    # The last deployments
    assert facts["ledger"]["releases"][-1]["verdict"] == "good"


@pytest.mark.parametrize(
    ("make", "mend", "cause"),
    [
        (f"mv {HOME}/.env {HOME}/.env.aside", f"mv {HOME}/.env.aside {HOME}/.env", "config.env_missing"),
        pytest.param(f"mv {STATE}/releases {STATE}/aside", f"mv {STATE}/aside {STATE}/releases", "", marks=pytest.mark.long),
        ("kill -STOP $(pidof dockerd)", "kill -CONT $(pidof dockerd)", "docker.down"),
    ],
    ids=["without .env", "without a ledger", "while Docker hangs"],
)
def test_whatever_is_broken_the_rest_is_told(make: str, mend: str, cause: str, server: Server) -> None:
    try:
        server.ssh(make)
        diagnosed = diagnose(server)
    finally:
        server.ssh(mend)
    assert diagnosed.bundle
    if cause:
        assert diagnosed.first() == cause, diagnosed.output
    assert "facts/host.json" in diagnosed.bundle


@pytest.mark.long
def test_a_deployment_that_failed_is_told_with_its_reason(server: Server) -> None:
    words = ["-i", str(server.inventory), "-e", "scheduler_version=bad-nginx", "-e", "preflight_inspect_release=false"]
    words += ["-e", f"scheduler_reports_dir={server.reports}"]
    command = [*ansible("ansible-playbook"), "playbooks/deploy.yml", *words]
    deployed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert deployed.returncode != 0
    diagnosed = diagnose(server, verify_log_seconds=5)
    assert diagnosed.causes == [], diagnosed.output
    assert [note["id"] for note in diagnosed.notes] == ["release.failed"]
    assert "unknown directive" in diagnosed.notes[0]["evidence"][0]
    assert "The last deployment, bad-nginx, failed" in diagnosed.output
