# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every post-deployment check, side by side; whatever cannot be made is a failed check. Without Ansible, for the timer's program."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import alembic, celery, database, logs
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, failed, judge
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_containers
from ansible_collections.residency.scheduler.plugins.module_utils.endpoints import parse_endpoints, probe_all
from ansible_collections.residency.scheduler.plugins.module_utils.health import Clock, Wanted, judge_restarts, watch
from ansible_collections.residency.scheduler.plugins.module_utils.patterns import require_pattern
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.service_probe import ProbeContext, probe_service
from ansible_collections.residency.scheduler.plugins.module_utils.stack import parse_services
from ansible_collections.residency.scheduler.plugins.module_utils.stack_state import logs_of_sick, read_wanted

#: Seconds that a dump of the whole database may take.
DUMP_TIMEOUT = 1800


class Verification:
    """The parts of a verification, each of which returns checks; what else they found out is kept in ``facts``.

    :ivar figures: what was found out beside the checks, for metrics; what could not be found out has no entry.
    """

    def __init__(self, parameters: Mapping[str, Any], runner: Runner, clock: Clock, without: Collection[str] = ()) -> None:
        """Read the parameters; a wrong one is a Problem before anything is asked.

        :arg parameters: as ``complete`` of ``options`` returns them.
        :arg without: names of parts to leave out.
        """
        self._without = without
        self.figures: dict[str, Any] = {}
        self._parameters = parameters
        self._runner = runner
        self._clock = clock
        self._project = Project.from_parameters(parameters["project"])
        self._secrets = self._project.secrets()
        self._services = parse_services(parameters["services"])
        self._celery, self._alembic, self._logs = (parameters[name] for name in ("celery", "alembic", "logs"))
        for query in parameters["queries"]:
            require_pattern(f"the query {query['name']}", query["expect"])
        endpoints = parse_endpoints(parameters["endpoints"])
        self._timed = [item for item in endpoints if item.max_seconds is not None]
        self._untimed = [item for item in endpoints if item.max_seconds is None]
        self._facts: dict[str, Any] = {"revision": [], "latency": {}, "logs": {}}
        self._wanted: list[Wanted] = []
        self._restarts_before: dict[str, int] = {}
        self._sick: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Make all checks and return them."""
        parts: dict[str, float] = {}
        # First: what follows may take it that whatever can still come up has come up.
        checks = self._timed_part("services", self._check_services, parts)
        at_once: dict[str, Callable[[], list[Check]]] = {
            "hold": self._check_hold,
            "celery": self._check_celery,
            "alembic": self._check_alembic,
            "database": self._check_queries,
            "database_backup": self._check_readable,
            "endpoints": lambda: self._check_endpoints(self._untimed),
            "app_script": self._check_app_script,
        }
        # Afterwards, one by one: response times on a host that is quiet again, and the logs with what the checks themselves caused.
        then = {"performance": lambda: self._check_endpoints(self._timed), "logs": self._check_logs}
        kinds = {service.kind for service in self._services}
        left_out = {*self._without, *(() if "celery_worker" in kinds else ("celery",))}
        left_out |= set() if "postgres" in kinds else {"database", "database_backup", "alembic"}
        at_once = {name: part for name, part in at_once.items() if name not in left_out}
        then = {name: part for name, part in then.items() if name not in left_out}
        with ThreadPoolExecutor(max_workers=len(at_once)) as pool:
            running: list[Future[list[Check]]] = [pool.submit(self._timed_part, name, part, parts) for name, part in at_once.items()]
            checks += [check for future in running for check in future.result()]
        for name, part in then.items():
            checks += self._timed_part(name, part, parts)
        found = {"checks": [item.to_dict() for item in checks], "healthy": not failed(checks), "parts": parts}
        return {"changed": False, **found, **self._facts}

    def _timed_part(self, name: str, part: Callable[[], list[Check]], parts: dict[str, float]) -> list[Check]:
        started = self._clock.now()
        try:
            return part()
        except Exception as error:  # a part that breaks is a check that could not be made
            found = error.message() if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
            remedy = "Mend what hinders this check, and verify again."
            return [judge(f"{name}: check", False, "a check that can be made", redact(found, self._secrets)[:500], remedy, topic=name)]
        finally:
            parts[name] = round(self._clock.now() - started, 3)

    def _check_services(self) -> list[Check]:
        self._wanted = read_wanted(self._project, self._services, (), self._runner)
        # Celery's own part asks the workers and beat more deeply than the probe of their kind does.
        shallow = {service.name for service in self._services if service.kind.startswith("celery")}
        context = ProbeContext(
            runner=self._runner,
            environment=self._project.environment(),
            secrets=self._secrets,
            domain=self._parameters["domain"],
            celery_app=self._celery["app"],
            timeout=self._parameters["probe_timeout"],
        )
        watched = watch(
            self._wanted,
            lambda: read_containers(self._project.name, self._runner),
            lambda service, containers: [] if service.name in shallow else probe_service(service, containers, context),
            self._clock,
            wait=self._parameters["wait"],
            hold=0,
        )
        self.figures["services"] = watched.verdicts
        self.figures["replicas"] = {entry.service.name: entry.replicas for entry in self._wanted}
        self._facts["logs"] = logs_of_sick(watched.verdicts, self._runner, self._secrets)
        self._restarts_before = watched.restarts_before
        checks = [check for verdict in watched.verdicts for check in verdict.checks]
        self._sick = {check.subject for check in failed(checks)}
        return checks

    def _check_hold(self) -> list[Check]:
        """Look at the containers alone for a while; nothing may die after its first good answer."""
        watched = watch(
            self._wanted,
            lambda: read_containers(self._project.name, self._runner),
            lambda _service, _containers: [],
            self._clock,
            wait=0,
            hold=self._parameters["hold"],
        )
        # What was sick from the start has been told.
        new = [check for verdict in watched.verdicts for check in failed(verdict.checks) if check.subject not in self._sick]
        return new + judge_restarts(watched.verdicts, self._restarts_before)

    def _check_celery(self) -> list[Check]:
        checks, answer = celery.examine(self._project.name, self._celery, self._secrets, self._runner)
        self.figures |= {"nodes": answer["nodes"], "depths": answer["depths"]}
        self.figures |= {"last_tick": answer["last_tick"]} if answer["last_tick"] else {}
        return checks

    def _check_alembic(self) -> list[Check]:
        started = self._clock.now()
        answer = alembic.ask({"project": self._parameters["project"], **self._alembic}, self._runner)
        revisions = alembic.Revisions.from_answer(answer)
        self._facts["revision"] = list(revisions.current)
        self.figures["at_head"] = revisions.at_head
        seconds = self._clock.now() - started
        return [replace(check, seconds=seconds) for check in alembic.judge_revisions(revisions)]

    def _check_queries(self) -> list[Check]:
        home = self._database()
        return [database.ask(home, query, self._runner, self._secrets) for query in self._parameters["queries"]]

    def _check_readable(self) -> list[Check]:
        return [database.prove_readable(self._database(), self._runner, self._secrets, DUMP_TIMEOUT)]

    def _database(self) -> str:
        """Return the name of the database's container."""
        names = {service.name for service in self._services if service.kind == "postgres"}
        for container in read_containers(self._project.name, self._runner):
            if container.service in names and container.state == "running":
                return container.name
        raise Problem("Asking the database failed", f"no container of {', '.join(names)} is running", "Read its log.")

    def _check_endpoints(self, endpoints: Sequence[Any]) -> list[Check]:
        checks, latency = probe_all(endpoints)
        self._facts["latency"] = {**self._facts["latency"], **latency}
        return checks

    def _check_app_script(self) -> list[Check]:
        words = list(self._parameters["app_script"])
        if not words:
            return []
        result = self._runner.run(["env", f"--chdir={self._project.directory}", *words], timeout=120)
        return [
            judge(
                "the application's own check",
                result.rc == 0,
                f"exit code 0 of {shlex.join(words)}",
                f"exit code {result.rc}: {redact(result.last_lines(1), self._secrets)[:200]}",
                "Advice only: such scripts are often wrong about a good system. The checks beside it decide.",
                result.seconds,
                otherwise="warn",
                topic="application_script",
            )
        ]

    def _check_logs(self) -> list[Check]:
        checks, findings = logs.review(read_containers(self._project.name, self._runner), self._logs, self._secrets, self._runner)
        for name, lines in findings.items():
            self._facts["logs"].setdefault(name, lines)
        return checks
