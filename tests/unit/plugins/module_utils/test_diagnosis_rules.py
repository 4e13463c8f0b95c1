# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""diagnosis_rules: each rule with the state that it is for, and with a healthy stack; and that a root comes before what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_evidence import Evidence
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_facts import Seen
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_rules import LAST, RULES, diagnose
from ansible_collections.residency.scheduler.plugins.module_utils.stack import parse_services

SERVICES = tuple(
    parse_services(
        [
            {"name": "db", "kind": "postgres"},
            {"name": "redis", "kind": "redis"},
            {"name": "backend", "kind": "http", "port": 8000, "path": "/health"},
            {"name": "celery-worker", "kind": "celery_worker"},
            {"name": "celery-beat", "kind": "celery_beat"},
            {"name": "frontend", "kind": "http", "port": 3000},
            {"name": "nginx", "kind": "proxy", "optional": True},
        ]
    )
)
NEEDED = {
    "backend": {"db": 5432, "redis": 6379},
    "celery-worker": {"db": 5432, "redis": 6379},
    "celery-beat": {"redis": 6379},
    "frontend": {"backend": 8000},
    "nginx": {"backend": 8000, "frontend": 3000},
}


def seen(service: str, **given: Any) -> Seen:
    running = {"pid": 100, "state": "running", "health": "healthy", "exit_code": 0, "oom_killed": False, "restarts": 0, "up": 5000.0}
    rest = {"started": "", "finished": "", "image": f"p-{service}:v1", "memory_limit": 2**30, "networks": {"p_default": "172.18.0.2"}}
    more = {"depends_on": (), "health_log": (), "environment": {}}
    return Seen(**{"name": f"p-{service}", "service": service, **running, **rest, **more, **given})


def fail(subject: str, found: str, topic: str, verdict: str = "fail", expected: str = "") -> Check:
    return Check(subject, verdict, expected, found, 0.0, "", topic)


GOOD = {"id": "20251222T020000Z-v1.0.0", "version": "v1.0.0", "verdict": "good", "at": "2025-12-22T02:10:00+00:00"}
FACTS: dict[str, Any] = {
    "containers": [],
    "docker": {"answers": True, "version": "26.1", "why": "", "unit": "", "journal": []},
    "host": {
        "file_systems": [{"paths": ["/", "/var/lib/docker"], "size": 50 * 2**30, "free": 20 * 2**30, "inodes_free_share": 0.9}],
        "memory": {"memtotal": 8 * 2**30, "memavailable": 4 * 2**30},
    },
    "ledger": {"folder": "/state/releases", "last_good": GOOD, "question": GOOD["id"], "releases": [GOOD], "shutdown": {}},
    "files": {
        "home": "/opt/p",
        "env_file": {"path": "/opt/p/.env", "there": True},
        "compose": [{"path": "/opt/p/docker-compose.yml", "there": True}],
    },
    "lock": {"path": "/run/p.lock", "holder": "", "last": ""},
    "certificate": {"folder": "/tls", "path": "/tls/fullchain.pem", "key": "/tls/privkey.pem", "key_fits": True},
    "network": {
        f"p-{name}": {
            "listens": ["0.0.0.0:8000"],
            "reaches": [{"name": other, "port": port, "address": "", "error": ""} for other, port in NEEDED.get(name, {}).items()],
        }
        for name in ("db", "redis", "backend", "celery-worker", "celery-beat", "frontend", "nginx")
    },
    "database": {"sessions": 5, "waiting": []},
    "environment": {"p-backend": {"names": ["DATABASE_URL"], "differ": [], "missing": []}},
}
HEALTHY = Evidence(
    project="p",
    services=SERVICES,
    checks=(fail("db: containers", "p-db running", "containers", "pass"), fail("backend: restarts", "none", "containers", "pass")),
    containers=tuple(seen(service.name) for service in SERVICES),
    facts=FACTS,
    needed=NEEDED,
)


