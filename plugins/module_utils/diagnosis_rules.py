# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was seen of a stack to its likely causes, the first to look at first. Pure: data and predicates.

A rule finds its cause by its own evidence. Then causes are put in order: what may follow from another one comes after it - a backend that
crashes without its database, a proxy without a certificate - and among the others the order of :data:`RULES`, and that of the stack, counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_facts import Seen, all_needed
from ansible_collections.residency.scheduler.plugins.module_utils.health import CRASH_LOOP_RESTARTS, CRASH_LOOP_SECONDS
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService

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

#: Of a file system: less is full.
DISK_SHARE, DISK_BYTES, INODES_SHARE = 0.02, 200 * 2**20, 0.02
#: Of the memory: less is used up.
MEMORY_SHARE = 0.03
#: Seconds for which a session may wait for a lock.
LOCK_SECONDS = 10.0
#: Lines of a log that say why a process ended.
_REASON = re.compile(r"^\w*(\.\w+)*(Error|Exception|Exit)\b|\b(FATAL|CRITICAL|ERROR)\b|\[(emerg|alert|crit)\]|^Error:|Can't locate revision")
_PASSWORD = re.compile(r"(?i)password authentication failed")
_REDIS_PASSWORD = re.compile(r"(?i)WRONGPASS|NOAUTH|invalid username-password|Authentication required|without any password configured")
_REDIS_REFUSES = re.compile(r"NOREPLICAS|MISCONF|READONLY|OOM command not allowed")
_OUT_OF_MEMORY = 137


@dataclass(frozen=True)
class Evidence:
    """All that was seen.

    :ivar facts: by part (``host``, ``network``, ``ledger``, ...); a part that could not be had is not there.
    :ivar needed: whom each service needs, and on which port.
    :ivar seconds: how far back restarts and logs count.
    """

    project: str
    services: tuple[StackService, ...]
    checks: tuple[Check, ...] = ()
    containers: tuple[Seen, ...] = ()
    logs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    needed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seconds: float = 600.0

    def failed(self, topic: str = "", subject: str = "", found: str = "", verdicts: Sequence[str] = ("fail",)) -> list[Check]:
        """Return the checks with a bad verdict whose topic, subject and finding match these expressions."""
        return [
            check
            for check in self.checks
            if check.verdict in verdicts
            and re.fullmatch(topic or ".*", check.topic)
            and re.search(subject, check.subject)
            and re.search(found, check.found)
        ]

    def of(self, service: str) -> list[Seen]:
        """Return the containers of a service, without those of ``docker compose run``."""
        return [item for item in self.containers if item.service == service and not item.one_off]

    def kind(self, kind: str) -> list[str]:
        """Return the names of the services of a kind."""
        return [service.name for service in self.services if service.kind == kind]

    def names(self) -> list[str]:
        """Return all services, in the order of the stack; those that only containers tell of come last."""
        listed = [service.name for service in self.services]
        return listed + sorted({item.service for item in self.containers if not item.one_off} - set(listed))

    def reason(self, container: Seen) -> list[str]:
        """Return the lines of a container's log that may say why it ended, the last ones."""
        lines = [line for line in self.logs.get(container.name, ()) if line.strip()]
        return [line.strip()[:300] for line in [line for line in lines if _REASON.search(line)][-2:] or lines[-1:]]

    def crashing(self) -> list[Seen]:
        """Return the containers that end again and again."""
        return [item for item in self.containers if not item.one_off and crashes(item)]


def crashes(container: Seen) -> bool:
    """Tell whether a container ends again and again, or cannot be started at all."""
    if container.state in ("restarting", "dead"):
        return True
    return container.restarts >= CRASH_LOOP_RESTARTS and container.up is not None and container.up < CRASH_LOOP_SECONDS


@dataclass(frozen=True)
class Found:
    """What a rule found: about which service (or other subject), by what evidence, and names for the commands."""

    evidence: tuple[str, ...]
    service: str = ""
    subject: str = ""
    words: Mapping[str, str] = field(default_factory=dict)


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

    :ivar follows_from: the cause that explains it, "id subject"; empty for one that stands for itself.
    """

    id: str
    subject: str
    sentence: str
    evidence: tuple[str, ...]
    commands: tuple[str, ...]
    section: str
    service: str = ""
    follows_from: str = ""

    @property
    def key(self) -> str:
        """Return id and subject as one text."""
        return f"{self.id} {self.subject}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Return the cause as plain data."""
        return {**vars(self), "evidence": list(self.evidence), "commands": list(self.commands)}


def diagnose(evidence: Evidence) -> tuple[list[Cause], list[Cause]]:
    """Return the likely causes, the first to look at first, and notes that explain nothing but should be known."""
    stack = evidence.names()
    found = [(rule, cause) for rule in RULES for cause in _causes(rule, evidence)]
    if not any(not rule.note for rule, _cause in found):
        found += [(LAST, cause) for cause in _causes(LAST, evidence)]
    causes = [(rule, cause) for rule, cause in found if not rule.note]
    placed = [replace(cause, follows_from=_explained(rule, cause, causes, evidence)) for rule, cause in causes]
    order = [rule.id for rule in (*RULES, LAST)]
    placed.sort(key=lambda item: (bool(item.follows_from), order.index(item.id), stack.index(item.service) if item.service in stack else 99))
    return placed, [cause for rule, cause in found if rule.note]


