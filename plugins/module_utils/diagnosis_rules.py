# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was seen of a stack to its likely causes, the first to look at first. Pure: data, and the order of causes.

A rule finds its cause by its own evidence. Then causes are put in order: what may follow from another one comes after it - a backend
that crashes without its database, a proxy without a certificate - and else the order of :data:`RULES`, and that of the stack, counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import diagnosis_predicates as predicates
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_evidence import Evidence, Found
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_facts import all_needed

#: The sections of the deployment checklist to which causes belong.
MIGRATION = "Issue: Database Migration Fails"
START = "Issue: Container Won't Start"
REFUSED = "Issue: Connection Refused"
TASKS = "Issue: Celery Tasks Not Running"
HOST = "3. Infrastructure Verification"
SETTINGS = "2. Environment Configuration"
ROLLBACK = "Rollback Procedures"
WEB = "4. Frontend Verification"
LOGS = "7. Log Review"


@dataclass(frozen=True)
class Rule:
    """How a cause is found, what it means, and what to do.

    :ivar sentence: with ``{subject}``.
    :ivar commands: what to type next, with ``{container}``, ``{project}`` and the words of the finding.
    :ivar section: of the deployment checklist.
    :ivar breaks: whether services that need this one fail with it.
    :ivar follows: causes that explain this one; ``*`` for any.
    :ivar note: nothing is sick by it; it is told beside the causes.
    """

    id: str
    section: str
    sentence: str
    commands: tuple[str, ...]
    find: Callable[[Evidence], Iterable[Found]]
    breaks: bool = False
    follows: tuple[str, ...] = ()
    note: bool = False


@dataclass(frozen=True)
class Cause:
    """A likely cause.

    :ivar because: id of a cause that explains it, as its own evidence says.
    :ivar follows_from: the cause that explains it, "id subject"; empty for one that stands for itself.
    """

    id: str
    subject: str
    sentence: str
    evidence: tuple[str, ...]
    commands: tuple[str, ...]
    section: str
    service: str = ""
    because: str = ""
    follows_from: str = ""

    @property
    def key(self) -> str:
        """Return id and subject as one text."""
        return f"{self.id} {self.subject}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Return the cause as plain data."""
        shown = {name: value for name, value in vars(self).items() if name != "because"}
        return {**shown, "evidence": list(self.evidence), "commands": list(self.commands)}


def diagnose(evidence: Evidence) -> tuple[list[Cause], list[Cause]]:
    """Return the likely causes, the first to look at first, and notes that explain nothing but should be known."""
    stack = evidence.names()
    found = [(rule, cause) for rule in RULES for cause in _causes(rule, evidence)]
    if not any(not rule.note for rule, _cause in found):
        found += [(LAST, cause) for cause in _causes(LAST, evidence)]
    causes = [(rule, cause) for rule, cause in found if not rule.note]
    placed = [replace(cause, follows_from=_explained(rule, cause, causes, evidence)) for rule, cause in causes]
    order = [rule.id for rule in (*RULES, LAST)]
    places = {name: place for place, name in enumerate(stack)}
    placed.sort(key=lambda item: (bool(item.follows_from), order.index(item.id), places.get(item.service, len(stack))))
    return placed, [cause for rule, cause in found if rule.note]


def _causes(rule: Rule, evidence: Evidence) -> list[Cause]:
    causes = []
    for item in rule.find(evidence):
        subject = item.subject or item.service
        containers = [container.name for container in evidence.of(item.service)]
        words = {"project": evidence.project, "subject": subject, "service": item.service, **item.words}
        words.setdefault("container", containers[0] if containers else subject)
        words["first"] = words["container"].partition(" ")[0]
        commands = tuple(command.format(**words) for command in rule.commands)
        sentence = rule.sentence.format(**words)
        causes.append(Cause(rule.id, subject, sentence, item.evidence, commands, rule.section, item.service, item.because))
    return causes


