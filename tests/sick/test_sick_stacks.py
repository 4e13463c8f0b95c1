"""Each way in which a real stack can be sick is caught by name, with a remedy, and diagnosed; and the healthy stack passes.

A case breaks the stack, verifies, and mends it. What is broken is broken for real: signals, wrong passwords, other images.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from deployed_server import Server
from diagnosed import diagnose

P = "residency-scheduler"
PSQL = f"docker exec -i {P}-db psql -q -v ON_ERROR_STOP=1 -U scheduler -d residency_scheduler"
REDIS_PASSWORD = f"""$(sed -n "s/^REDIS_PASSWORD=//p" /opt/{P}/.env | tr -d "'")"""
REDIS = f"""docker exec -i {P}-redis sh -c 'REDISCLI_AUTH="$0" exec redis-cli "$@"' "{REDIS_PASSWORD}" """
CELERY = f"docker exec {P}-celery-worker-1 celery -A app.core.celery_app"
NETWORK = f"{P}_default"
TLS = f"/var/lib/{P}/tls"
HEAD = "20251222_shift_index"
BEAT_PID = f"$(docker inspect -f '{{{{.State.Pid}}}}' {P}-celery-beat)"
# Waits until the pages behind the proxy answer (the server has no curl).
READY = f"""docker exec {P}-nginx nginx -s reload; python3 - <<'END'
import ssl, time, urllib.request
blind, until = ssl._create_unverified_context(), time.monotonic() + 60
for path in ("/health", "/"):
    while time.monotonic() < until:
        try:
            urllib.request.urlopen("https://localhost" + path, context=blind, timeout=3)
            break
        except OSError:
            time.sleep(0.3)
END
"""
# The pool's processes of both workers, without their parents.
CHILDREN = (
    "for name in 1 2; do main=$(docker inspect -f '{{.State.Pid}}' " + P + "-celery-worker-$name); "
    "for pid in $(docker top " + P + "-celery-worker-$name -o pid | tail -n +2); do "
    '[ "$pid" = "$main" ] || kill -SIGNAL "$pid"; done; done'
)


@dataclass(frozen=True)
class Sick:
    """A way to be sick.

    :ivar subject: a failed check of this name has to tell ``found``.
    :ivar cause: what the diagnosis has to name first, id and subject.
    :ivar passes: a line of the checklist that has to pass all the same: it shows what a shallow look would see.
    :ivar fails: lines of the checklist that have to fail.
    """

    name: str
    make: str
    mend: str
    subject: str
    found: str
    cause: str
    variables: dict[str, Any] = field(default_factory=dict)
    passes: str = ""
    fails: tuple[str, ...] = ()


def certificate(names: str, days: str) -> str:
    """Return the script that makes nginx show another self-signed certificate; the first one is kept beside it."""
    program = f"""
