# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rule looks for: each function here finds one kind of cause in the evidence, about none, one or several subjects. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_evidence import Evidence, Found, by_service, crashes, told_by
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_facts import Seen

#: Of a file system: less is full.
DISK_SHARE, DISK_BYTES, INODES_SHARE = 0.02, 200 * 2**20, 0.02
#: Of the memory: less is used up.
MEMORY_SHARE = 0.03
#: Seconds for which a session may wait for a lock.
LOCK_SECONDS = 10.0
_PASSWORD = re.compile(r"(?i)password authentication failed")
_CONNECTIONS = re.compile(r"(?i)too many clients|remaining connection")
_REDIS_PASSWORD = re.compile(r"(?i)WRONGPASS|NOAUTH|invalid username-password|Authentication required|without any password configured")
_REDIS_REFUSES = re.compile(r"NOREPLICAS|MISCONF|READONLY|OOM command not allowed")
_UNKNOWN_REVISION = re.compile("Can't locate revision")
_OUT_OF_MEMORY = 137


# ---- the host, and Docker --------------------------------------------------------------------------------------------------


def disk(evidence: Evidence) -> Iterable[Found]:
    for system in (evidence.facts.get("host") or {}).get("file_systems", ()):
        path, free, size = system["paths"][0], system["free"], system["size"]
        words = {"path": path}
        if size and (free < DISK_BYTES or free / size < DISK_SHARE):
            yield Found((f"{', '.join(system['paths'])}: {free / 2**20:.0f} MB of {size / 2**20:.0f} MB free",), "", path, words)
        elif system["inodes_free_share"] < INODES_SHARE:
            yield Found((f"{', '.join(system['paths'])}: {system['inodes_free_share']:.1%} of the inodes free",), "", path, words)


def memory(evidence: Evidence) -> Iterable[Found]:
    figures = (evidence.facts.get("host") or {}).get("memory") or {}
    total, left = figures.get("memtotal", 0), figures.get("memavailable", 0)
    if total and left / total < MEMORY_SHARE:
        yield Found((f"{left / 2**20:.0f} of {total / 2**20:.0f} MB of memory available",))


def docker(evidence: Evidence) -> Iterable[Found]:
    daemon = evidence.facts.get("docker") or {}
    if daemon and not daemon["answers"]:
        unit = [f"docker.service is {daemon['unit']}"] if daemon["unit"] else []
        yield Found((f"docker version: {daemon['why']}", *unit, *daemon["journal"][-2:]))


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


def env_missing(evidence: Evidence) -> Iterable[Found]:
    files = evidence.facts.get("files") or {}
    if files and not files["env_file"]["there"] and _present(evidence):
        yield Found((f"there is no {files['env_file']['path']}",), words=_release_words(evidence))


def file_missing(evidence: Evidence) -> Iterable[Found]:
    files = evidence.facts.get("files") or {}
    gone = [entry["path"] for entry in files.get("compose", ()) if not entry["there"]]
    if gone and _present(evidence):
        yield Found(tuple(f"there is no {path}" for path in gone), words=_release_words(evidence))


def config(evidence: Evidence) -> Iterable[Found]:
    broken = evidence.failed("services", found="Reading (the compose project|scheduler_services)")
    if broken and _present(evidence):
        yield Found(told_by(broken, 1), words=_release_words(evidence))


def nothing_deployed(evidence: Evidence) -> Iterable[Found]:
    if "ledger" in evidence.facts and _down(evidence) and not _present(evidence):
        yield Found(("no release is in the ledger, and the project has no container",))


def _down(evidence: Evidence) -> bool:
    """Tell whether the stack as a whole has no container."""
    return "containers" in evidence.facts and not [item for item in evidence.containers if not item.one_off]


