# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A diagnosis: all that can be had of a stack, whatever is broken, side by side; then its likely causes. Changes nothing."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import (
    diagnosis_facts,
    diagnosis_network,
    diagnosis_rules,
    diagnosis_secrets,
    ledger,
    postgres,
    run_lock,
    tls,
)
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Config, Project, read_config
from ansible_collections.residency.scheduler.plugins.module_utils.containers import inspect_containers, read_log
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_evidence import Evidence
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_facts import Seen
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text
from ansible_collections.residency.scheduler.plugins.module_utils.health import Clock
from ansible_collections.residency.scheduler.plugins.module_utils.options import complete
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.stack import parse_services
from ansible_collections.residency.scheduler.plugins.module_utils.verification import Verification

#: Releases of the ledger that are told.
RELEASES = 10
#: Seconds that Alembic has; a loaded server takes twenty, and a database that hangs any number.
ALEMBIC_SECONDS = 60
#: The same where no database runs: the release's own history may be broken all the same.
ALEMBIC_SECONDS_ALONE = 10
#: What the database is asked: sessions, and who waits for whose lock.
_SESSIONS = (
    "SELECT count(*) AS sessions, current_setting('max_connections')::int AS allowed,"
    " coalesce(max(extract(epoch FROM now() - xact_start)) FILTER (WHERE state <> 'idle'), 0) AS longest_transaction_seconds,"
    " pg_database_size(current_database()) AS bytes FROM pg_stat_activity WHERE backend_type = 'client backend'"
)
_WAITING = (
    "SELECT pid, extract(epoch FROM now() - coalesce(state_change, query_start)) AS seconds, (pg_blocking_pids(pid))[1] AS blocked_by"
    " FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(pid)) > 0"
)


