# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that the timers start on the server: ``monitor.pyz health|backup|drill|follow-up``. It needs no Ansible.

Every sub-command is one run at a time, keeps a record of it, and tells people what has changed. A run that breaks is a finding too; one
that does not happen at all is told by the others, which look for it, and by the heartbeat that does not come.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, NoReturn

from ansible_collections.residency.scheduler.plugins.module_utils import (
    backup_run,
    backups,
    capacity,
    drill,
    follow_up,
    http_probe,
    metrics,
    monitor_health,
    restic,
    run_lock,
)
from ansible_collections.residency.scheduler.plugins.module_utils.backups import now_utc
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, failed, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import SubprocessRunner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.health import SystemClock
from ansible_collections.residency.scheduler.plugins.module_utils.metrics import Gauge
from ansible_collections.residency.scheduler.plugins.module_utils.monitor_health import Looked
from ansible_collections.residency.scheduler.plugins.module_utils.monitor_setup import (
    HEALTH,
    LONGEST_MAINTENANCE,
    MAINTENANCE,
    SAMPLES,
    Setup,
)
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import Postgres, find
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.schedule import Run, begin, end, judge_runs


@dataclass
class Outcome:
    """How a run went.

    :ivar verdict: ``good``, ``failed`` or ``skipped``.
    :ivar why: of one that is not good, for people.
    :ivar checks: what people are told of, where it failed.
    :ivar lines: what the run prints besides.
    :ivar failures: how many runs in a row have to find the same before people are told.
    :ivar muted: why nobody is told of this run's findings; empty where they are.
    :ivar broken: it could not look at everything, so that what was known before has not ended.
    """

    verdict: str = "good"
    why: str = ""
    checks: list[Check] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    failures: int = 1
    muted: str = ""
    broken: bool = False


Work = Callable[[Setup], Outcome]
#: After so many seconds of uptime a database that does not answer is not just coming up.
BOOT_SECONDS = 600.0


def health(setup: Setup) -> Outcome:
    """Look at the whole stack, write the figures, and give the sign of life."""
    runner, clock = SubprocessRunner(), SystemClock()
    values, started, now = setup.values, clock.now(), datetime.now(UTC)
    muted = setup.muted(now)
    project = str(values["project"]["name"])
    try:
        looked = monitor_health.look(setup, runner, clock, muted=bool(muted))
    except Exception:
        gauges = monitor_health.failure(datetime.now(UTC), clock.now() - started, bool(muted))
        metrics.write(values["metrics_dir"], "health", project, gauges)
        raise
    now = datetime.now(UTC)
    checks = [*looked.checks, *_keep(setup, looked, monitor_health.gauges(looked, now, clock.now() - started, bool(muted)), muted)]
    if values["heartbeat_url"] and (looked.good or muted):
        checks.append(_heartbeat(str(values["heartbeat_url"])))
    counts = f"{len(looked.checks)} checks, {len(failed(looked.checks))} failed, {clock.now() - started:.1f} s"
    return Outcome(checks=checks, lines=[counts], failures=int(values["failures"]), muted=muted)


def _keep(setup: Setup, looked: Looked, gauges: Sequence[Gauge], muted: str) -> list[Check]:
    """Write down what was seen; a disk that is full must not hinder that people are told of it."""
    now, path = datetime.now(UTC), setup.path(SAMPLES)
    used = {room.path: room.size - room.free for room in looked.rooms}
    used |= {capacity.DATABASE: looked.figures["database_size"]} if "database_size" in looked.figures else {}
    document = {"at": now.isoformat(timespec="seconds"), "muted": muted, "checks": [check.to_dict() for check in looked.checks]}
    try:
        metrics.write(setup.values["metrics_dir"], "health", str(setup.values["project"]["name"]), gauges)
        capacity.keep(path, capacity.read_samples(path), capacity.Sample(now, used))
        write_text(setup.path(HEALTH), json.dumps(document) + "\n", 0o640)
    except Problem as problem:
        return [judge("monitor: its own files", False, "written", f"{problem.what}: {problem.why}", problem.remedy)]
    return []


def _heartbeat(url: str) -> Check:
    answer = http_probe.fetch(http_probe.Endpoint("heartbeat", url, timeout=10))
    good = 200 <= answer.status < 300
    found = answer.error or f"status {answer.status}"
    remedy = "Look at what receives it, and at monitoring_heartbeat_url."
    return judge("heartbeat: delivery", good, "an answer 2xx", redact(found, (url,)), remedy, topic="channels")