def _explained(rule: Rule, cause: Cause, causes: Sequence[tuple[Rule, Cause]], evidence: Evidence) -> str:
    """Return the key of the first cause from which this one may follow."""
    needed = all_needed(cause.service, evidence.needed) if cause.service else set()
    for other_rule, other in causes:
        if other.key == cause.key or rule.id in other_rule.follows:
            continue
        named = other.id in rule.follows or ("*" in rule.follows and "*" not in other_rule.follows)
        same = named and (not cause.service or not other.service or other.service == cause.service or "*" in rule.follows)
        if same or other.id == cause.because or (other_rule.breaks and other.service in needed):
            return other.key
    return ""


_DEPLOY = "ansible-playbook playbooks/deploy.yml"
_BACK = "ansible-playbook playbooks/rollback.yml"
_LOG = "docker logs --tail 200 {container}"
_RECREATE = f"{_DEPLOY} -e scheduler_version={{version}}"
_PSQL = "docker exec {container} sh -c 'psql -U $POSTGRES_USER -d $POSTGRES_DB -c"
_BROKEN = ("config.env_missing", "config.file_missing", "config.broken")

#: In the order in which causes are told that do not follow from each other.
RULES: tuple[Rule, ...] = (
    Rule(
        "host.disk_full",
        HOST,
        "The file system of {subject} is full, or has no inodes left.",
        ("df -h {path}; df -i {path}", "docker system df", "du -xh --max-depth=2 {path} | sort -h | tail"),
        predicates.disk,
    ),
    Rule(
        "host.memory",
        HOST,
        "The server's memory is used up.",
        ("docker stats --no-stream", "ps aux --sort=-rss | head"),
        predicates.memory,
    ),
    Rule(
        "docker.down",
        START,
        "Docker itself does not answer.",
        ("systemctl status docker.service", "journalctl --unit docker.service --lines 50", "systemctl restart docker.service"),
        predicates.docker,
        follows=("host.disk_full",),
    ),
    Rule(
        "config.env_missing",
        SETTINGS,
        "The .env file of the stack is gone.",
        ("install -m 0600 {kept}/.env {home}/.env", _RECREATE),
        predicates.env_missing,
    ),
    Rule("config.file_missing", SETTINGS, "A compose file of the stack is gone.", (_RECREATE,), predicates.file_missing),
    Rule(
        "config.broken",
        SETTINGS,
        "Docker Compose does not accept the project's files.",
        ("git -C {home} status", _RECREATE),
        predicates.config,
        follows=("config.env_missing", "config.file_missing", "docker.down"),
    ),
    Rule("release.missing", START, "Nothing is deployed on this server.", (_DEPLOY,), predicates.nothing_deployed),
    Rule("release.shut_down", START, "The whole stack is shut down.", (_RECREATE,), predicates.shut_down),
    Rule(
        "service.out_of_memory",
        START,
        "{subject} is killed since it takes more memory than it may have.",
        ("docker stats --no-stream {container}", _LOG, "# raise the memory limit of {service} in the compose file, then:", _DEPLOY),
        predicates.oom,
        breaks=True,
    ),
    Rule(
        "service.crashes",
        START,
        "{subject} ends again and again after its start; the last lines of its log say why.",
        (_LOG, _BACK),
        predicates.crash_loop,
        breaks=True,
        follows=("tls.key_mismatch", "host.memory"),
    ),
    Rule(
        "service.paused",
        START,
        "{subject} is frozen by `docker pause`.",
        ("docker unpause {container}",),
        predicates.paused,
        breaks=True,
    ),
    Rule(
        "service.stopped",
        START,
        "{subject} does not run, or too few of its containers do.",
        ("docker start {container}", _LOG.replace("container", "first"), _DEPLOY),
        predicates.stopped,
        breaks=True,
    ),
    Rule(
        "network.cut",
        REFUSED,
        "{subject} is cut off from the network of the stack.",
        ("docker network inspect {project}_default", "docker compose --project-name {project} ps {service}", _DEPLOY),
        predicates.network_cut,
        breaks=True,
    ),
    Rule(
        "database.password",
        REFUSED,
        "PostgreSQL refuses the password of the application.",
        ("docker logs --tail 50 {container}", f"{_DEPLOY} -e '{{{{\"environment_rotate\": [\"DB_PASSWORD\"]}}}}'"),
        predicates.database_password,
        breaks=True,
    ),
    Rule(
        "database.connections",
        REFUSED,
        "PostgreSQL has no connections left.",
        (f"{_PSQL} \"SELECT pid, state, application_name, query_start FROM "
         "pg_stat_activity ORDER BY query_start\"'",),
        predicates.database_connections,
        breaks=True,
    ),
    Rule(
        "database.read_only",
        REFUSED,
        "PostgreSQL takes no writes.",
        (f"{_PSQL} \"SHOW default_transaction_read_only\"'", _LOG),
        predicates.database_read_only,
        breaks=True,
    ),
    Rule(
        "database.no_answer",
        REFUSED,
        "PostgreSQL runs and does not answer.",
        (_LOG, "docker restart {container}"),
        predicates.database_mute,
        breaks=True,
        follows=("service.crashes", "service.stopped", "network.cut", "service.paused", "service.out_of_memory"),
    ),
    Rule(
        "redis.password",
        REFUSED,
        "Redis wants another password than the one of the stack.",
        ("docker restart {container}", f"{_DEPLOY}"),
        predicates.redis_password,
        breaks=True,
        follows=_BROKEN,
    ),
    Rule(
        "redis.refuses_writes",
        TASKS,
        "Redis answers, and refuses writes.",
        ("docker logs --tail 50 {container}", "df -h", "docker restart {container}"),
        predicates.redis_refuses,
        breaks=True,
        follows=("host.disk_full",),
    ),
    Rule(
        "redis.memory",
        TASKS,
        "Redis runs out of memory, or cannot write to its disk: tasks may be lost.",
        ("docker logs --tail 50 {container}", "docker stats --no-stream {container}", "df -h"),
        predicates.redis_full,
        follows=("host.disk_full", "redis.refuses_writes"),
    ),
    Rule(
        "redis.no_answer",
        REFUSED,
        "Redis runs and does not answer.",
        (_LOG, "docker restart {container}"),
        predicates.redis_mute,
        breaks=True,
        follows=("service.crashes", "service.stopped", "network.cut", "service.paused", "service.out_of_memory", *_BROKEN),
    ),
    Rule(
        "release.cut",
        ROLLBACK,
        "The deployment of {subject} neither finished nor was it taken back.",
        (f"{_DEPLOY} -e scheduler_version={{candidate}}", f"{_BACK} -e rollback_to={{version}}"),
        predicates.cut,
    ),
    Rule(
        "database.ahead",
        MIGRATION,
        "The database is ahead of the code: it has a revision that this release does not know.",
        (f"{_BACK} -e rollback_database=restore", f"{_DEPLOY} -e scheduler_version=RELEASE_THAT_KNOWS_IT"),
        predicates.ahead,
        follows=("release.cut",),
    ),
    Rule(
        "database.behind",
        MIGRATION,
        "The database is behind the code: revisions of this release are pending.",
        (f"{_RECREATE} --check --diff", _RECREATE),
        predicates.behind,
        follows=("release.cut",),
    ),
    Rule(
        "database.branches",
        MIGRATION,
        "alembic_version has other rows than the one head of the release.",
        (f"{_PSQL} \"SELECT * FROM alembic_version\"'",
         "ansible-playbook playbooks/backup.yml"),
        predicates.branches,
        follows=("release.heads",),
    ),
    Rule(
        "release.heads",
        MIGRATION,
        "The release's own history of revisions has several heads, or is broken.",
        ("# in the application's repository: alembic heads; alembic merge heads", f"{_DEPLOY} -e scheduler_version=MERGED_RELEASE"),
        predicates.heads,
    ),
    Rule(
        "database.locked",
        MIGRATION,
        "A session of the database waits for a lock that another one does not give back.",
        (f"{_PSQL} \"SELECT * FROM pg_stat_activity WHERE pid = {{blocker}}\"'",
         f"{_PSQL} \"SELECT pg_terminate_backend({{blocker}})\"'"),
        predicates.database_locked,
    ),
    Rule(
        "image.gone",
        START,
        "The image of {subject} was removed: it runs still, and could not be started again.",
        (_RECREATE,),
        predicates.image_gone,
        follows=("release.cut",),
    ),
    Rule(
        "service.not_listening",
        REFUSED,
        "{subject} runs, and does not listen where others look for it.",
        (_LOG, "nsenter --net=/proc/$(docker inspect --format '{{{{.State.Pid}}}}' {container})/ns/net ss -tln"),
        predicates.not_listening,
        breaks=True,
        follows=("redis.no_answer", "database.no_answer", "service.restarted"),
    ),
    Rule(
        "tls.key_mismatch",
        WEB,
        "The private key on disk is not that of the certificate: the proxy does not start with them.",
        ("openssl x509 -noout -pubkey -in {tls}/fullchain.pem", "openssl pkey -pubout -in {tls}/privkey.pem", _DEPLOY),
        predicates.key_mismatch,
        breaks=True,
    ),
    Rule(
        "service.unhealthy",
        START,
        "{subject} runs, and does not answer as it should.",
        (_LOG, "docker inspect --format '{{{{json .State.Health}}}}' {container}", _BACK),
        predicates.unhealthy,
        breaks=True,
        follows=("service.not_listening", "service.crashes", "network.cut", "service.restarted"),
    ),
    Rule(
        "service.restarted",
        START,
        "{subject} ended, and Docker started it again.",
        (_LOG, "docker inspect --format '{{{{json .State}}}}' {container}"),
        predicates.restarted,
    ),
    Rule(
        "image.other",
        ROLLBACK,
        "{subject} runs another image than its release has.",
        ("docker inspect --format '{{{{.Config.Image}}}} {{{{.Image}}}}' {container}", _RECREATE),
        predicates.other_image,
        follows=("release.cut",),
    ),
    Rule(
        "proxy.stale_address",
        REFUSED,
        "The proxy holds an old address of a service that is well: it looked its name up at its start only.",
        ("docker exec {container} nginx -s reload",),
        predicates.stale_address,
    ),
    Rule(
        "tls.expired",
        WEB,
        "The certificate is not valid now.",
        ("openssl s_client -connect 127.0.0.1:443 </dev/null | openssl x509 -noout -dates", _DEPLOY),
        predicates.certificate("certificate's lifetime", "^(expired|valid only from)"),
    ),
    Rule(
        "tls.name",
        WEB,
        "The certificate is for another name than that of the application.",
        ("openssl s_client -connect 127.0.0.1:443 </dev/null | openssl x509 -noout -ext subjectAltName", _DEPLOY),
        predicates.certificate("certificate's name", ""),
    ),
    Rule(
        "tls.chain",
        WEB,
        "Browsers do not trust the certificate's chain.",
        ("openssl s_client -connect 127.0.0.1:443 -showcerts </dev/null", _DEPLOY),
        predicates.certificate("certificate's chain|TLS version", ""),
        follows=("tls.expired", "tls.name"),
    ),
    Rule(
        "tls.not_reloaded",
        WEB,
        "The proxy shows another certificate than the one on disk.",
        ("docker exec {container} nginx -s reload",),
        predicates.certificate("certificate on disk", ""),
    ),
    Rule(
        "tls.expires",
        WEB,
        "The certificate is near its end.",
        ("systemctl list-timers", _DEPLOY),
        predicates.certificate("certificate's lifetime", "days left"),
        follows=("tls.not_reloaded",),
    ),
    Rule(
        "celery.no_answer",
        TASKS,
        "Workers run, and do not answer.",
        (_LOG, "docker restart {container}"),
        predicates.no_worker,
        follows=("service.crashes", "service.stopped", "network.cut", "service.paused", "service.restarted"),
    ),
    Rule(
        "celery.stuck",
        TASKS,
        "The workers answer, and do no work: a task of ours did not come back.",
        ("docker top {container}", _LOG, "docker restart {container}"),
        predicates.stuck,
        follows=("celery.no_answer", "network.cut", "service.paused"),
    ),
    Rule(
        "celery.queue_unconsumed",
        TASKS,
        "No worker consumes the queue {subject}: its tasks pile up for ever.",
        (
            "# if the workers' -Q has {queue}: docker restart {container}",
            "# else: add {queue} to it in the compose file, or stop sending there",
        ),
        predicates.unconsumed,
        follows=("celery.no_answer", "service.crashes", "service.stopped"),
    ),
    Rule(
        "celery.other_code",
        TASKS,
        "Workers and application do not have the same tasks: they run different code.",
        ("docker inspect --format '{{{{.Config.Image}}}}' {container}", _DEPLOY),
        predicates.other_tasks,
        follows=("image.other", "release.cut"),
    ),
    Rule(
        "celery.beat_stopped",
        TASKS,
        "Beat's container runs, but its scheduler does not, or is stopped by a signal.",
        ("docker top {container}", "docker restart {container}"),
        predicates.beat("scheduler process", r"^0 running|of them stopped"),
    ),
    Rule(
        "celery.beat_twice",
        TASKS,
        "More than one scheduler runs: every periodic task is sent twice.",
        ("docker top {container}", "docker restart {container}"),
        predicates.beat("scheduler process", r"^([2-9]|\d\d+) running$"),
    ),
    Rule(
        "celery.beat_silent",
        TASKS,
        "Beat runs, and sends nothing.",
        (_LOG, "docker restart {container}"),
        predicates.beat(": ticks$", ""),
        follows=("network.cut", "celery.beat_stopped", "celery.beat_twice"),
    ),
    Rule(
        "celery.backlog",
        TASKS,
        "More tasks wait than the workers get done.",
        ("docker stats --no-stream {container}", "# more replicas of {service}, or a higher CELERY_WORKER_CONCURRENCY, then:", _DEPLOY),
        predicates.backlog,
        follows=("celery.stuck", "celery.queue_unconsumed", "celery.no_answer", "service.stopped", "service.crashes"),
    ),
    Rule(
        "environment.differs",
        SETTINGS,
        "{subject} runs with other settings than .env and the compose files have now.",
        (f"{_RECREATE} --check --diff", _RECREATE),
        predicates.environment,
        follows=("release.cut", "image.other"),
    ),
    Rule(
        "web.wrong_answer",
        WEB,
        "The public address does not answer as it should.",
        ("ansible-playbook playbooks/verify.yml", _LOG),
        predicates.wrong_answers,
        follows=("*",),
    ),
    Rule(
        "web.slow",
        WEB,
        "Answers take longer than they may.",
        ("docker stats --no-stream", "uptime"),
        predicates.slow,
        follows=("*",),
    ),
    Rule(
        "logs.errors",
        LOGS,
        "{subject} logged errors or failed connections.",
        ("docker logs --since {seconds}s {container}",),
        predicates.log_errors,
        follows=("*",),
    ),
    Rule(
        "run.in_progress",
        ROLLBACK,
        "A run of ours works on this server now: what is seen may be on its way.",
        (),
        predicates.in_progress,
        note=True,
    ),
    Rule(
        "migration.running",
        MIGRATION,
        "A migration of the database runs now.",
        ("docker logs --tail 50 {container}", "docker wait {container}"),
        predicates.migrating,
        note=True,
    ),
    Rule(
        "release.failed",
        ROLLBACK,
        "The last deployment, {subject}, failed and does not serve.",
        ("ansible-playbook playbooks/releases.yml",),
        predicates.failed,
        note=True,
    ),
)
#: What is left where no rule knows a cause.
LAST = Rule(
    "unknown",
    LOGS,
    "Checks failed, and no rule knows their cause.",
    ("ansible-playbook playbooks/verify.yml", "ansible-playbook playbooks/diagnose.yml -e diagnose_bundle=true"),
    predicates.anything,
)