def shut_down(evidence: Evidence) -> Iterable[Found]:
    ledger = _ledger(evidence)
    if _down(evidence) and ledger.get("last_good"):
        record = ledger.get("shutdown") or {}
        said = [f"shut down {record['at']} by {record['by'] or 'somebody'}: {record['reason'] or 'no reason given'}"] if record else []
        yield Found((f"the project {evidence.project} has no container", *said), words=_release_words(evidence))


def _running(evidence: Evidence) -> str:
    """Return who holds the server's lock; empty where nobody does."""
    return str((evidence.facts.get("lock") or {}).get("holder", ""))


def in_progress(evidence: Evidence) -> Iterable[Found]:
    if _running(evidence):
        yield Found((_running(evidence),))


def migrating(evidence: Evidence) -> Iterable[Found]:
    for item in evidence.containers:
        if item.one_off and item.state == "running" and item.name == f"{evidence.project}-migration":
            yield Found((f"{item.name} runs, for {item.up or 0:.0f} s already",), words={"container": item.name})


def _newest(evidence: Evidence) -> Mapping[str, Any]:
    releases = _ledger(evidence).get("releases") or [{}]
    return max(releases, key=lambda item: str(item.get("id", "")))


def cut(evidence: Evidence) -> Iterable[Found]:
    open_ones = [item for item in _ledger(evidence).get("releases", ()) if item["verdict"] == "candidate"]
    if open_ones and not _running(evidence):
        last = open_ones[-1]
        words = {**_release_words(evidence), "candidate": str(last["version"])}
        yield Found((f"{last['id']} was begun {last.get('at') or ''}, and neither finished nor taken back",), "", last["version"], words)


def failed(evidence: Evidence) -> Iterable[Found]:
    last = _newest(evidence)
    if last.get("verdict") in ("failed", "rolled_back"):
        became = "failed before it served" if last["verdict"] == "failed" else "was taken back"
        why = " ".join(str(last.get("why") or "no reason is noted").split())[:600]
        yield Found((f"{last['id']} {became} {last.get('at') or ''}: {why}",), "", str(last["version"]))


# ---- containers ------------------------------------------------------------------------------------------------------------


def oom(evidence: Evidence) -> Iterable[Found]:
    for name in evidence.names():
        killed = [item for item in evidence.of(name) if _killed(evidence, item)]
        if killed:
            limit = killed[0].memory_limit
            limited = f"its limit is {limit / 2**20:.0f} MB" if limit else "it has no limit of its own"
            yield Found(tuple(f"{item.name}: {_ended(item)}; {limited}" for item in killed), name, words={"container": killed[0].name})


def _killed(evidence: Evidence, container: Seen) -> bool:
    if container.oom_killed:
        return container.state != "running" or crashes(container)
    # Docker forgets it with the next start; its events do not.
    if crashes(container) and (evidence.facts.get("memory_kills") or {}).get(container.name):
        return True
    # Where a child of the first process was killed, Docker may not know of it.
    return container.exit_code == _OUT_OF_MEMORY and container.memory_limit > 0 and container.state == "restarting"


def _ended(container: Seen) -> str:
    killed = ", OOMKilled" if container.oom_killed else ""
    again = f", restarted {container.restarts} times" if container.restarts else ""
    return f"{container.state}, exit code {container.exit_code}{killed}{again}"


def crash_loop(evidence: Evidence) -> Iterable[Found]:
    for name in evidence.names():
        bad = [item for item in evidence.crashing() if item.service == name and not _killed(evidence, item)]
        if bad:
            reason = evidence.reason(bad[0])
            because = "database.ahead" if any(_UNKNOWN_REVISION.search(line) for line in reason) else ""
            told = (*(f"{item.name}: {_ended(item)}" for item in bad), *reason)
            yield Found(told, name, words={"container": bad[0].name}, because=because)
            continue
        again = [check for item in evidence.of(name) for check in evidence.failed("containers", f"^{re.escape(item.name)}: restarts$")]
        if again and not [item for item in evidence.of(name) if _killed(evidence, item)]:
            container = next((item for item in evidence.of(name) if item.name == again[0].subject.partition(": ")[0]), None)
            yield Found(told_by(again) + tuple(evidence.reason(container) if container else ()), name)