def _causes(rule: Rule, evidence: Evidence) -> list[Cause]:
    causes = []
    for item in rule.find(evidence):
        subject = item.subject or item.service
        containers = [container.name for container in evidence.of(item.service)]
        words = {"project": evidence.project, "subject": subject, "service": item.service, **item.words}
        words.setdefault("container", containers[0] if containers else subject)
        commands = tuple(command.format(**words) for command in rule.commands)
        causes.append(Cause(rule.id, subject, rule.sentence.format(**words), item.evidence, commands, rule.section, item.service))
    return causes


def _explained(rule: Rule, cause: Cause, causes: Sequence[tuple[Rule, Cause]], evidence: Evidence) -> str:
    """Return the key of the first cause from which this one may follow."""
    needed = all_needed(cause.service, evidence.needed) if cause.service else set()
    for other_rule, other in causes:
        if other.key == cause.key or rule.id in other_rule.follows:
            continue
        named = other.id in rule.follows or ("*" in rule.follows and "*" not in other_rule.follows)
        same = named and (not cause.service or not other.service or other.service == cause.service or "*" in rule.follows)
        if same or (other_rule.breaks and other.service in needed):
            return other.key
    return ""


def _told(checks: Iterable[Check], count: int = 3) -> tuple[str, ...]:
    return tuple(f"{check.subject}: {check.found}"[:400] for check in list(checks)[:count])


def _by_service(evidence: Evidence, checks: Sequence[Check]) -> dict[str, list[Check]]:
    """Return checks by the service that their subject begins with, by its own name or that of a container."""
    owners = {name: name for name in evidence.names()} | {item.name: item.service for item in evidence.containers}
    found: dict[str, list[Check]] = {}
    for check in checks:
        owner = owners.get(check.subject.partition(": ")[0])
        if owner:
            found.setdefault(owner, []).append(check)
    return found


# ---- the host, and Docker --------------------------------------------------------------------------------------------------


def _disk(evidence: Evidence) -> Iterable[Found]:
    for system in (evidence.facts.get("host") or {}).get("file_systems", ()):
        path, free, size = system["paths"][0], system["free"], system["size"]
        words = {"path": path}
        if size and (free < DISK_BYTES or free / size < DISK_SHARE):
            yield Found((f"{', '.join(system['paths'])}: {free / 2**20:.0f} MB of {size / 2**20:.0f} MB free",), "", path, words)
        elif system["inodes_free_share"] < INODES_SHARE:
            yield Found((f"{', '.join(system['paths'])}: {system['inodes_free_share']:.1%} of the inodes free",), "", path, words)


def _memory(evidence: Evidence) -> Iterable[Found]:
    memory = (evidence.facts.get("host") or {}).get("memory") or {}
    total, left = memory.get("memtotal", 0), memory.get("memavailable", 0)
    if total and left / total < MEMORY_SHARE:
        yield Found((f"{left / 2**20:.0f} of {total / 2**20:.0f} MB of memory available",))


def _docker(evidence: Evidence) -> Iterable[Found]:
    docker = evidence.facts.get("docker") or {}
    if docker and not docker["answers"]:
        unit = [f"docker.service is {docker['unit']}"] if docker["unit"] else []
        yield Found((f"docker version: {docker['why']}", *unit, *docker["journal"][-2:]))


# ---- files and releases ----------------------------------------------------------------------------------------------------


def _present(evidence: Evidence) -> bool:
    """Tell whether anything was ever deployed here."""
    return bool(_ledger(evidence).get("releases") or [item for item in evidence.containers if not item.one_off])


def _ledger(evidence: Evidence) -> Mapping[str, Any]:
    return evidence.facts.get("ledger") or {}


def _release_words(evidence: Evidence) -> dict[str, str]:
    ledger = _ledger(evidence)
    good = ledger.get("last_good") or {}
    return {
        "version": str(good.get("version") or "VERSION"),
        "kept": f"{ledger.get('folder', '')}/{good.get('id') or 'ID'}",
        "home": str((evidence.facts.get("files") or {}).get("home", "")),
    }


def _env_missing(evidence: Evidence) -> Iterable[Found]:
    files = evidence.facts.get("files") or {}
    if files and not files["env_file"]["there"] and _present(evidence):
        yield Found((f"there is no {files['env_file']['path']}",), words=_release_words(evidence))


def _file_missing(evidence: Evidence) -> Iterable[Found]:
    files = evidence.facts.get("files") or {}
    gone = [entry["path"] for entry in files.get("compose", ()) if not entry["there"]]
    if gone and _present(evidence):
        yield Found(tuple(f"there is no {path}" for path in gone), words=_release_words(evidence))


def _config(evidence: Evidence) -> Iterable[Found]:
    broken = evidence.failed("services", found="Reading (the compose project|scheduler_services)")
    if broken and _present(evidence):
        yield Found(_told(broken, 1), words=_release_words(evidence))


def _nothing_deployed(evidence: Evidence) -> Iterable[Found]:
    if "ledger" in evidence.facts and _answers(evidence) and not _present(evidence):
        yield Found(("no release is in the ledger, and the project has no container",))


def _answers(evidence: Evidence) -> bool:
    return bool((evidence.facts.get("docker") or {}).get("answers"))


def _down(evidence: Evidence) -> bool:
    """Tell whether the stack as a whole has no container."""
    return _answers(evidence) and not [item for item in evidence.containers if not item.one_off]