def backup(setup: Setup) -> Outcome:
    """Take the scheduled backup, and copy it off the server where that is wanted."""
    values, attempt = setup.values, now_utc()
    _wait_for_database(setup)
    with run_lock.taken(str(values["lock_file"]), setup.holder("backup"), float(values["wait"])) as holder:
        if holder:
            return Outcome("skipped", f"another run works on this server: {holder}")
        release = setup.release()
        project = setup.project(release)
        good = False
        try:
            result = backup_run.run(_database_parameters(setup, project), False, SubprocessRunner(), now_utc())
            good = True
        finally:
            gauges = [
                Gauge("residency_scheduler_backup_success", "Whether the last scheduled backup succeeded.", int(good)),
                Gauge("residency_scheduler_backup_attempt_timestamp_seconds", "When it was tried.", attempt.timestamp()),
            ]
            _write_figures(setup, "backup_attempt", project["name"], gauges)
        lines = [f"{check['subject']}: {check['found']}" for check in result["checks"]]
        return Outcome(lines=[*lines, *(_offsite(setup, project["name"]) if values["offsite"] else [])])


def _offsite(setup: Setup, project: str) -> list[str]:
    values = setup.values
    os.environ.update({str(name): str(value) for name, value in values["offsite"]["environment"].items()})
    parameters = {**values["offsite"], "path": backups.folder(values["backup"]["backup_dir"]), "timeout": values["backup"]["timeout"]}
    result = restic.run(parameters, False, SubprocessRunner())
    gauge = Gauge("residency_scheduler_offsite_timestamp_seconds", "When the last copy left the server.", datetime.now(UTC).timestamp())
    _write_figures(setup, "offsite", project, [gauge])
    return [f"{check['subject']}: {check['found']}" for check in result["checks"]]


def _write_figures(setup: Setup, name: str, project: str, gauges: Sequence[Gauge]) -> None:
    """Write figures of what is done already; the health check tells of a folder that takes none."""
    with contextlib.suppress(Problem):
        metrics.write(setup.values["metrics_dir"], name, project, gauges)


def restore_drill(setup: Setup) -> Outcome:
    """Prove that the newest backup restores."""
    values = setup.values
    _wait_for_database(setup)
    with run_lock.taken(str(values["lock_file"]), setup.holder("drill"), float(values["wait"])) as holder:
        if holder:
            return Outcome("skipped", f"another run works on this server: {holder}")
        project = Project.from_parameters(setup.project(setup.release()))
        parameters = {**_database_parameters(setup, {}), "backup": "newest"}
        task = drill.Task(parameters, False, SubprocessRunner(), project, _postgres(setup), now_utc())
        result = drill.prove(task)
        return Outcome(lines=[f"{check['subject']}: {check['found']}" for check in result["checks"]])


def _database_parameters(setup: Setup, project: dict[str, Any]) -> dict[str, Any]:
    folders = {"state_dir": setup.state_dir, "metrics_dir": setup.values["metrics_dir"]}
    chosen = {"pool": "scheduled", "side_database": False, "database_service": _database_service(setup)}
    return {**setup.values["backup"], **folders, **chosen, "project": project}


def _database_service(setup: Setup) -> str:
    services = setup.services(setup.release())
    return next((str(service["name"]) for service in services if service["kind"] == "postgres"), "db")


def _postgres(setup: Setup) -> Postgres:
    return find(Project.from_parameters(setup.project(setup.release())), _database_service(setup), SubprocessRunner())


def _wait_for_database(setup: Setup) -> None:
    """Give a database time that comes up with the server: what was missed meanwhile is made up for at once."""
    with open("/proc/uptime", encoding="ascii") as stream:
        up = float(stream.read().split()[0])
    until = time.monotonic() + BOOT_SECONDS - up
    while time.monotonic() < until:
        try:
            _postgres(setup).rows("SELECT 1 AS one", "Waiting for the database failed", timeout=10)
        except Problem:
            time.sleep(2.0)
        else:
            return


def follow(setup: Setup) -> Outcome:
    """Look what is due of the tasks after a deployment, and write the short reports."""
    muted = setup.muted(datetime.now(UTC))
    listing = _listing(setup)
    items = [follow_up.Item(**item) for item in listing["items"]]
    return Outcome(checks=follow_up.judge_items(items), lines=listing["lines"], muted=muted)