def paused(evidence: Evidence) -> Iterable[Found]:
    for name in evidence.names():
        frozen = [item.name for item in evidence.of(name) if item.state == "paused"]
        if frozen:
            yield Found(tuple(f"{item}: paused" for item in frozen), name, words={"container": " ".join(frozen)})


def stopped(evidence: Evidence) -> Iterable[Found]:
    if _down(evidence) or "containers" not in evidence.facts:
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
            yield Found(told_by(evidence.failed("containers", f"^{re.escape(name)}: containers")), name)


def restarted(evidence: Evidence) -> Iterable[Found]:
    for name in evidence.names():
        again = [item for item in evidence.of(name) if item.restarts and item.up is not None and item.up < evidence.seconds]
        if again and not any(crashes(item) for item in again):
            told = tuple(f"{item.name}: started again {item.restarts} times, the last time {item.up or 0:.0f} s ago" for item in again)
            yield Found(told + tuple(evidence.reason(again[0])), name, words={"container": again[0].name})


def other_image(evidence: Evidence) -> Iterable[Found]:
    for name, checks in by_service(evidence, evidence.failed("containers", ": image$")).items():
        gone = [check for check in checks if "which is gone" in check.expected]
        if not gone:
            told = tuple(f"{check.subject}: {check.found}, expected {check.expected}" for check in checks)
            yield Found(told, name, words=_release_words(evidence))


def image_gone(evidence: Evidence) -> Iterable[Found]:
    for name, checks in by_service(evidence, evidence.failed("containers", ": image$")).items():
        if any("which is gone" in check.expected for check in checks):
            yield Found(tuple(f"{check.subject}: expected {check.expected}" for check in checks), name, words=_release_words(evidence))


# ---- network ---------------------------------------------------------------------------------------------------------------


def _unreached(evidence: Evidence) -> list[tuple[Seen, str, Mapping[str, Any]]]:
    """Return who does not reach whom, where both run: container, service that is not reached, and how it was tried.

    What ends again and again may have ended while it was looked at, and with it its network.
    """
    network = evidence.facts.get("network") or {}
    running = {item.service for item in evidence.containers if item.state == "running" and not crashes(item)}
    return [
        (container, str(way["name"]), way)
        for container in evidence.containers
        for way in (network.get(container.name) or {}).get("reaches", ())
        if way["error"] and way["name"] in running and not container.one_off and not crashes(container)
    ]


def network_cut(evidence: Evidence) -> Iterable[Found]:
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


def not_listening(evidence: Evidence) -> Iterable[Found]:
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


def database_password(evidence: Evidence) -> Iterable[Found]:
    told = _says(evidence, _PASSWORD)
    if told:
        yield Found(told[:3], _home(evidence, "postgres"))


def database_connections(evidence: Evidence) -> Iterable[Found]:
    told = told_by(evidence.failed("postgres", ": connections left")) + _says(evidence, _CONNECTIONS)
    if told:
        yield Found(told[:3], _home(evidence, "postgres"))


def database_read_only(evidence: Evidence) -> Iterable[Found]:
    told = told_by(evidence.failed("postgres", ": login and writable"))
    if told:
        yield Found(told, _home(evidence, "postgres"))


def database_mute(evidence: Evidence) -> Iterable[Found]:
    others = (_PASSWORD, _CONNECTIONS)
    told = [check for check in evidence.failed("postgres", ": postgres$") if not any(pattern.search(check.found) for pattern in others)]
    if told:
        yield Found(told_by(told), _home(evidence, "postgres"))