def _shut_down(evidence: Evidence) -> Iterable[Found]:
    ledger = _ledger(evidence)
    if _down(evidence) and ledger.get("last_good"):
        record = ledger.get("shutdown") or {}
        said = [f"shut down {record['at']} by {record['by'] or 'somebody'}: {record['reason'] or 'no reason given'}"] if record else []
        yield Found((f"the project {evidence.project} has no container", *said), words=_release_words(evidence))


def _running(evidence: Evidence) -> str:
    """Return who holds the server's lock; empty where nobody does."""
    return str((evidence.facts.get("lock") or {}).get("holder", ""))


def _in_progress(evidence: Evidence) -> Iterable[Found]:
    if _running(evidence):
        yield Found((_running(evidence),))


def _newest(evidence: Evidence) -> Mapping[str, Any]:
    releases = _ledger(evidence).get("releases") or [{}]
    return max(releases, key=lambda item: str(item.get("id", "")))


def _cut(evidence: Evidence) -> Iterable[Found]:
    open_ones = [item for item in _ledger(evidence).get("releases", ()) if item["verdict"] == "candidate"]
    if open_ones and not _running(evidence):
        last = open_ones[-1]
        words = {**_release_words(evidence), "candidate": str(last["version"])}
        yield Found((f"{last['id']} was begun {last.get('at') or ''}, and neither finished nor taken back",), "", last["version"], words)


def _failed(evidence: Evidence) -> Iterable[Found]:
    last = _newest(evidence)
    if last.get("verdict") in ("failed", "rolled_back"):
        became = "failed before it served" if last["verdict"] == "failed" else "was taken back"
        why = " ".join(str(last.get("why") or "no reason is noted").split())[:600]
        yield Found((f"{last['id']} {became} {last.get('at') or ''}: {why}",), "", str(last["version"]))


# ---- containers ------------------------------------------------------------------------------------------------------------


def _oom(evidence: Evidence) -> Iterable[Found]:
    for name in evidence.names():
        killed = [item for item in evidence.of(name) if _killed(item)]
        if killed:
            limit = killed[0].memory_limit
            limited = f"its limit is {limit / 2**20:.0f} MB" if limit else "it has no limit of its own"
            yield Found(tuple(f"{item.name}: {_ended(item)}; {limited}" for item in killed), name, words={"container": killed[0].name})


def _killed(container: Seen) -> bool:
    if container.oom_killed:
        return container.state != "running" or crashes(container)
    # Where a child of the first process was killed, Docker may not know of it.
    return container.exit_code == _OUT_OF_MEMORY and container.memory_limit > 0 and container.state == "restarting"


def _ended(container: Seen) -> str:
    killed = ", OOMKilled" if container.oom_killed else ""
    again = f", restarted {container.restarts} times" if container.restarts else ""
    return f"{container.state}, exit code {container.exit_code}{killed}{again}"


def _crashes(evidence: Evidence) -> Iterable[Found]:
    for name in evidence.names():
        bad = [item for item in evidence.crashing() if item.service == name and not _killed(item)]
        if bad:
            told = tuple(f"{item.name}: {_ended(item)}" for item in bad) + tuple(evidence.reason(bad[0]))
            yield Found(told, name, words={"container": bad[0].name})
            continue
        again = evidence.failed("containers", f"^{re.escape(evidence.project)}-{re.escape(name)}(-\\d+)?: restarts", "restarted|while waiting")
        if again and not [item for item in evidence.of(name) if _killed(item)]:
            container = next((item for item in evidence.of(name) if item.name == again[0].subject.partition(": ")[0]), None)
            yield Found(_told(again) + tuple(evidence.reason(container) if container else ()), name)


def _paused(evidence: Evidence) -> Iterable[Found]:
    for name in evidence.names():
        frozen = [item.name for item in evidence.of(name) if item.state == "paused"]
        if frozen:
            yield Found(tuple(f"{item}: paused" for item in frozen), name, words={"container": " ".join(frozen)})


def _stopped(evidence: Evidence) -> Iterable[Found]:
    if _down(evidence) or not _answers(evidence):
        return
    wanted = {service.name for service in evidence.services if not service.optional}
    for name in evidence.names():
        mine = evidence.of(name)
        down = [item for item in mine if item.state in ("exited", "created", "removing") and not item.oom_killed]
        told = tuple(f"{item.name}: {item.state}, exit code {item.exit_code}, ended {item.finished or 'never'}" for item in down)
        if down:
            last = tuple(evidence.reason(down[0])) if down[0].exit_code not in (0, 137, 143) else ()
            yield Found(told + last, name, words={"container": " ".join(item.name for item in down)})
        elif not mine and name in wanted:
            yield Found((f"there is no container of {name}",), name, words={"container": f"{evidence.project}-{name}"})
        elif mine and all(item.state == "running" for item in mine) and evidence.failed("containers", f"^{re.escape(name)}: containers"):
            yield Found(_told(evidence.failed("containers", f"^{re.escape(name)}: containers")), name)


def _restarted(evidence: Evidence) -> Iterable[Found]:
    for name in evidence.names():
        again = [item for item in evidence.of(name) if item.restarts and item.up is not None and item.up < evidence.seconds]
        if again and not any(crashes(item) for item in again):
            told = tuple(f"{item.name}: Docker started it again {item.restarts} times, the last time {item.up or 0:.0f} s ago" for item in again)
            yield Found(told + tuple(evidence.reason(again[0])), name, words={"container": again[0].name})