def _listing(setup: Setup) -> dict[str, Any]:
    values, now, release = setup.values, datetime.now(UTC), setup.release()
    try:
        evidence, slow = follow_up.slow_queries(_postgres(setup), float(values["slow_query_seconds"]))
    except Problem as problem:
        evidence, slow = [], [problem.message()]
    rooms = capacity.read_rooms(values["disk_paths"])
    samples = capacity.read_samples(setup.path(SAMPLES))
    sizes = [sample.used[capacity.DATABASE] for sample in samples if capacity.DATABASE in sample.used]
    checks = [*_last_health(setup, now), *evidence, *_silence(setup, now, "")]
    deployed = datetime.fromisoformat(str(release.get("at") or release["started"]))
    answers = follow_up.read_answers(setup.state_dir, str(release["id"]))
    items = follow_up.evaluate(values["follow_up"], deployed, checks, answers, now)
    return {
        "release": {key: release.get(key, "") for key in ("id", "version", "commit")},
        **follow_up.as_report(items, slow, capacity.report(samples, rooms, sizes[-1] if sizes else None)),
    }


def _last_health(setup: Setup, now: datetime) -> list[Check]:
    """Return the checks of the last health check: none of one in maintenance, which looks at less, or of one that is overdue."""
    longest = next((job.max_age for job in setup.jobs if job.name == "health"), 0.0)
    try:
        document = json.loads(read_text(setup.path(HEALTH)) or "{}")
        age = (now - datetime.fromisoformat(document["at"])).total_seconds()
        return [] if document["muted"] or age > longest else [Check(**check) for check in document["checks"]]
    except (ValueError, KeyError, TypeError):
        return []


def _silence(setup: Setup, now: datetime, job: str) -> list[Check]:
    """Return whether the runs of all jobs but *job*, which runs right now, are as they should be."""
    others = [item for item in setup.jobs if item.name != job]
    runs = {item.name: setup.records.read(item.name) for item in others}
    return judge_runs(others, runs, _done(setup), setup.since, now, setup.records.running(list(runs)))


def _done(setup: Setup) -> dict[str, datetime]:
    """Return when a backup was taken and a restore was proven last, by whatever way."""
    backup_dir, drills = backups.folder(setup.values["backup"]["backup_dir"]), os.path.join(setup.state_dir, "drills")
    made = [_moment(os.path.join(backup_dir, name, backups.MANIFEST), "created") for name in _names(backup_dir)]
    proven = [_moment(os.path.join(drills, name), "finished", verdict="good") for name in _names(drills)]
    found = {"backup": max(filter(None, made), default=None), "drill": max(filter(None, proven), default=None)}
    return {job: moment for job, moment in found.items() if moment is not None}


def _names(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if not name.startswith(".")] if os.path.isdir(folder) else []


def _moment(path: str, key: str, **wanted: str) -> datetime | None:
    """Return the time that a JSON document has under *key*; None where it cannot be read, or says something else than *wanted*."""
    try:
        document = json.loads(read_text(path))
        return datetime.fromisoformat(document[key]) if all(document[name] == value for name, value in wanted.items()) else None
    except (ValueError, KeyError, TypeError, Problem):
        return None


JOBS: dict[str, Work] = {"health": health, "backup": backup, "drill": restore_drill, "follow-up": follow}


def _say(line: str, *, wrong: bool = False) -> None:
    """Write a line at once, since the journal takes the moment from it; to standard error where something is *wrong*."""
    stream = sys.stderr if wrong else sys.stdout
    stream.write(f"{line}\n")
    stream.flush()


def run(job: str, setup: Setup) -> int:
    """Make one run of *job*, and return the exit code: 1 where it failed."""
    records = setup.records
    with records.only(job) as only:
        if not only:
            _say(f"{job}: skipped, since another run of it is at work")
            return 0
        record = begin(records.read(job), now_utc())
        _note(setup, record)
        try:
            outcome = JOBS[job](setup)
        except Problem as problem:
            outcome = _broken(job, problem.message(), setup)
        except Exception as error:  # whatever breaks is told, as long as it can be
            outcome = _broken(job, f"{type(error).__name__}: {error}", setup)
        _note(setup, end(record, now_utc(), outcome.verdict, outcome.why))
        for line in outcome.lines:
            _say(line)
        if outcome.verdict != "good":
            _say(f"{job}: {outcome.verdict}: {outcome.why}", wrong=True)
        if outcome.muted:
            _say(f"Nobody is told of findings: {outcome.muted}")
        else:
            _tell(setup, job, outcome)
        return int(outcome.verdict == "failed")


def _note(setup: Setup, record: Run) -> None:
    """Write the record of a run; without it the run goes on, and will be taken for one that did not come."""
    try:
        setup.records.write(record)
    except Problem as problem:
        _say(problem.message(), wrong=True)