@dataclass(frozen=True)
class Sick:
    """What differs from the healthy stack, and the cause that has to come first."""

    cause: str
    checks: tuple[Check, ...] = ()
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    told: str = ""
    unknown: tuple[str, ...] = ()

    def evidence(self) -> Evidence:
        there = [item for item in HEALTHY.containers if item.service not in self.gone]
        changed = [replace(item, **self.containers.get(item.service, {})) for item in there]
        facts = {name: value for name, value in {**HEALTHY.facts, **self.facts}.items() if name not in self.unknown}
        return replace(HEALTHY, checks=HEALTHY.checks + self.checks, containers=tuple(changed), facts=facts, logs=self.logs)


def ledger(**given: Any) -> dict[str, Any]:
    return {"ledger": {**FACTS["ledger"], **given}}


def files(**given: Any) -> dict[str, Any]:
    return {"files": {**FACTS["files"], **given}}


def reaches(container: str, other: str, port: int, error: str) -> dict[str, Any]:
    way = {"name": other, "port": port, "address": "", "error": error}
    return {"network": {**FACTS["network"], container: {"listens": ["127.0.0.1:1"], "reaches": [way]}}}


LOOP = {"state": "restarting", "exit_code": 1, "restarts": 7, "up": None, "pid": 0}
EXITED = {"state": "exited", "exit_code": 0, "up": None, "pid": 0, "finished": "2025-12-22T03:00:00+00:00"}
FULL = [{"paths": ["/var/lib/docker"], "size": 50 * 2**30, "free": 10 * 2**20, "inodes_free_share": 0.9}]
NO_INODES = [{"paths": ["/"], "size": 50 * 2**30, "free": 20 * 2**30, "inodes_free_share": 0.001}]
NOT_READ = fail("services: check", "Reading the compose project p failed: no such service", "services")
EVERYTHING = tuple(service.name for service in SERVICES)
BAD = {"id": "20251223T020000Z-v1.1.0", "version": "v1.1.0", "verdict": "failed", "at": "2025-12-23T02:10:00+00:00", "why": "KeyError: 'x'"}