def _other_image(evidence: Evidence) -> Iterable[Found]:
    for name, checks in _by_service(evidence, evidence.failed("containers", ": image$")).items():
        gone = [check for check in checks if "which is gone" in check.expected]
        if not gone:
            told = tuple(f"{check.subject}: {check.found}, expected {check.expected}" for check in checks)
            yield Found(told, name, words=_release_words(evidence))


def _image_gone(evidence: Evidence) -> Iterable[Found]:
    for name, checks in _by_service(evidence, evidence.failed("containers", ": image$")).items():
        if any("which is gone" in check.expected for check in checks):
            yield Found(tuple(f"{check.subject}: expected {check.expected}" for check in checks), name, words=_release_words(evidence))


# ---- network ---------------------------------------------------------------------------------------------------------------


def _unreached(evidence: Evidence) -> list[tuple[Seen, str, Mapping[str, Any]]]:
    """Return who does not reach whom, where both run: container, service that is not reached, and how it was tried."""
    network = evidence.facts.get("network") or {}
    running = {item.service for item in evidence.containers if item.state == "running" and not crashes(item)}
    return [
        (container, str(way["name"]), way)
        for container in evidence.containers
        for way in (network.get(container.name) or {}).get("reaches", ())
        if way["error"] and way["name"] in running and not container.one_off
    ]


def _network_cut(evidence: Evidence) -> Iterable[Found]:
    network = evidence.facts.get("network") or {}
    for name in evidence.names():
        told = [f"{item.name}: in no network" for item in evidence.of(name) if item.name in network and not item.networks]
        told += [
            f"{container.name} does not reach {other}:{way['port']}: {way['error']}"
            for container, other, way in _unreached(evidence)
            if container.service == name and "refused" not in way["error"]
        ]
        if told:
            yield Found(tuple(told[:4]), name)


def _not_listening(evidence: Evidence) -> Iterable[Found]:
    network = evidence.facts.get("network") or {}
    for name in evidence.names():
        refused = [
            f"{container.name} connects to {other}:{way['port']}: {way['error']}"
            for container, other, way in _unreached(evidence)
            if other == name and "refused" in way["error"]
        ]
        if refused:
            told = [f"{item.name} listens on {', '.join(network[item.name]['listens']) or 'nothing'}" for item in evidence.of(name)
                    if item.name in network]  # fmt: skip
            yield Found((*refused[:3], *told), name)


# ---- PostgreSQL and Redis --------------------------------------------------------------------------------------------------


def _home(evidence: Evidence, kind: str) -> str:
    return next(iter(evidence.kind(kind)), "")


def _asked(evidence: Evidence) -> list[Check]:
    """Return the failed checks that asked something now, not what logs told of before."""
    return [check for check in evidence.failed() if not check.topic.startswith("log")]