def _tell(setup: Setup, job: str, outcome: Outcome) -> None:
    """Tell what has changed: of what this run has found, and of runs that did not come. The health check looks at all others."""
    alerts, now = setup.alerts(), datetime.now(UTC)
    silence = failed(_silence(setup, now, job))
    of_health = [check for check in silence if check.topic == "schedule_health"]
    said = []
    # One that was skipped has found out nothing; if it stays so, it becomes overdue.
    if outcome.verdict != "skipped":
        found = failed([*outcome.checks, *(alerts.deliveries() if job == "health" else [])])
        # A line stands in a log once: the next run does not find it again.
        alone = bool(found) and all(check.topic == "log_errors" for check in found)
        said += alerts.tell(job, found, now, 1 if alone else outcome.failures, whole=not outcome.broken)
    said += alerts.tell("silence of health", of_health, now, 1)
    said += alerts.tell("silence", silence, now, 1) if job == "health" else []
    for line in said:
        _say(line)


def _broken(job: str, why: str, setup: Setup) -> Outcome:
    # Secrets that cannot be read, the run has not read either.
    with contextlib.suppress(Problem):
        why = redact(why, setup.secrets())
    remedy = f"Read `journalctl -u residency-scheduler-{job}`, and start it by hand: systemctl start residency-scheduler-{job}."
    failures = int(setup.values["failures"]) if job == "health" else 1
    return Outcome("failed", why, [judge(f"{job}: run", False, "a run to its end", why, remedy)], failures=failures, broken=True)


def status(setup: Setup) -> dict[str, Any]:
    """Return what is known: the runs, the findings that people were told of, and why alerts are kept back."""
    runs, findings, muted = [setup.records.read(job.name) for job in setup.jobs], setup.alerts().known(), setup.muted(datetime.now(UTC))
    lines = [_told(run) for run in runs]
    lines += [f"Known: {entry.subject}: {entry.found} (since {entry.since})" for entry in findings]
    lines += [f"Nobody is told of findings: {muted}"] if muted else []
    return {"runs": [asdict(run) for run in runs], "findings": [asdict(entry) for entry in findings], "muted": muted, "lines": lines}


def _told(run: Run) -> str:
    """Return a run as one line."""
    if not run.started:
        return f"{run.job}: not run yet"
    last = f"{run.verdict} at {run.ended}" if run.ended else f"began at {run.started}"
    return f"{run.job}: {last}{', ' if run.why else ''}{run.why}; the last good run ended at {run.good or 'no time'}"


def announce(setup: Setup, minutes: int, reason: str) -> None:
    """Keep alerts back for so many minutes; 0 ends that."""
    path = os.path.join(setup.state_dir, MAINTENANCE)
    if not 0 <= minutes <= LONGEST_MAINTENANCE.total_seconds() / 60:
        why = f"{minutes} minutes are no time between none and {LONGEST_MAINTENANCE.days} days"
        raise Problem("Announcing the maintenance failed", why, "Give fewer; it can be announced again.")
    if minutes > 0:
        until = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="seconds")
        write_text(path, json.dumps({"until": until, "reason": reason}) + "\n", 0o644)
    elif os.path.exists(path):
        os.unlink(path)


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    # What is half done is removed on the way out.
    raise SystemExit(143)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="monitor.pyz")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, work in JOBS.items():
        commands.add_parser(name, help=(work.__doc__ or "").partition("\n")[0])
    commands.add_parser("status", help="Print the runs and what people were told, as JSON.")
    commands.add_parser("listing", help="Print the tasks after the deployment, as JSON.")
    done = commands.add_parser("done", help="Note that one of these tasks was done.")
    done.add_argument("id")
    done.add_argument("--by", required=True)
    done.add_argument("--note", default="")
    quiet = commands.add_parser("maintenance", help="Keep alerts back for so many minutes; 0 ends that.")
    quiet.add_argument("minutes", type=int)
    quiet.add_argument("--reason", default="")
    return parser


def main(words: Sequence[str], folder: str) -> int:
    """Do what the command line says, with the configuration in *folder*."""
    given = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        setup = Setup.read(folder)
        if given.command in JOBS:
            return run(given.command, setup)
        if given.command == "status":
            _say(json.dumps(status(setup)))
        elif given.command == "listing":
            _say(json.dumps(_listing(setup)))
        elif given.command == "done":
            release = str(setup.release()["id"])
            follow_up.answer(setup.state_dir, release, setup.values["follow_up"], given.id, given.by, given.note, now_utc())
        else:
            announce(setup, given.minutes, given.reason)
    except Problem as problem:
        _say(problem.message(), wrong=True)
        return 1
    return 0