CASES = [
    Sick("host.disk_full /var/lib/docker", facts={"host": {**FACTS["host"], "file_systems": FULL}}, told="10 MB of"),
    Sick("host.disk_full /", facts={"host": {**FACTS["host"], "file_systems": NO_INODES}}, told="0.1% of the inodes"),
    Sick("host.memory", facts={"host": {**FACTS["host"], "memory": {"memtotal": 2**33, "memavailable": 10 * 2**20}}}, told="10 of 8192"),
    Sick(
        "docker.down",
        gone=EVERYTHING,
        facts={"docker": {"answers": False, "version": "", "why": "Cannot connect", "unit": "failed", "journal": ["bad daemon.json"]}},
        unknown=("containers",),
        told="docker.service is failed",
    ),
    Sick("config.env_missing", (NOT_READ,), facts=files(env_file={"path": "/opt/p/.env", "there": False}), told="/opt/p/.env"),
    Sick("config.file_missing", (NOT_READ,), facts=files(compose=[{"path": "/opt/p/a.yml", "there": False}]), told="a.yml"),
    Sick("config.broken", (NOT_READ,), told="no such service"),
    Sick("release.missing", gone=EVERYTHING, facts=ledger(last_good={}, releases=[])),
    Sick(
        "release.shut_down",
        gone=EVERYTHING,
        facts=ledger(shutdown={"at": "2025-12-24", "by": "anna", "reason": "leak"}),
        told="by anna: leak",
    ),
    Sick("service.out_of_memory backend", containers={"backend": {**LOOP, "oom_killed": True, "exit_code": 137}}, told="limit is 1024 MB"),
    # Seen in the moment in which it has been started once more.
    Sick(
        "service.out_of_memory backend",
        containers={"backend": {"restarts": 7, "up": 0.2}},
        facts={"memory_kills": {"p-backend": 3}},
        told="limit is 1024 MB",
    ),
    Sick("service.out_of_memory backend", containers={"backend": {**LOOP, "exit_code": 137}}, told="exit code 137"),
    Sick(
        "service.crashes backend",
        containers={"backend": LOOP},
        logs={"p-backend": ["Starting", "Traceback (most recent call last):", "KeyError: 'default'", "bye"]},
        told="KeyError: 'default'",
    ),
    Sick("service.crashes backend", containers={"backend": {"restarts": 3, "up": 5.0}}, logs={"p-backend": ["last"]}, told="last"),
    Sick("service.crashes backend", (fail("p-backend: restarts", "restarted 1 times", "containers"),), told="restarted 1 times"),
    Sick("service.paused redis", containers={"redis": {"state": "paused"}}),
    Sick("service.stopped db", containers={"db": EXITED}, told="ended 2025-12-22T03"),
    Sick("service.stopped db", gone=("db",), told="no container of db"),
    Sick("service.stopped celery-worker", (fail("celery-worker: containers", "1 of 2", "containers"),), told="1 of 2"),
    Sick("network.cut celery-beat", containers={"celery-beat": {"networks": {}}}, told="in no network"),
    Sick("network.cut backend", facts=reaches("p-backend", "db", 5432, "no answer within 3 s"), told="does not reach db:5432"),
    Sick("database.password db", (fail("db: postgres", 'FATAL: password authentication failed for user "s"', "postgres"),)),
    Sick(
        "database.password db",
        containers={"backend": LOOP},
        logs={"p-backend": ["sqlalchemy.exc.OperationalError: FATAL: password authentication failed"]},
        told="p-backend: ",
    ),
    Sick("database.connections db", (fail("db: connections left", "2", "postgres"),)),
    Sick("database.connections db", (fail("db: postgres", "FATAL: sorry, too many clients already", "postgres"),)),
    Sick("database.read_only db", (fail("db: login and writable", "login, read-only", "postgres"),)),
    Sick("database.no_answer db", (fail("db: postgres", "timeout expired", "postgres"),)),
    Sick("redis.password redis", (fail("redis: redis", "WRONGPASS invalid username-password pair", "redis"),)),
    Sick("redis.refuses_writes redis", (fail("redis: redis", "NOREPLICAS Not enough good replicas to write.", "redis"),)),
    Sick("redis.memory redis", (fail("redis: memory", "allkeys-lru, 99 % of 256 MB used, 12 keys evicted", "redis"),)),
    Sick("redis.no_answer redis", (fail("redis: redis", "Timeout reading from socket", "redis"),)),
    Sick("release.cut v1.1.0", facts=ledger(releases=[GOOD, {**BAD, "verdict": "candidate"}])),
    Sick("database.ahead db", (fail("database: revision", "x, which this release does not know: ahead", "alembic"),)),
    Sick(
        "database.ahead db",
        containers={"backend": LOOP},
        logs={"p-backend": ["FAILED: Can't locate revision identified by 'x'"]},
        told="Can't locate",
    ),
    Sick("database.behind db", (fail("database: revision", "a: behind by b, c", "alembic"),)),
    Sick("database.branches db", (fail("database: revision", "a, b", "alembic"),)),
    Sick("release.heads db", (fail("database: heads of the release", "2: a, b", "alembic"),)),
    Sick("release.heads db", (fail("alembic: check", "the release's history of revisions is broken: KeyError", "alembic"),)),
    Sick("database.locked db", facts={"database": {"waiting": [{"pid": 7, "seconds": 60.0, "blocked_by": 5}]}}, told="of session 5"),
    Sick("image.gone backend", (fail("p-backend: image", "image a", "containers", expected="its image, which is gone of the release"),)),
    Sick("image.other frontend", (fail("p-frontend: image", "image a", "containers", expected="image b of the release"),)),
    Sick("service.not_listening backend", facts=reaches("p-nginx", "backend", 8000, "Connection refused"), told="p-backend listens on"),
    Sick(
        "tls.key_mismatch nginx",
        containers={"nginx": LOOP},
        facts={"certificate": {**FACTS["certificate"], "key_fits": False}},
        told="/tls/privkey.pem",
    ),
    Sick("service.unhealthy backend", (fail("p-backend: GET http://172.18.0.2:8000/health", "status 503", "http"),), told="503"),
    Sick("proxy.stale_address nginx", (fail("API health: GET https://x/health", "status 502", "api_health"),)),
    Sick("tls.expired nginx", (fail("frontend: certificate's lifetime", "expired 2025-12-01", "tls"),)),
    Sick("tls.name nginx", (fail("frontend: certificate's name", "for elsewhere", "tls"),)),
    Sick("tls.chain nginx", (fail("frontend: certificate's chain", "self-signed certificate", "tls"),)),
    Sick("tls.not_reloaded nginx", (fail("frontend: certificate on disk", "abc", "tls"),)),
    Sick("tls.expires nginx", (fail("frontend: certificate's lifetime", "7 of 90 days left", "tls"),)),
    Sick("celery.no_answer celery-worker", (fail("celery-worker: workers that answer", "0: none", "celery_worker"),)),
    Sick("celery.stuck celery-worker", (fail("queue default: canary", "TimeoutError: ", "celery_canary"),)),
    Sick("celery.queue_unconsumed metrics", (fail("queue metrics: consumers", "none: its tasks pile up for ever", "celery_queues"),)),
    Sick("celery.other_code celery-worker", (fail("celery@a: registered tasks", "without app.tasks.new", "celery_worker"),)),
    Sick("celery.beat_stopped celery-beat", (fail("celery-beat: scheduler process", "1 running, 1 of them stopped (T)", "celery_beat"),)),
    Sick("celery.beat_stopped celery-beat", (fail("celery-beat: scheduler process", "0 running", "celery_beat"),)),
    Sick("celery.beat_twice celery-beat", (fail("celery-beat: scheduler process", "2 running", "celery_beat"),)),
    Sick("celery.beat_silent celery-beat", (fail("celery-beat: ticks", "the last one 300 s ago", "celery_beat"),)),
    Sick("celery.backlog celery-worker", (fail("queues: tasks waiting", "default 20000; 3 handed out", "celery_queues", "warn"),)),
    Sick("environment.differs backend", facts={"environment": {"p-backend": {"differ": ["LOG_LEVEL"], "missing": []}}}, told="LOG_LEVEL"),
    Sick("service.restarted frontend", containers={"frontend": {"restarts": 1, "up": 70.0}}, told="70 s ago"),
    Sick("web.wrong_answer nginx", (fail("login page: GET https://x/login", "the body does not match", "login_page"),)),
    Sick("web.slow", (fail("API health: response time", "1.200 s", "api_health"),)),
    Sick("logs.errors backend", (fail("p-backend: errors in the log", "3, the last: ERROR x", "log_errors"),)),
    Sick("unknown", (fail("something else", "odd", "other"),)),
]