def _says(evidence: Evidence, pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Return what checks, and the last words of what crashes, say in this manner."""
    told = [f"{check.subject}: {check.found}"[:400] for check in _asked(evidence) if pattern.search(check.found)]
    return (*told, *(f"{item.name}: {line}" for item in evidence.crashing() for line in evidence.reason(item) if pattern.search(line)))


def _database_password(evidence: Evidence) -> Iterable[Found]:
    told = _says(evidence, _PASSWORD)
    if told:
        yield Found(told[:3], _home(evidence, "postgres"))


def _database_connections(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed("postgres", ": connections left")) + _says(evidence, re.compile("(?i)too many clients|remaining connection"))
    if told:
        yield Found(told[:3], _home(evidence, "postgres"))


def _database_read_only(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed("postgres", ": login and writable"))
    if told:
        yield Found(told, _home(evidence, "postgres"))


def _database_mute(evidence: Evidence) -> Iterable[Found]:
    others = (_PASSWORD, re.compile("(?i)too many clients|remaining connection"))
    told = [check for check in evidence.failed("postgres", ": postgres$") if not any(pattern.search(check.found) for pattern in others)]
    if told:
        yield Found(_told(told), _home(evidence, "postgres"))


def _database_locked(evidence: Evidence) -> Iterable[Found]:
    waiting = [row for row in (evidence.facts.get("database") or {}).get("waiting", ()) if row["seconds"] >= LOCK_SECONDS]
    if waiting:
        told = tuple(f"session {row['pid']} waits {row['seconds']:.0f} s for a lock of session {row['blocked_by']}" for row in waiting[:3])
        yield Found(told, _home(evidence, "postgres"), words={"blocker": str(waiting[0]["blocked_by"])})


def _redis_password(evidence: Evidence) -> Iterable[Found]:
    told = _says(evidence, _REDIS_PASSWORD)
    if told:
        yield Found(told[:3], _home(evidence, "redis"))


def _redis_refuses(evidence: Evidence) -> Iterable[Found]:
    told = [check for check in evidence.failed("redis") if _REDIS_REFUSES.search(check.found)]
    if told:
        yield Found(_told(told), _home(evidence, "redis"))


def _redis_full(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed("redis", ": (memory|persistence)$"))
    if told:
        yield Found(told, _home(evidence, "redis"))


def _redis_mute(evidence: Evidence) -> Iterable[Found]:
    others = (_REDIS_PASSWORD, _REDIS_REFUSES)
    checks = evidence.failed("redis", ": (redis|write and read)$")
    told = [check for check in checks if not any(pattern.search(check.found) for pattern in others)]
    if told:
        yield Found(_told(told), _home(evidence, "redis"))


# ---- migrations ------------------------------------------------------------------------------------------------------------


def _revision(evidence: Evidence, found: str) -> tuple[str, ...]:
    return _told(evidence.failed("alembic", "database: revision", found))


def _ahead(evidence: Evidence) -> Iterable[Found]:
    told = _revision(evidence, "does not know") or _says(evidence, re.compile("Can't locate revision"))
    if told:
        yield Found(told[:3], _home(evidence, "postgres"), words=_release_words(evidence))


def _behind(evidence: Evidence) -> Iterable[Found]:
    told = _revision(evidence, "behind by")
    if told:
        yield Found(told, _home(evidence, "postgres"), words=_release_words(evidence))


def _branches(evidence: Evidence) -> Iterable[Found]:
    told = tuple(text for text in _revision(evidence, "") if "behind by" not in text and "does not know" not in text)
    if told:
        yield Found(told, _home(evidence, "postgres"))


def _heads(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed("alembic", "database: heads")) + _told(evidence.failed("alembic", found="history of revisions is broken"))
    if told:
        yield Found(told, _home(evidence, "postgres"), words=_release_words(evidence))


# ---- what speaks HTTP ------------------------------------------------------------------------------------------------------


def _unhealthy(evidence: Evidence) -> Iterable[Found]:
    kinds = {service.name: service for service in evidence.services}
    for name, checks in _by_service(evidence, evidence.failed("http|containers", "GET |Docker health")).items():
        service = kinds.get(name)
        running = [item for item in evidence.of(name) if item.state == "running" and not crashes(item)]
        if running and not (service and service.docker_health_is_advice):
            yield Found((*_told(checks), *(f"{item.name}: {text}" for item in running for text in item.health_log[-1:])), name)


def _stale_address(evidence: Evidence) -> Iterable[Found]:
    wrong = [check for check in evidence.failed(subject="GET|POST", found=r"status 50[24]") if check.topic != "http"]
    proxies = [item for name in evidence.kind("proxy") for item in evidence.of(name) if item.state == "running"]
    direct = evidence.failed("http", "GET ")
    web = [item for name in evidence.kind("http") for item in evidence.of(name)]
    if wrong and proxies and not direct and web and all(item.state == "running" for item in web):
        yield Found(_told(wrong), proxies[0].service, words={"container": proxies[0].name})


def _key_mismatch(evidence: Evidence) -> Iterable[Found]:
    certificate = evidence.facts.get("certificate") or {}
    if certificate and not certificate["key_fits"]:
        yield Found((f"{certificate['key']} is not the key of {certificate['path']}",), _home(evidence, "proxy"))


def _certificate(subject: str, found: str) -> Callable[[Evidence], Iterable[Found]]:
    def find(evidence: Evidence) -> Iterable[Found]:
        told = _told(evidence.failed("tls", subject, found))
        if told:
            yield Found(told, _home(evidence, "proxy"))

    return find


def _wrong_answers(evidence: Evidence) -> Iterable[Found]:
    known = {"http", "tls", "containers", "postgres", "redis", "alembic", "services", "hold", "celery", "database"}
    wrong = [item for item in evidence.failed(subject="(GET|POST|HEAD|OPTIONS) |: TLS$") if item.topic not in known or item.subject.endswith("TLS")]
    if wrong:
        yield Found(_told(wrong, 4), _home(evidence, "proxy"))


def _slow(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed(subject=": response time$"))
    if told:
        yield Found(told)


# ---- Celery ----------------------------------------------------------------------------------------------------------------


def _workers(evidence: Evidence) -> str:
    return _home(evidence, "celery_worker")


def _no_worker(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed("celery_worker", ": (workers that answer|celery_worker)$")) + _told(evidence.failed("celery", found="Asking"))
    if told and any(item.state == "running" for item in evidence.of(_workers(evidence))):
        yield Found(told, _workers(evidence))


def _stuck(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed("celery_canary"))
    if told:
        yield Found(told, _workers(evidence))


def _unconsumed(evidence: Evidence) -> Iterable[Found]:
    for check in evidence.failed("celery_queues", "^queue .*: consumers$"):
        queue = check.subject.removeprefix("queue ").removesuffix(": consumers")
        yield Found(_told([check]), _workers(evidence), queue, {"queue": queue})


def _other_tasks(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed("celery_worker|celery_beat", "registered tasks|beat schedule: tasks"))
    if told:
        yield Found(told, _workers(evidence))


def _backlog(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed("celery_queues", "queues: tasks waiting", verdicts=("warn", "fail")))
    if told:
        yield Found(told, _workers(evidence))


def _beat(subject: str, found: str) -> Callable[[Evidence], Iterable[Found]]:
    def find(evidence: Evidence) -> Iterable[Found]:
        told = _told(evidence.failed("celery_beat", subject, found))
        if told and any(item.state == "running" for item in evidence.of(_home(evidence, "celery_beat"))):
            yield Found(told, _home(evidence, "celery_beat"))

    return find


# ---- settings and logs -----------------------------------------------------------------------------------------------------


def _environment(evidence: Evidence) -> Iterable[Found]:
    environment = evidence.facts.get("environment") or {}
    for name in evidence.names():
        told = [
            f"{item.name}: {', '.join(environment[item.name]['differ'] + environment[item.name]['missing'])}"
            for item in evidence.of(name)
            if item.name in environment and (environment[item.name]["differ"] or environment[item.name]["missing"])
        ]
        if told:
            yield Found(tuple(told), name, words=_release_words(evidence))


def _log_errors(evidence: Evidence) -> Iterable[Found]:
    for name, checks in _by_service(evidence, evidence.failed("log_errors|log_connections")).items():
        container = checks[0].subject.partition(": ")[0]
        yield Found(_told(checks), name, words={"container": container, "seconds": f"{evidence.seconds:.0f}"})


def _anything(evidence: Evidence) -> Iterable[Found]:
    told = _told(evidence.failed(), 5)
    if told:
        yield Found(told)


_DEPLOY = "ansible-playbook playbooks/deploy.yml"
_BACK = "ansible-playbook playbooks/rollback.yml"
_LOG = "docker logs --tail 200 {container}"
_RECREATE = f"{_DEPLOY} -e scheduler_version={{version}}"
_BROKEN = ("config.env_missing", "config.file_missing", "config.broken")

#: In the order in which causes are told that do not follow from each other.
RULES: tuple[Rule, ...] = (
    Rule(
        "host.disk_full",
        HOST,
        "The file system of {subject} is full, or has no inodes left.",
        ("df -h {path}; df -i {path}", "docker system df", "du -xh --max-depth=2 {path} | sort -h | tail"),
        _disk,
    ),
    Rule("host.memory", HOST, "The server's memory is used up.", ("docker stats --no-stream", "ps aux --sort=-rss | head"), _memory),
    Rule(
        "docker.down",
        START,
        "Docker itself does not answer.",
        ("systemctl status docker.service", "journalctl --unit docker.service --lines 50", "systemctl restart docker.service"),
        _docker,
        follows=("host.disk_full",),
    ),
    Rule(
        "config.env_missing",
        SETTINGS,
        "The .env file of the stack is gone.",
        ("install -m 0600 {kept}/.env {home}/.env", _RECREATE),
        _env_missing,
    ),
    Rule("config.file_missing", SETTINGS, "A compose file of the stack is gone.", (_RECREATE,), _file_missing),
    Rule(
        "config.broken",
        SETTINGS,
        "Docker Compose does not accept the project's files.",
        ("git -C {home} status", _RECREATE),
        _config,
        follows=("config.env_missing", "config.file_missing", "docker.down"),
    ),
    Rule("release.missing", START, "Nothing is deployed on this server.", (_DEPLOY,), _nothing_deployed),
    Rule("release.shut_down", START, "The whole stack is shut down.", (_RECREATE,), _shut_down),
    Rule(
        "service.out_of_memory",
        START,
        "{subject} is killed since it takes more memory than it may have.",
        ("docker stats --no-stream {container}", _LOG, "# raise deploy.resources.limits.memory of {service} in the compose file, then:", _DEPLOY),
        _oom,
        breaks=True,
    ),
    Rule(
        "service.crashes",
        START,
        "{subject} ends again and again after its start; the last lines of its log say why.",
        (_LOG, _BACK),
        _crashes,
        breaks=True,
        follows=("tls.key_mismatch", "database.ahead", "host.memory"),
    ),
    Rule("service.paused", START, "{subject} is frozen by `docker pause`.", ("docker unpause {container}",), _paused, breaks=True),
    Rule(
        "service.stopped",
        START,
        "{subject} does not run, or too few of its containers do.",
        ("docker start {container}", _LOG.replace("{container}", "CONTAINER"), _DEPLOY),
        _stopped,
        breaks=True,
    ),
    Rule(
        "network.cut",
        REFUSED,
        "{subject} is cut off from the network of the stack.",
        ("docker network inspect {project}_default", "docker compose --project-name {project} ps {service}", _DEPLOY),
        _network_cut,
        breaks=True,
    ),
    Rule(
        "database.password",
        REFUSED,
        "PostgreSQL refuses the password of the application.",
        ("docker logs --tail 50 {container}", f"{_DEPLOY} -e '{{{{\"environment_rotate\": [\"DB_PASSWORD\"]}}}}'"),
        _database_password,
        breaks=True,
    ),
    Rule(
        "database.connections",
        REFUSED,
        "PostgreSQL has no connections left.",
        ("docker exec {container} sh -c 'psql -U $POSTGRES_USER -d $POSTGRES_DB -c \"SELECT pid, state, application_name, query_start FROM "
         "pg_stat_activity ORDER BY query_start\"'",),
        _database_connections,
        breaks=True,
    ),
    Rule(
        "database.read_only",
        REFUSED,
        "PostgreSQL takes no writes.",
        ("docker exec {container} sh -c 'psql -U $POSTGRES_USER -d $POSTGRES_DB -c \"SHOW default_transaction_read_only\"'", _LOG),
        _database_read_only,
        breaks=True,
    ),
    Rule(
        "database.no_answer",
        REFUSED,
        "PostgreSQL runs and does not answer.",
        (_LOG, "docker restart {container}"),
        _database_mute,
        breaks=True,
        follows=("service.crashes", "service.stopped", "network.cut", "service.paused", "service.out_of_memory"),
    ),
    Rule(
        "redis.password",
        REFUSED,
        "Redis wants another password than the one of the stack.",
        ("docker restart {container}", f"{_DEPLOY}"),
        _redis_password,
        breaks=True,
        follows=_BROKEN,
    ),
    Rule(
        "redis.refuses_writes",
        TASKS,
        "Redis answers, and refuses writes.",
        ("docker logs --tail 50 {container}", "df -h", "docker restart {container}"),
        _redis_refuses,
        breaks=True,
        follows=("host.disk_full",),
    ),
    Rule(
        "redis.memory",
        TASKS,
        "Redis runs out of memory, or cannot write to its disk: tasks may be lost.",
        ("docker logs --tail 50 {container}", "docker stats --no-stream {container}", "df -h"),
        _redis_full,
        follows=("host.disk_full", "redis.refuses_writes"),
    ),
    Rule(
        "redis.no_answer",
        REFUSED,
        "Redis runs and does not answer.",
        (_LOG, "docker restart {container}"),
        _redis_mute,
        breaks=True,
        follows=("service.crashes", "service.stopped", "network.cut", "service.paused", "service.out_of_memory", *_BROKEN),
    ),
    Rule(
        "release.cut",
        ROLLBACK,
        "The deployment of {subject} was cut in its middle.",
        (f"{_DEPLOY} -e scheduler_version={{candidate}}", f"{_BACK} -e rollback_to={{version}}"),
        _cut,
    ),
    Rule(
        "database.ahead",
        MIGRATION,
        "The database is ahead of the code: it has a revision that this release does not know.",
        (f"{_BACK} -e rollback_database=restore", f"{_DEPLOY} -e scheduler_version=RELEASE_THAT_KNOWS_IT"),
        _ahead,
        breaks=True,
        follows=("release.cut",),
    ),
    Rule(
        "database.behind",
        MIGRATION,
        "The database is behind the code: revisions of this release are pending.",
        (f"{_RECREATE} --check --diff", _RECREATE),
        _behind,
        follows=("release.cut",),
    ),
    Rule(
        "database.branches",
        MIGRATION,
        "alembic_version has other rows than the one head of the release.",
        ("docker exec {container} sh -c 'psql -U $POSTGRES_USER -d $POSTGRES_DB -c \"SELECT * FROM alembic_version\"'",
         "ansible-playbook playbooks/backup.yml"),
        _branches,
        follows=("release.heads",),
    ),
    Rule(
        "release.heads",
        MIGRATION,
        "The release's own history of revisions has several heads, or is broken.",
        ("# in the application's repository: alembic heads; alembic merge heads", f"{_DEPLOY} -e scheduler_version=MERGED_RELEASE"),
        _heads,
    ),
    Rule(
        "database.locked",
        MIGRATION,
        "A session of the database waits for a lock that another one does not give back.",
        ("docker exec {container} sh -c 'psql -U $POSTGRES_USER -d $POSTGRES_DB -c \"SELECT * FROM pg_stat_activity WHERE pid = {blocker}\"'",
         "docker exec {container} sh -c 'psql -U $POSTGRES_USER -d $POSTGRES_DB -c \"SELECT pg_terminate_backend({blocker})\"'"),
        _database_locked,
    ),
    Rule(
        "image.gone",
        START,
        "The image of {subject} was removed: it runs still, and could not be started again.",
        (_RECREATE,),
        _image_gone,
        follows=("release.cut",),
    ),
    Rule(
        "image.other",
        ROLLBACK,
        "{subject} runs another image than its release has.",
        ("docker inspect --format '{{{{.Config.Image}}}} {{{{.Image}}}}' {container}", _RECREATE),
        _other_image,
        follows=("release.cut",),
    ),
    Rule(
        "service.not_listening",
        REFUSED,
        "{subject} runs, and does not listen where others look for it.",
        (_LOG, "nsenter --net=/proc/$(docker inspect --format '{{{{.State.Pid}}}}' {container})/ns/net ss -tln"),
        _not_listening,
        breaks=True,
        follows=("redis.no_answer", "database.no_answer"),
    ),
    Rule(
        "tls.key_mismatch",
        WEB,
        "The private key on disk is not that of the certificate: the proxy does not start with them.",
        ("openssl x509 -noout -pubkey -in {tls}/fullchain.pem; openssl pkey -pubout -in {tls}/privkey.pem".replace("{tls}", "TLS_DIR"), _DEPLOY),
        _key_mismatch,
        breaks=True,
    ),
    Rule(
        "service.unhealthy",
        START,
        "{subject} runs, and does not answer as it should.",
        (_LOG, "docker inspect --format '{{{{json .State.Health}}}}' {container}", _BACK),
        _unhealthy,
        breaks=True,
        follows=("service.not_listening", "service.crashes", "network.cut", "service.restarted"),
    ),
    Rule(
        "proxy.stale_address",
        REFUSED,
        "The proxy holds an old address of a service that is well: it looked its name up at its start only.",
        ("docker exec {container} nginx -s reload",),
        _stale_address,
    ),
    Rule(
        "tls.expired",
        WEB,
        "The certificate is not valid now.",
        ("openssl s_client -connect 127.0.0.1:443 </dev/null | openssl x509 -noout -dates", _DEPLOY),
        _certificate("certificate's lifetime", "^(expired|valid only from)"),
    ),
    Rule(
        "tls.name",
        WEB,
        "The certificate is for another name than that of the application.",
        ("openssl s_client -connect 127.0.0.1:443 </dev/null | openssl x509 -noout -ext subjectAltName", _DEPLOY),
        _certificate("certificate's name", ""),
    ),
    Rule(
        "tls.chain",
        WEB,
        "Browsers do not trust the certificate's chain.",
        ("openssl s_client -connect 127.0.0.1:443 -showcerts </dev/null", _DEPLOY),
        _certificate("certificate's chain|TLS version", ""),
        follows=("tls.expired", "tls.name"),
    ),
    Rule(
        "tls.not_reloaded",
        WEB,
        "The proxy shows another certificate than the one on disk.",
        ("docker exec {container} nginx -s reload",),
        _certificate("certificate on disk", ""),
    ),
    Rule(
        "tls.expires",
        WEB,
        "The certificate is near its end.",
        ("systemctl list-timers", _DEPLOY),
        _certificate("certificate's lifetime", "days left"),
        follows=("tls.not_reloaded",),
    ),
    Rule(
        "celery.no_answer",
        TASKS,
        "Workers run, and do not answer.",
        (_LOG, "docker restart {container}"),
        _no_worker,
        follows=("service.crashes", "service.stopped", "network.cut", "service.paused", "service.restarted"),
    ),
    Rule(
        "celery.stuck",
        TASKS,
        "The workers answer, and do no work: a task of ours did not come back.",
        ("docker top {container}", _LOG, "docker restart {container}"),
        _stuck,
        follows=("celery.no_answer", "network.cut", "service.paused"),
    ),
    Rule(
        "celery.queue_unconsumed",
        TASKS,
        "No worker consumes the queue {subject}: its tasks pile up for ever.",
        ("# if the workers' -Q has {queue}: docker restart {container}", "# else: add {queue} to it in the compose file, or stop sending there"),
        _unconsumed,
        follows=("celery.no_answer", "service.crashes", "service.stopped"),
    ),
    Rule(
        "celery.other_code",
        TASKS,
        "Workers and application do not have the same tasks: they run different code.",
        ("docker inspect --format '{{{{.Config.Image}}}}' {container}", _DEPLOY),
        _other_tasks,
        follows=("image.other", "release.cut"),
    ),
    Rule(
        "celery.beat_stopped",
        TASKS,
        "Beat's container runs, but its scheduler does not, or is stopped by a signal.",
        ("docker top {container}", "docker restart {container}"),
        _beat("scheduler process", r"^0 running|of them stopped"),
    ),
    Rule(
        "celery.beat_twice",
        TASKS,
        "More than one scheduler runs: every periodic task is sent twice.",
        ("docker top {container}", "docker restart {container}"),
        _beat("scheduler process", r"^([2-9]|\d\d+) running$"),
    ),
    Rule(
        "celery.beat_silent",
        TASKS,
        "Beat runs, and sends nothing.",
        (_LOG, "docker restart {container}"),
        _beat(": ticks$", ""),
        follows=("network.cut", "celery.beat_stopped", "celery.beat_twice"),
    ),
    Rule(
        "celery.backlog",
        TASKS,
        "More tasks wait than the workers get done.",
        ("docker stats --no-stream {container}", "# more replicas of {service}, or a higher CELERY_WORKER_CONCURRENCY, then:", _DEPLOY),
        _backlog,
        follows=("celery.stuck", "celery.queue_unconsumed", "celery.no_answer", "service.stopped", "service.crashes"),
    ),
    Rule(
        "environment.differs",
        SETTINGS,
        "{subject} runs with other settings than .env and the compose files have now.",
        (f"{_RECREATE} --check --diff", _RECREATE),
        _environment,
        follows=("release.cut", "image.other"),
    ),
    Rule(
        "service.restarted",
        START,
        "{subject} ended, and Docker started it again.",
        (_LOG, "docker inspect --format '{{{{json .State}}}}' {container}"),
        _restarted,
        follows=("database.ahead",),
    ),
    Rule(
        "web.wrong_answer",
        WEB,
        "The public address does not answer as it should.",
        ("ansible-playbook playbooks/verify.yml", _LOG),
        _wrong_answers,
        follows=("*",),
    ),
    Rule(
        "web.slow",
        WEB,
        "Answers take longer than they may.",
        ("docker stats --no-stream", "uptime"),
        _slow,
        follows=("*",),
    ),
    Rule(
        "logs.errors",
        LOGS,
        "{subject} logged errors or failed connections.",
        ("docker logs --since {seconds}s {container}",),
        _log_errors,
        follows=("*",),
    ),
    Rule("run.in_progress", ROLLBACK, "A run of ours works on this server now: what is seen may be on its way.", (), _in_progress, note=True),
    Rule(
        "release.failed",
        ROLLBACK,
        "The last deployment, {subject}, failed and does not serve.",
        ("ansible-playbook playbooks/releases.yml",),
        _failed,
        note=True,
    ),
)
#: What is left where no rule knows a cause.
LAST = Rule(
    "unknown",
    LOGS,
    "Checks failed, and no rule knows their cause.",
    ("ansible-playbook playbooks/verify.yml", "ansible-playbook playbooks/diagnose.yml -e diagnose_bundle=true"),
    _anything,
)
