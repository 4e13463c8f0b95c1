# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at the whole stack, as often as a timer wants it: checks, and figures for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.residency.scheduler.plugins.module_utils import http_probe, tls
from ansible_collections.residency.scheduler.plugins.module_utils.capacity import Room, judge_room, read_rooms
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, failed, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container
from ansible_collections.residency.scheduler.plugins.module_utils.endpoints import parse_endpoints
from ansible_collections.residency.scheduler.plugins.module_utils.health import Clock, Verdict
from ansible_collections.residency.scheduler.plugins.module_utils.metrics import Gauge
from ansible_collections.residency.scheduler.plugins.module_utils.monitor_setup import Setup
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import find
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.verification import Verification

#: Too much for every few minutes: the proof that a dump can be read, and a script of the application's own.
_TOO_MUCH = ("hold", "app_script", "database_backup")
#: What would stand in the way of a deployment, or find what it is about to mend.
_IN_THE_WAY = ("celery", "alembic", "database", "logs")
_PREFIX = "residency_scheduler_"


@dataclass(frozen=True)
class Looked:
    """What was seen.

    :ivar figures: what could not be had has no entry.
    """

    checks: tuple[Check, ...]
    release: Mapping[str, Any]
    figures: Mapping[str, Any] = field(default_factory=dict)
    rooms: tuple[Room, ...] = ()

    @property
    def good(self) -> bool:
        """Tell whether nothing failed."""
        return not failed(self.checks)


def look(setup: Setup, runner: Runner, clock: Clock, *, muted: bool) -> Looked:
    """Look at everything; what cannot be looked at is a failed check.

    :arg muted: a playbook works on the server; what would be in its way is left out.
    """
    values, release = setup.values, setup.release()
    project, services = setup.project(release), setup.services(release)
    kinds = {kind: [service["name"] for service in services if service["kind"] == kind] for kind in ("celery_worker", "celery_beat")}
    expected = {**values["celery"], "services": kinds["celery_worker"], "beat_service": next(iter(kinds["celery_beat"]), "")}
    # A line of a start long ago may have been rotated away.
    reviewed = {**values["logs"], "startup": {}}
    common = {name: values[name] for name in ("domain", "endpoints", "queries", "alembic", "probe_timeout")}
    parameters = {**common, "project": project, "services": services, "celery": expected, "logs": reviewed, "app_script": []}
    without = (*_TOO_MUCH, *(_IN_THE_WAY if muted else ()))
    verification = Verification({**parameters, "wait": 0, "hold": 0}, runner, clock, without)
    found = verification.run()
    figures = {**verification.figures, "kinds": {service["name"]: service["kind"] for service in services}}
    verdicts: list[Verdict] = figures.get("services", [])
    rooms = read_rooms(values["disk_paths"])
    checks = [Check(**check) for check in found["checks"]]
    checks += [judge_log(container) for verdict in verdicts for container in verdict.containers]
    checks += [judge_room(room, float(values["disk_free_percent"])) for room in rooms]
    figures |= _certificate(values["endpoints"]) | _database(project, services, runner)
    return Looked(tuple(checks), release, figures, tuple(rooms))


def judge_log(container: Container) -> Check:
    """Judge whether Docker keeps a container's log bounded; other drivers than its own files are their receiver's matter. Pure."""
    bounded = container.log_driver != "json-file" or container.log_limit not in ("", "-1")
    return judge(
        f"{container.name}: log rotation",
        bounded,
        "a log of bounded size",
        f"{container.log_driver}{', at most ' + container.log_limit + ' a file' if container.log_limit else ', without a limit'}",
        "The container is older than Docker's settings: replace it (docker compose up --force-recreate, or the next deployment).",
        topic="log_rotation",
    )