def database_locked(evidence: Evidence) -> Iterable[Found]:
    waiting = [row for row in (evidence.facts.get("database") or {}).get("waiting", ()) if row["seconds"] >= LOCK_SECONDS]
    if waiting:
        told = tuple(f"session {row['pid']} waits {row['seconds']:.0f} s for a lock of session {row['blocked_by']}" for row in waiting[:3])
        yield Found(told, _home(evidence, "postgres"), words={"blocker": str(waiting[0]["blocked_by"])})


def redis_password(evidence: Evidence) -> Iterable[Found]:
    told = _says(evidence, _REDIS_PASSWORD)
    if told:
        yield Found(told[:3], _home(evidence, "redis"))


def redis_refuses(evidence: Evidence) -> Iterable[Found]:
    told = [check for check in evidence.failed("redis") if _REDIS_REFUSES.search(check.found)]
    if told:
        yield Found(told_by(told), _home(evidence, "redis"))


def redis_full(evidence: Evidence) -> Iterable[Found]:
    told = told_by(evidence.failed("redis", ": (memory|persistence)$"))
    if told:
        yield Found(told, _home(evidence, "redis"))


def redis_mute(evidence: Evidence) -> Iterable[Found]:
    others = (_REDIS_PASSWORD, _REDIS_REFUSES)
    checks = evidence.failed("redis", ": (redis|write and read)$")
    told = [check for check in checks if not any(pattern.search(check.found) for pattern in others)]
    if told:
        yield Found(told_by(told), _home(evidence, "redis"))


# ---- migrations ------------------------------------------------------------------------------------------------------------


def _revision(evidence: Evidence, found: str) -> tuple[str, ...]:
    return told_by(evidence.failed("alembic", "database: revision", found))


def ahead(evidence: Evidence) -> Iterable[Found]:
    told = _revision(evidence, "does not know") or _says(evidence, _UNKNOWN_REVISION)
    if told:
        yield Found(told[:3], _home(evidence, "postgres"), words=_release_words(evidence))


def behind(evidence: Evidence) -> Iterable[Found]:
    told = _revision(evidence, "behind by")
    if told:
        yield Found(told, _home(evidence, "postgres"), words=_release_words(evidence))


def branches(evidence: Evidence) -> Iterable[Found]:
    told = tuple(text for text in _revision(evidence, "") if "behind by" not in text and "does not know" not in text)
    if told:
        yield Found(told, _home(evidence, "postgres"))


def heads(evidence: Evidence) -> Iterable[Found]:
    broken = evidence.failed("alembic", found="history of revisions is broken")
    told = told_by([*evidence.failed("alembic", "database: heads"), *broken])
    if told:
        yield Found(told, _home(evidence, "postgres"), words=_release_words(evidence))


# ---- what speaks HTTP ------------------------------------------------------------------------------------------------------


def unhealthy(evidence: Evidence) -> Iterable[Found]:
    kinds = {service.name: service for service in evidence.services}
    for name, checks in by_service(evidence, evidence.failed("http|containers", "GET |Docker health")).items():
        service = kinds.get(name)
        running = [item for item in evidence.of(name) if item.state == "running" and not crashes(item)]
        if running and not (service and service.docker_health_is_advice):
            yield Found((*told_by(checks), *(f"{item.name}: {text}" for item in running for text in item.health_log[-1:])), name)


def stale_address(evidence: Evidence) -> Iterable[Found]:
    wrong = [check for check in evidence.failed(subject="GET|POST", found=r"status 50[24]") if check.topic != "http"]
    proxies = [item for name in evidence.kind("proxy") for item in evidence.of(name) if item.state == "running"]
    direct = evidence.failed("http", "GET ")
    web = [item for name in evidence.kind("http") for item in evidence.of(name)]
    if wrong and proxies and not direct and web and all(item.state == "running" for item in web):
        yield Found(told_by(wrong), proxies[0].service, words={"container": proxies[0].name})


def key_mismatch(evidence: Evidence) -> Iterable[Found]:
    files = evidence.facts.get("certificate") or {}
    if files and not files["key_fits"]:
        told = (f"{files['key']} is not the key of {files['path']}",)
        yield Found(told, _home(evidence, "proxy"), words={"tls": files["folder"]})