def test_a_healthy_stack_has_no_cause_and_no_note() -> None:
    assert diagnose(HEALTHY) == ([], [])


@pytest.mark.parametrize("sick", CASES, ids=lambda sick: f"{sick.cause}-{sick.told}"[:60])
def test_the_cause_comes_first(sick: Sick) -> None:
    causes, _notes = diagnose(sick.evidence())
    assert causes, "no cause was named"
    assert causes[0].key == sick.cause, [cause.key for cause in causes]
    assert not causes[0].follows_from
    assert sick.told in "\n".join(causes[0].evidence)
    assert causes[0].evidence
    assert causes[0].commands
    assert "{" not in causes[0].sentence + "".join(text for text in causes[0].commands if "json" not in text and "." not in text)


def test_every_rule_has_a_case() -> None:
    told = {sick.cause.split()[0] for sick in CASES} | {"run.in_progress", "migration.running", "release.failed"}
    assert {rule.id for rule in (*RULES, LAST)} == told


@pytest.mark.parametrize(
    ("facts", "note", "told"),
    [
        ({"lock": {"path": "", "holder": "deploy.yml of anna", "last": ""}}, "run.in_progress", "deploy.yml of anna"),
        (ledger(releases=[GOOD, BAD]), "release.failed v1.1.0", "failed before it served 2025-12-23T02:10:00+00:00: KeyError: 'x'"),
        (ledger(releases=[GOOD, {**BAD, "verdict": "rolled_back"}]), "release.failed v1.1.0", "was taken back"),
    ],
)
def test_notes_are_no_causes(facts: dict[str, Any], note: str, told: str) -> None:
    causes, notes = diagnose(Sick("", facts=facts).evidence())
    assert causes == []
    assert [item.key for item in notes] == [note]
    assert told in notes[0].evidence[0]