def _certificate(endpoints: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    for endpoint in parse_endpoints(endpoints):
        if endpoint.tls:
            host = urlsplit(endpoint.url).hostname or ""
            try:
                served = tls.handshake(http_probe.address_of(endpoint), host, endpoint.timeout, endpoint.ca_file)
            except (OSError, ValueError):  # a check says so
                return {}
            return {"certificate_expiry": served.certificate.not_after}
    return {}


def _database(project: Mapping[str, Any], services: Sequence[Mapping[str, Any]], runner: Runner) -> dict[str, Any]:
    for service in services:
        if service["kind"] == "postgres":
            try:
                return {"database_size": find(Project.from_parameters(project), service["name"], runner).size()}
            except Problem:  # a check says so
                return {}
    return {}


def gauges(looked: Looked, now: datetime, seconds: float, muted: bool) -> list[Gauge]:
    """Return the figures of a look. Pure."""
    figures, checks = looked.figures, looked.checks
    release = {"version": str(looked.release.get("version", "")), "commit": str(looked.release.get("commit", ""))}
    found = [
        Gauge("release_info", "The release that serves.", 1, release),
        *_time("release_timestamp_seconds", "When that release was called good.", _parsed(looked.release.get("at"))),
        *overall(now, seconds, looked.good, muted),
    ]
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in ("pass", "warn", "fail")}
    found += [Gauge("checks", "Checks of the last look, by verdict.", count, {"verdict": verdict}) for verdict, count in counts.items()]
    verdicts: list[Verdict] = figures.get("services", [])
    found += [
        Gauge("service_healthy", "Whether a service works.", int(healthy(verdict, kind, checks)), {"service": verdict.service})
        for verdict in verdicts
        for kind in [figures["kinds"].get(verdict.service, "container")]
    ]
    found += [
        Gauge("container_restarts", "How often Docker restarted the containers of a service.", restarts, {"service": verdict.service})
        for verdict in verdicts
        for restarts in [sum(container.restarts for container in verdict.containers)]
    ]
    found += [Gauge("queue_depth", "Tasks that wait.", depth, {"queue": queue}) for queue, depth in figures.get("depths", {}).items()]
    found += [Gauge("workers", "Celery workers that answer.", len(figures["nodes"]))] if "nodes" in figures else []
    workers = [count for name, count in figures.get("replicas", {}).items() if figures["kinds"].get(name) == "celery_worker"]
    found += [Gauge("workers_expected", "Celery workers that should answer.", sum(workers))] if workers else []
    found += _time("beat_last_tick_timestamp_seconds", "When Celery beat sent its last task.", figures.get("last_tick"))
    found += _time("certificate_expiry_timestamp_seconds", "When the certificate ends.", figures.get("certificate_expiry"))
    if "at_head" in figures:
        found.append(Gauge("alembic_at_head", "Whether the database stands at the release's revision.", int(figures["at_head"])))
    if "database_size" in figures:
        found.append(Gauge("database_size_bytes", "Size of the database.", figures["database_size"]))
    found += [Gauge("disk_size_bytes", "Size of the file system.", room.size, {"path": room.path}) for room in looked.rooms]
    found += [Gauge("disk_free_bytes", "Free on the file system.", room.free, {"path": room.path}) for room in looked.rooms]
    return [Gauge(_PREFIX + item.name, item.help, item.value, item.labels) for item in found]


def overall(now: datetime, seconds: float, good: bool, muted: bool) -> list[Gauge]:
    """Return the figures that each look has, even one that could not be made. Pure; without the common prefix."""
    return [
        Gauge("health_timestamp_seconds", "End of the last look.", now.timestamp()),
        Gauge("health_duration_seconds", "How long the last look took.", round(seconds, 3)),
        Gauge("health_success", "Whether the last look could be made, and nothing failed.", int(good)),
        Gauge("maintenance", "Whether a playbook works on the server, or maintenance was announced.", int(muted)),
    ]


def failure(now: datetime, seconds: float, muted: bool) -> list[Gauge]:
    """Return the figures of a look that could not be made. Pure."""
    return [Gauge(_PREFIX + item.name, item.help, item.value) for item in overall(now, seconds, False, muted)]


#: What belongs to a service although it is not named after it.
_TOPICS = {"celery_worker": ("celery_worker", "celery_canary", "celery"), "celery_beat": ("celery_beat",)}
#: What is no sign that the service does not work now.
_BESIDE = ("log_errors", "log_connections", "log_rotation")


def healthy(verdict: Verdict, kind: str, checks: Sequence[Check]) -> bool:
    """Tell whether a service works: its containers, and what was asked of it by its own protocol. Pure."""
    names, topics = {container.name for container in verdict.containers} | {verdict.service}, _TOPICS.get(kind, ())
    about = [check for check in checks if check.subject.partition(":")[0] in names or check.topic in topics]
    return verdict.status == "healthy" and not [check for check in failed(about) if check.topic not in _BESIDE]


def _time(name: str, text: str, moment: datetime | None) -> list[Gauge]:
    return [Gauge(name, text, moment.timestamp())] if moment else []


def _parsed(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