def certificate(subject: str, found: str) -> Callable[[Evidence], Iterable[Found]]:
    def find(evidence: Evidence) -> Iterable[Found]:
        told = told_by(evidence.failed("tls", subject, found))
        if told:
            yield Found(told, _home(evidence, "proxy"))

    return find


def wrong_answers(evidence: Evidence) -> Iterable[Found]:
    asked = evidence.failed(subject=": (GET|POST|HEAD|OPTIONS) ")
    # What speaks HTTP inside is asked too, under this topic.
    wrong = [item for item in asked if item.topic != "http"] + evidence.failed("tls", ": TLS$")
    if wrong:
        yield Found(told_by(wrong, 4), _home(evidence, "proxy"))


def slow(evidence: Evidence) -> Iterable[Found]:
    told = told_by(evidence.failed(subject=": response time$"))
    if told:
        yield Found(told)


# ---- Celery ----------------------------------------------------------------------------------------------------------------


def _workers(evidence: Evidence) -> str:
    return _home(evidence, "celery_worker")


def no_worker(evidence: Evidence) -> Iterable[Found]:
    checks = evidence.failed("celery_worker", ": (workers that answer|celery_worker)$") + evidence.failed("celery", found="Asking")
    told = told_by(checks)
    if told and any(item.state == "running" for item in evidence.of(_workers(evidence))):
        yield Found(told, _workers(evidence))


def stuck(evidence: Evidence) -> Iterable[Found]:
    told = told_by(evidence.failed("celery_canary"))
    if told:
        yield Found(told, _workers(evidence))


def unconsumed(evidence: Evidence) -> Iterable[Found]:
    for check in evidence.failed("celery_queues", "^queue .*: consumers$"):
        queue = check.subject.removeprefix("queue ").removesuffix(": consumers")
        yield Found(told_by([check]), _workers(evidence), queue, {"queue": queue})


def other_tasks(evidence: Evidence) -> Iterable[Found]:
    told = told_by(evidence.failed("celery_worker|celery_beat", "registered tasks|beat schedule: tasks"))
    if told:
        yield Found(told, _workers(evidence))


def backlog(evidence: Evidence) -> Iterable[Found]:
    told = told_by(evidence.failed("celery_queues", "queues: tasks waiting", verdicts=("warn", "fail")))
    if told:
        yield Found(told, _workers(evidence))


def beat(subject: str, found: str) -> Callable[[Evidence], Iterable[Found]]:
    def find(evidence: Evidence) -> Iterable[Found]:
        told = told_by(evidence.failed("celery_beat", subject, found))
        if told and any(item.state == "running" for item in evidence.of(_home(evidence, "celery_beat"))):
            yield Found(told, _home(evidence, "celery_beat"))

    return find


# ---- settings and logs -----------------------------------------------------------------------------------------------------


def environment(evidence: Evidence) -> Iterable[Found]:
    compared = evidence.facts.get("environment") or {}
    for name in evidence.names():
        others = {item.name: compared[item.name]["differ"] + compared[item.name]["missing"] for item in evidence.of(name)
                  if item.name in compared}  # fmt: skip
        told = [f"{container}: {', '.join(names)}" for container, names in others.items() if names]
        if told:
            yield Found(tuple(told), name, words=_release_words(evidence))


def log_errors(evidence: Evidence) -> Iterable[Found]:
    for name, checks in by_service(evidence, evidence.failed("log_errors|log_connections")).items():
        container = checks[0].subject.partition(": ")[0]
        yield Found(told_by(checks), name, words={"container": container, "seconds": f"{evidence.seconds:.0f}"})


def anything(evidence: Evidence) -> Iterable[Found]:
    told = told_by(evidence.failed(), 5)
    if told:
        yield Found(told)