def test_a_migration_that_runs_is_a_note() -> None:
    migrating = seen("backend", name="p-migration", one_off=True, up=30.0)
    causes, notes = diagnose(replace(HEALTHY, containers=(*HEALTHY.containers, migrating)))
    assert (causes, [item.id for item in notes]) == ([], ["migration.running"])
    assert notes[0].commands[1] == "docker wait p-migration"


def test_a_deployment_that_works_was_not_cut() -> None:
    open_one = ledger(releases=[GOOD, {**BAD, "verdict": "candidate"}])
    working = {"lock": {"path": "", "holder": "deploy.yml of anna", "last": ""}}
    causes, notes = diagnose(Sick("", facts={**open_one, **working}).evidence())
    assert (causes, [item.id for item in notes]) == ([], ["run.in_progress"])


@pytest.mark.parametrize(
    ("sick", "order"),
    [
        # A database that is down takes everything down that needs it.
        (
            Sick(
                "",
                (fail("queue default: canary", "TimeoutError", "celery_canary"),),
                {"db": EXITED, "backend": LOOP},
            ),
            ["service.stopped db", "service.crashes backend", "celery.stuck celery-worker"],
        ),
        # Without .env, Compose reads nothing, and we know no password.
        (
            Sick("", (NOT_READ, fail("redis: redis", "NOAUTH", "redis")), facts=files(env_file={"path": "e", "there": False})),
            ["config.env_missing", "config.broken", "redis.password redis"],
        ),
        # An application that crashes by itself does so whatever its database says; one that misses a revision does not.
        (
            Sick("", (fail("database: revision", "does not know", "alembic"),), {"backend": LOOP}, logs={"p-backend": ["KeyError: 'x'"]}),
            ["service.crashes backend"],
        ),
        (
            Sick("", (), {"backend": LOOP}, logs={"p-backend": ["Can't locate revision identified by 'x'"]}),
            ["database.ahead db", "service.crashes backend"],
        ),
        # What the logs tell comes last, whatever it is.
        (
            Sick("", (fail("p-db: errors in the log", "x", "log_errors"), fail("queue m: consumers", "none", "celery_queues"))),
            ["celery.queue_unconsumed m", "logs.errors db"],
        ),
        (
            Sick("", (fail("frontend: certificate's lifetime", "expired", "tls"), fail("login: GET x", "bad", "login"))),
            ["tls.expired nginx", "web.wrong_answer nginx"],
        ),
    ],
)
def test_a_root_comes_before_what_follows_from_it(sick: Sick, order: list[str]) -> None:
    causes, _notes = diagnose(sick.evidence())
    keys = [cause.key for cause in causes]
    assert [key for key in keys if key in order] == order, keys
    assert [bool(cause.follows_from) for cause in causes if cause.key in order] == [False] + [True] * (len(order) - 1)