import datetime as d
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "{names}")])
now = d.datetime.now(d.timezone.utc)
first, last = {days}
made = (x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now + d.timedelta(days=first)).not_valid_after(now + d.timedelta(days=last))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("{names}")]), False).sign(key, hashes.SHA256()))
open("{TLS}/fullchain.pem", "wb").write(made.public_bytes(s.Encoding.PEM))
open("{TLS}/privkey.pem", "wb").write(
    key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
"""
    return f"cp -a {TLS}/fullchain.pem {TLS}/privkey.pem /root/; python3 - <<'END'\n{program}END\ndocker exec {P}-nginx nginx -s reload"


CERTIFICATE_BACK = f"cp -a /root/fullchain.pem /root/privkey.pem {TLS}/; docker exec {P}-nginx nginx -s reload"

CASES = [
    Sick(
        "database stopped, and /health says ok",
        f"docker stop -t 5 {P}-db",
        f"docker start {P}-db",
        "^db: containers",
        "exited",
        "service.stopped db",
        passes="post.3.health",
        fails=("post.1.health", "post.2.containers"),
    ),
    Sick(
        "frontend stopped",
        f"docker stop -t 5 {P}-frontend",
        f"docker start {P}-frontend; {READY}",
        "^frontend: containers",
        "exited",
        "service.stopped frontend",
        fails=("post.4.frontend",),
    ),
    Sick(
        "Redis says PONG and refuses writes",
        f"{REDIS} CONFIG SET min-replicas-to-write 1",
        # Without it, the workers have ended again and again.
        f"{REDIS} CONFIG SET min-replicas-to-write 0; docker restart -t 5 {P}-celery-worker-1 {P}-celery-worker-2; sleep 8",
        "^redis: ",
        "NOREPLICAS",
        "redis.refuses_writes redis",
    ),
    Sick(
        "Redis wants another password",
        f"{REDIS} CONFIG SET requirepass other-password-of-the-test",
        f"docker restart -t 5 {P}-redis; docker restart -t 5 {P}-celery-worker-1 {P}-celery-worker-2; sleep 8",
        "^redis: ",
        "(?i)invalid username-password|WRONGPASS",
        "redis.password redis",
    ),
    Sick(
        "workers answer and do nothing",
        CHILDREN.replace("SIGNAL", "STOP"),
        CHILDREN.replace("SIGNAL", "CONT"),
        "queue default: canary",
        "TimeoutError",
        "celery.stuck celery-worker",
        fails=("post.5.workers",),
    ),
    Sick(
        "workers listen to another queue",
        f"{CELERY} control cancel_consumer default",
        f"{CELERY} control add_consumer default",
        "queue default: consumers",
        "none: its tasks pile up",
        "celery.queue_unconsumed default",
    ),
    Sick(
        "one worker too few",
        f"docker stop -t 5 {P}-celery-worker-2",
        f"docker start {P}-celery-worker-2",
        "^celery-worker: containers",
        "celery-worker-2 exited",
        "service.stopped celery-worker",
    ),
    Sick(
        "beat stopped by a signal",
        f"kill -STOP {BEAT_PID}",
        f"kill -CONT {BEAT_PID}",
        "celery-beat: scheduler process",
        r"1 of them stopped \(T",
        "celery.beat_stopped celery-beat",
        fails=("post.5.beat",),
    ),
    Sick(
        "two beats",
        f"docker exec -d {P}-celery-beat celery -A app.core.celery_app beat -s /tmp/second --pidfile=; sleep 3",
        f"docker restart -t 5 {P}-celery-beat; sleep 12",
        "celery-beat: scheduler process",
        "^2 running",
        "celery.beat_twice celery-beat",
    ),
    Sick(
        "beat runs and sends nothing",
        f"docker network disconnect {NETWORK} {P}-celery-beat; sleep 25",
        f"docker network connect --alias celery-beat {NETWORK} {P}-celery-beat; docker restart -t 5 {P}-celery-beat; sleep 12",
        "celery-beat: ticks",
        "the last one [0-9]+ s ago",
        "network.cut celery-beat",
    ),
    Sick(
        "a queue that nobody consumes",
        "true",
        "true",
        "queue metrics: consumers",
        "none: its tasks pile up",
        "celery.queue_unconsumed metrics",
        variables={"verify_unconsumed_queues_allowed": []},
    ),
    Sick(
        "an old image still runs",
        f"image=$(docker inspect -f '{{{{.Config.Image}}}}' {P}-frontend); docker tag $image {P}-frontend:aside; "
        "printf 'FROM %s\\nLABEL newer=1\\n' $image | docker build -q -t $image -",
        f"docker tag {P}-frontend:aside $(docker inspect -f '{{{{.Config.Image}}}}' {P}-frontend)",
        f"{P}-frontend: image",
        "^image [0-9a-f]{12}$",
        "image.other frontend",
    ),
    Sick(
        "nginx holds the address of before",
        # Something else takes the address that the backend gave up.
        f"docker network disconnect {NETWORK} {P}-backend; "
        f"docker run -d --rm --name aside --network {NETWORK} --entrypoint sleep residency-bed/redis:7 300; "
        f"docker network connect --alias backend {NETWORK} {P}-backend",
        f"docker rm -f aside; {READY}",
        "^API health",
        "status 50[24]",
        "proxy.stale_address nginx",
    ),
    Sick(
        "healthy, and dead after a few seconds",
        f"(sleep 12; kill -9 $(docker inspect -f '{{{{.State.Pid}}}}' {P}-frontend)) >/dev/null 2>&1 </dev/null &",
        f"docker restart -t 5 {P}-frontend; {READY}",
        "frontend: restarts",
        "^restarted 1 times",
        "service.restarted frontend",
        variables={"verify_hold": 22},
    ),
    Sick(
        "database behind the code",
        f"{PSQL} -c \"UPDATE alembic_version SET version_num = '20251208_task_runs'\"",
        f"{PSQL} -c \"UPDATE alembic_version SET version_num = '{HEAD}'\"",
        "database: revision",
        f"behind by .*{HEAD}",
        "database.behind db",
        fails=("post.6.revision",),
    ),
    Sick(
        "database ahead of the code",
        f"{PSQL} -c \"UPDATE alembic_version SET version_num = '20990101_future'\"",
        f"{PSQL} -c \"UPDATE alembic_version SET version_num = '{HEAD}'\"",
        "database: revision",
        "20990101_future, which this release does not know",
        "database.ahead db",
    ),
    Sick(
        "database on two branches",
        f"{PSQL} -c \"INSERT INTO alembic_version VALUES ('20251208_task_runs')\"",
        f"{PSQL} -c \"DELETE FROM alembic_version WHERE version_num = '20251208_task_runs'\"",
        "database: revision",
        "20251208_task_runs, 20251222_shift_index",
        "database.branches db",
    ),
    Sick(
        "certificate expired",
        certificate("localhost", "-400, -1"),
        CERTIFICATE_BACK,
        "frontend: certificate's lifetime",
        "^expired ",
        "tls.expired nginx",
        fails=("post.4.certificate",),
    ),
    Sick(
        "certificate near its end",
        certificate("localhost", "-90, 7"),
        CERTIFICATE_BACK,
        "frontend: certificate's lifetime",
        "^7 of 97",
        "tls.expires nginx",
    ),
    Sick(
        "certificate of another name",
        certificate("elsewhere.example", "-1, 90"),
        CERTIFICATE_BACK,
        "certificate's name",
        "elsewhere",
        "tls.name nginx",
    ),
    Sick(
        "certificate of another key",
        certificate("localhost", "-1, 90") + f"; cp -a /root/privkey.pem {TLS}/; docker restart -t 5 {P}-nginx; sleep 3",
        CERTIFICATE_BACK.replace(f"docker exec {P}-nginx nginx -s reload", f"docker restart -t 5 {P}-nginx"),
        "^nginx: containers",
        "restarting",
        "tls.key_mismatch nginx",
    ),
    Sick(
        "an error in the log",
        f"docker exec {P}-backend sh -c 'echo \"ERROR the disk is on fire\" > /proc/1/fd/1'",
        f"docker restart -t 5 {P}-backend; {READY}",
        f"{P}-backend: errors in the log",
        "disk is on fire",
        "logs.errors backend",
        # Not what the cases before have left in other logs.
        variables={"diagnose_seconds": 40},
    ),
]


#: Where not all are tried: one of each thing that is looked at, be it Docker, Redis, a worker, beat, an image, Alembic, TLS or a log.
SAMPLE = (
    "database stopped, and /health says ok",
    "frontend stopped",
    "Redis says PONG and refuses writes",
    "workers answer and do nothing",
    "beat stopped by a signal",
    "a queue that nobody consumes",
    "an old image still runs",
    "database behind the code",
    "certificate expired",
    "an error in the log",
)
#: Those that are diagnosed too.
DIAGNOSED = [case for case in CASES if os.environ.get("RESIDENCY_LONG_TESTS") or case.name in SAMPLE[:3]]
#: By the name of the case: what the diagnosis had to name first, and what it did name.
FIRST_CAUSES: dict[str, tuple[str, str]] = {}


def test_the_healthy_stack_passes(server: Server) -> None:
    outcome = server.verify(verify_log_seconds=5)
    assert outcome.rc == 0, outcome.told()
    assert outcome.failures() == []
    # Containers without a health check of Docker's are no finding: the frontend has none, and answers.
    assert "none" not in [check["found"] for check in outcome.failures()]


def test_the_healthy_stack_has_no_cause(server: Server) -> None:
    diagnosed = diagnose(server, verify_log_seconds=5)
    assert diagnosed.causes == [], diagnosed.output
    assert diagnosed.unavailable == {}
    # The bundle is there.
    assert {"README.txt", "diagnosis.json", "checks.json", f"logs/{P}-db.txt", "facts/network.json"} <= set(diagnosed.bundle)
    checked = diagnose(server, "--check", verify_log_seconds=5)
    assert (checked.causes, checked.bundle) == ([], {})


@pytest.mark.parametrize(
    "sick", [pytest.param(sick, id=sick.name, marks=() if sick.name in SAMPLE else pytest.mark.long) for sick in CASES]
)
def test_it_is_caught_by_name(sick: Sick, server: Server) -> None:
    try:
        server.ssh(sick.make)
        outcome = server.verify(**sick.variables)
        if sick in DIAGNOSED:
            FIRST_CAUSES[sick.name] = (sick.cause, diagnose(server, **sick.variables).first())
    finally:
        server.ssh(sick.mend)
    assert outcome.rc != 0, outcome.told()
    named = outcome.names(sick.subject, sick.found)
    assert named, outcome.told()
    assert all(check["remedy"] for check in named)
    assert named[0]["subject"] in outcome.output
    verdicts = {line["id"]: line["verdict"] for line in outcome.report["lines"]}
    assert not sick.passes or verdicts[sick.passes] == "pass"
    assert {line: verdicts[line] for line in sick.fails} == dict.fromkeys(sick.fails, "fail")
    assert outcome.seconds < 90


def test_the_first_cause_is_right_in_nine_of_ten() -> None:
    wrong = {name: f"{named or 'none'} in place of {cause}" for name, (cause, named) in FIRST_CAUSES.items() if named != cause}
    print("\n".join(f"{name}: {named}" for name, (_cause, named) in FIRST_CAUSES.items()))
    assert len(wrong) <= len(FIRST_CAUSES) // 10, wrong


def test_after_all_that_it_is_healthy_again(server: Server) -> None:
    outcome = server.verify(verify_log_seconds=5)
    assert outcome.rc == 0, outcome.told()
    diagnosed = diagnose(server, verify_log_seconds=5)
    assert diagnosed.causes == [], diagnosed.output
