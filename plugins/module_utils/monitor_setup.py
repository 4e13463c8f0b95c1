# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the monitor's program was set up with, and the release that it looks at: always the last good one of the ledger."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import ledger, notification, run_lock
from ansible_collections.residency.scheduler.plugins.module_utils.alerting import Alerts
from ansible_collections.residency.scheduler.plugins.module_utils.backups import AHEAD, now_utc
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.schedule import Job, Records
from ansible_collections.residency.scheduler.plugins.module_utils.stack import SERVICES_SPEC

CONFIGURATION, RUNS, HEALTH, SAMPLES = "monitor.json", "runs", "health.json", "samples.jsonl"
#: Beside the ledger; says until when alerts are kept back, ``{"until": "2026-01-31T02:00:00+00:00", "reason": "..."}``.
MAINTENANCE = "maintenance.json"
LONGEST_MAINTENANCE = timedelta(days=7)
#: How the runs of the timers are told from those of playbooks.
SCHEDULED = "scheduled-"


@dataclass(frozen=True)
class Setup:
    """The configuration.

    :ivar folder: where the program lies, with all that it keeps.
    :ivar values: see the options of the module ``monitoring_program``.
    """

    folder: str
    values: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str) -> Setup:
        """Read the configuration beside the program."""
        path = os.path.join(folder, CONFIGURATION)
        try:
            return cls(folder, dict(json.loads(read_text(path))))
        except ValueError as error:
            remedy = "Run ansible-playbook playbooks/monitoring.yml again."
            raise Problem("Reading the monitor's configuration failed", f"{path}: {error}", remedy) from error

    def path(self, name: str) -> str:
        """Return the path of a file that the program keeps."""
        return os.path.join(self.folder, name)

    @property
    def state_dir(self) -> str:
        """Return the folder with the ledger."""
        return str(self.values["state_dir"])

    @property
    def jobs(self) -> list[Job]:
        """Return what the timers start."""
        return [Job(str(job["name"]), float(job["max_age"])) for job in self.values["jobs"]]

    @property
    def records(self) -> Records:
        """Return the records of the timers' runs."""
        return Records(self.path(RUNS))

    @property
    def since(self) -> datetime:
        """Return when it was set up."""
        return datetime.fromtimestamp(os.path.getmtime(self.path(CONFIGURATION)), UTC)

    def alerts(self) -> Alerts:
        """Return what is known to people, and the ways to them."""
        facts = {"host": str(self.values["host"]), "project": str(self.values["project"]["name"])}
        channels = notification.parse(self.values["channels"])
        spare = f"{self.values['lock_file']}.alerts.json"
        return Alerts(self.folder, channels, facts, timedelta(hours=float(self.values["remind_hours"])), spare)

    def release(self) -> Mapping[str, Any]:
        """Return the release that serves.

        :raises Problem: there is none.
        """
        record = ledger.last_good(ledger.read_records(self.state_dir))
        if record is None:
            raise Problem("Looking for the release failed", f"no good release is in {ledger.folder(self.state_dir)}", "Deploy one.")
        return record

    def project(self, release: Mapping[str, Any]) -> dict[str, Any]:
        """Return the compose project of *release*, as the option ``project`` of the modules."""
        stack = release.get("stack") or {}
        pinned = os.path.join(self.state_dir, "compose", f"{release['commit'][:12]}.yml")
        return {**self.values["project"], "files": [*(stack.get("compose_files") or self.values["compose_files"]), pinned]}

    def services(self, release: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the services that *release* was deployed with, in start order."""
        defaults = {name: option.get("default") for name, option in SERVICES_SPEC["options"].items()}
        stack = release.get("stack") or {}
        return [{**defaults, **service} for service in stack.get("services") or self.values["services"]]

    def secrets(self) -> tuple[str, ...]:
        """Return the secrets of ``.env``, to be blotted out of whatever is told."""
        return Project.from_parameters({**self.values["project"], "files": []}).secrets()

    def holder(self, job: str) -> dict[str, str]:
        """Return how the server's lock names a run of *job*."""
        now, host = now_utc().isoformat(), socket.gethostname()
        return {"run": f"{SCHEDULED}{job}-{os.getpid()}", "by": "root", "host": host, "playbook": f"scheduled {job}", "since": now}

    def muted(self, now: datetime) -> str:
        """Return why alerts are kept back: a playbook works on the server, or maintenance was announced; empty where neither is so."""
        lock = str(self.values["lock_file"])
        holder = run_lock.read_holder(lock)
        if run_lock.is_held(lock) and holder is not None and not holder.run.startswith(SCHEDULED):
            # One that hangs must not keep alerts back for good.
            longest = timedelta(hours=float(self.values["deployment_hours"]))
            try:
                since = datetime.fromisoformat(holder.since)
            except ValueError:  # a run that is just taking the lock away from another
                return holder.told()
            # One that is yet to come was written while the clock was ahead.
            if -AHEAD <= now - since < longest:
                return holder.told()
        try:
            announced = json.loads(read_text(os.path.join(self.state_dir, MAINTENANCE)) or "{}")
            until = datetime.fromisoformat(announced["until"])
            lasts = now < until <= now + LONGEST_MAINTENANCE
            return f"maintenance until {announced['until']}: {announced.get('reason', '')}" if lasts else ""
        except (ValueError, KeyError, TypeError):
            return ""