class Diagnosis:
    """The parts of a diagnosis. Each notes in ``facts`` what it could have, or why not in ``unavailable``."""

    def __init__(self, parameters: Mapping[str, Any], runner: Runner, clock: Clock) -> None:
        """Read the parameters.

        :raises Problem: one is wrong.
        """
        self._parameters, self._runner, self._clock = parameters, runner, clock
        self._now = datetime.now(UTC)
        self._services = parse_services(parameters["services"])
        self._project = Project.from_parameters(parameters["project"])
        self._seen: list[Seen] = []
        self._secrets: tuple[str, ...] = ()
        self._config: Config | None = None
        self._needed: dict[str, dict[str, int]] = {}
        self.facts: dict[str, Any] = {}
        self.unavailable: dict[str, str] = {}
        self.parts: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        """Collect all that can be had, and name the likely causes."""
        started = self._clock.now()
        self._part("docker", lambda: diagnosis_facts.read_docker(self._runner))
        answers = bool(self.facts["docker"]["answers"])
        if answers:
            self._part("containers", self._look_at_containers)
        self._secrets, unread = diagnosis_secrets.collect(
            self._project.env_file, self._parameters["state_dir"], [item.environment for item in self._seen]
        )
        self._secrets = tuple({*self._secrets, *(str(value) for value in (self._parameters["secrets"] or {}).values() if value)})
        self.unavailable |= {"secrets": "; ".join(unread)} if unread else {}
        self._needed = diagnosis_facts.needs(self._seen, self._services)
        self._part("ledger", self._read_ledger)
        self._part("files", self._look_at_files)
        checks: list[Check] = []
        logs: dict[str, list[str]] = {}
        parts: dict[str, Callable[[], Any]] = {
            "host": lambda: diagnosis_facts.read_host(self._parameters["paths"]),
            "lock": self._look_at_lock,
            "certificate": self._look_at_certificate,
        }
        if answers:
            parts |= {
                "verification": lambda: checks.extend(self._verify()),
                "logs": lambda: logs.update(self._read_logs()),
                "network": lambda: diagnosis_network.examine(self._seen, self._needed, self._runner, self._secrets),
                "stats": lambda: diagnosis_facts.read_stats([item.name for item in self._seen if item.pid], self._runner),
                "memory_kills": lambda: diagnosis_facts.read_memory_kills(
                    self._project.name, self._seen, float(self._parameters["seconds"]), self._runner
                ),
                "environment": self._compare_environment,
                "database": self._ask_database,
            }
        with ThreadPoolExecutor(max_workers=len(parts)) as pool:
            list(pool.map(lambda entry: self._part(*entry), parts.items()))
        clean = diagnosis_secrets.blotter(self._secrets)
        logs, self.facts = clean(logs), clean(self.facts)
        evidence = Evidence(
            project=self._project.name,
            services=tuple(self._services),
            checks=tuple(checks),
            containers=tuple(replace(item, environment={}, health_log=tuple(clean(item.health_log))) for item in self._seen),
            logs=logs,
            facts=self.facts,
            needed=self._needed,
            seconds=float(self._parameters["seconds"]),
        )
        causes, notes = diagnosis_rules.diagnose(evidence)
        result = {
            "changed": False,
            "causes": [cause.to_dict() for cause in causes],
            "notes": [note.to_dict() for note in notes],
            "checks": [check.to_dict() for check in checks],
            "facts": self.facts,
            "logs": logs,
            "unavailable": self.unavailable,
            "parts": self.parts,
            "seconds": round(self._clock.now() - started, 3),
        }
        return dict(clean(result))

    def _part(self, name: str, part: Callable[[], Any]) -> None:
        """Note what a part found, and how many seconds it took; what goes wrong is noted too, and stops nothing."""
        started = self._clock.now()
        try:
            found = part()
            if found is not None:
                self.facts[name] = found
        except Exception as error:  # whatever is broken on the server, the other parts go on
            self.unavailable[name] = error.message() if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
        self.parts[name] = round(self._clock.now() - started, 3)

    def _look_at_containers(self) -> list[dict[str, Any]]:
        self._seen = diagnosis_facts.parse_seen(inspect_containers(self._project.name, self._runner, one_off=True), self._now)
        return [item.to_dict() for item in self._seen]

    def _read_ledger(self) -> dict[str, Any]:
        """Read the ledger, and choose the release in question: the one whose deployment was begun last, or else the one that serves."""
        state = self._parameters["state_dir"]
        records = ledger.read_records(state)
        good = ledger.last_good(records)
        newest = max(records, key=lambda item: str(item["id"]), default=None)
        question = newest if newest and newest["verdict"] == "candidate" else good
        if question:
            kept = os.path.join(ledger.folder(state, str(question["id"])), "compose.yml")
            files = [str(name) for name in (question.get("stack") or {}).get("compose_files") or self._parameters["project"]["files"]]
            self._project = Project.from_parameters({**self._parameters["project"], "files": [*files, kept]})
        return {
            "folder": ledger.folder(state),
            "last_good": _brief(good) if good else {},
            "question": str(question["id"]) if question else "",
            "releases": [_brief(item) for item in records[-RELEASES:]],
            "shutdown": _last_shutdown(state, str((good or {}).get("at") or "")),
        }

    def _look_at_files(self) -> dict[str, Any]:
        return {
            "home": self._project.directory,
            "env_file": {"path": self._project.env_file, "there": os.path.isfile(self._project.env_file)},
            "compose": [{"path": path, "there": os.path.isfile(path)} for path in self._project.files],
        }

    def _look_at_lock(self) -> dict[str, str]:
        path = self._parameters["lock_file"]
        holder = run_lock.read_holder(path)
        held = run_lock.is_held(path)
        return {
            "path": path,
            "holder": (holder.told() if holder else "somebody who is not recorded") if held else "",
            "last": holder.told() if holder else "",
        }

    def _look_at_certificate(self) -> dict[str, Any] | None:
        certificate, key = (os.path.join(self._parameters["tls_dir"], name) for name in ("fullchain.pem", "privkey.pem"))
        if not os.path.exists(certificate):
            return None
        found = tls.read(certificate)
        return {
            "folder": self._parameters["tls_dir"],
            "path": certificate,
            "key": key,
            "key_fits": tls.is_key_of(key, certificate),
            "names": list(found.names),
            "not_before": found.not_before.isoformat(),
            "not_after": found.not_after.isoformat(),
            "self_signed": found.self_signed,
        }

    def _verify(self) -> list[Check]:
        """Make the checks of a verification; what Celery and Alembic said is noted besides."""
        project = {
            "name": self._project.name,
            "directory": self._project.directory,
            "files": list(self._project.files),
            "env_file": self._project.env_file,
        }
        fixed = {
            "project": project,
            "alembic": {**self._parameters["alembic"], "timeout": ALEMBIC_SECONDS if self._database() else ALEMBIC_SECONDS_ALONE},
            "celery": {**self._parameters["celery"], "beat_wait": 0},
            "logs": {**self._parameters["logs"], "seconds": self._parameters["seconds"]},
            "wait": 0,
        }
        # A dump of the whole database is no quick look; where no container is left, Compose would make a network to ask Alembic in.
        without = ("database_backup",) if self._seen else ("database_backup", "alembic")
        parameters = complete({**self._parameters, **fixed})
        verification = Verification(parameters, self._runner, self._clock, without=without, secrets=self._secrets)
        found = verification.run()
        self.facts |= {name: verification.answers[name] for name in ("celery", "alembic") if name in verification.answers}
        self.facts["latency"] = found["latency"]
        self.parts |= {f"verification: {name}": seconds for name, seconds in found["parts"].items()}
        return [Check(**check) for check in found["checks"]]

    def _read_logs(self) -> dict[str, list[str]]:
        lines = int(self._parameters["log_lines"])
        with ThreadPoolExecutor(max_workers=max(1, len(self._seen))) as pool:
            read = pool.map(lambda item: read_log(item.name, self._runner, (), lines=lines, timestamps=False), self._seen)
            return {item.name: found for item, found in zip(self._seen, read, strict=True)}

    def _compare_environment(self) -> dict[str, Any]:
        try:
            config: Config | None = read_config(self._project, self._runner)
        except Problem:  # told by the verification
            config = None
        running = [item for item in self._seen if item.pid and not item.one_off]
        return diagnosis_facts.environment_names(running, config, self._project.environment())

    def _database(self) -> str:
        """Return the service of the database, if it runs; else nothing."""
        names = {service.name for service in self._services if service.kind == "postgres"}
        return next((item.service for item in self._seen if item.service in names and item.state == "running"), "")

    def _ask_database(self) -> dict[str, Any] | None:
        service = self._database()
        if not service:
            return None
        server = postgres.find(self._project, service, self._runner)
        what = "Asking the database for its sessions failed"
        return {**server.rows(_SESSIONS, what, timeout=10)[0], "waiting": server.rows(_WAITING, what, timeout=10)}


def _brief(record: Mapping[str, Any]) -> dict[str, Any]:
    about = ("id", "version", "commit", "verdict", "at", "started", "by", "why", "proven", "pruned")
    database = ("revision", "revision_before", "backup")
    images = {name: str(image.get("id", ""))[:19] for name, image in (record.get("images") or {}).items()}
    return {**{name: record[name] for name in (*about, *database) if name in record}, "images": images}


def _last_shutdown(state_dir: str, since: str) -> dict[str, str]:
    """Return when, by whom and why the stack was shut down last, if that was after *since* (ISO 8601)."""
    paths: Sequence[str] = sorted(glob.glob(os.path.join(state_dir, "shutdowns", "*.json")))
    if not paths:
        return {}
    found = json.loads(read_text(paths[-1]))
    record = {name: str(found.get(name) or "") for name in ("at", "by", "reason")}
    return record if record["at"][:19] > since[:19] else {}
