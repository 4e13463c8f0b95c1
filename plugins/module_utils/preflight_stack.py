# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack that is deployed already: room for what a deployment does to its database, its memory, and the way back to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import backups, dump, ledger
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project, Service, read_config
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_images
from ansible_collections.residency.scheduler.plugins.module_utils.finding import WARNS, Finding, show
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import find
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Deployed:
    """Where the stack is.

    :ivar databases: the services that are a PostgreSQL.
    :ivar side_database: whether a deployment makes a copy beside the live database.
    :ivar checkout: whether the compose files are there.
    :ivar version: what is to be deployed, and
    :ivar commit: what the repository has under that name now; empty if it was not asked.
    :ivar revisions: ids of Alembic's revisions in the release's files; none where they are not known.
    """

    project: Project
    databases: tuple[str, ...]
    state_dir: str
    backup_dir: str
    side_database: bool
    checkout: bool
    version: str = ""
    commit: str = ""
    revisions: frozenset[str] = frozenset()


def check(deployed: Deployed, memory_mb: int, runner: Runner, *, at_once: int = 3) -> list[Finding]:
    """Return what stands in the way of a deployment over this stack; a server without one has nothing of it.

    :arg at_once: questions that are asked at the same time: each of them waits for Docker most of its time.
    """
    questions = {"disk for the database": lambda: check_space(deployed, runner)}
    if deployed.revisions:
        questions["database"] = lambda: check_revision(deployed, runner)
    unreadable = []
    records = []
    try:
        records = ledger.read_records(deployed.state_dir)
    except Problem as problem:
        found = f"one that cannot be read ({_line(problem.why)})"
        unreadable = [Finding("ledger", found, "records and verdicts of releases", problem.remedy)]
    good = ledger.last_good(records)
    if good is not None:
        questions["memory limits"] = lambda: check_memory(deployed, good, memory_mb, runner)
        questions["way back"] = lambda: check_way_back(good, runner)
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        answers = list(pool.map(_told, questions, questions.values()))
    return [finding for answer in answers for finding in answer] + unreadable + check_moved(records, deployed.version, deployed.commit)


def _told(subject: str, question: Callable[[], list[Finding]]) -> list[Finding]:
    """Return the answer of a question; that it could not be answered is a finding too."""
    try:
        return question()
    except Problem as problem:
        return [Finding(subject, f"no answer ({_line(problem.message())})", "an answer", "Look at it before you deploy.", WARNS)]


def _line(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(". ")


def check_moved(records: Sequence[Mapping[str, Any]], version: str, commit: str) -> list[Finding]:
    """Return a finding where the version named another commit when it was deployed here. Pure."""
    before = [record["commit"] for record in records if record["version"] == version and record["proven"]]
    if not commit or not before or commit in before:
        return []
    found = f"{show(version)} at {commit[:12]}, which was {before[-1][:12]} when it was deployed here"
    remedy = f"Somebody has moved the tag: ask why. Deploy a new tag; or, if it was meant, the commit itself: scheduler_version={commit}."
    return [Finding("scheduler_version", found, "a tag that stays where it is", remedy)]


def check_space(deployed: Deployed, runner: Runner) -> list[Finding]:
    """Return a finding for each file system without room for a dump, or for a copy of a database that runs."""
    findings = []
    for service in deployed.databases:
        try:
            postgres = find(deployed.project, service, runner)
        except Problem:  # it does not run: nobody can tell how large it is
            continue
        whole = backups.whole(deployed.backup_dir, postgres.database)
        previous = whole[-1].content if whole else None
        space, needs = dump.read_space(postgres, deployed.backup_dir, deployed.side_database, previous)
        findings += lacking(space["database"], needs)
    return findings


def check_revision(deployed: Deployed, runner: Runner) -> list[Finding]:
    """Return a finding where a database that runs stands at a revision that is none of the release's.

    Of several only one is the application's; another one's tool may use Alembic too.
    """
    standing: dict[str, list[str]] = {}
    for service in deployed.databases:
        try:
            postgres = find(deployed.project, service, runner)
        except Problem:  # it does not run: nobody can ask it
            continue
        what = "Asking for the database's revision failed"
        if postgres.run("SELECT to_regclass('alembic_version')", what).strip():
            standing[service] = [str(row["version_num"]) for row in postgres.rows("SELECT version_num FROM alembic_version", what)]
    if len(standing) > 1 and any(deployed.revisions.issuperset(names) for names in standing.values()):
        return []
    return [finding for names in standing.values() for finding in ahead(names, deployed.revisions, deployed.version)]


def ahead(standing: Sequence[str], known: Collection[str], version: str) -> list[Finding]:
    """Return a finding where the database is ahead of the release. Pure."""
    unknown = sorted(set(standing) - set(known))
    if not unknown:
        return []
    found = f"revision {', '.join(unknown)}, which {show(version)} does not know: the database is ahead of the code"
    remedy = "Deploy a release that knows it, or go back by rollback.yml, which tells the choices. Never use `alembic stamp`."
    return [Finding("database", found, "a revision of the release", remedy)]


def lacking(size: int, needs: Sequence[dump.Need]) -> list[Finding]:
    """Return the needs that are not met. Pure."""
    return [
        Finding(
            "disk for the database",
            f"{dump.readable(need.free)} free for {need.purpose}",
            f"{dump.readable(need.needed)}, since the database has {dump.readable(size)}",
            "A migration will be refused for it. Make room there, or name a folder with more in scheduler_backup_dir.",
            WARNS,
        )
        for need in needs
        if need.needed > need.free
    ]


def check_memory(deployed: Deployed, good: Mapping[str, Any], memory_mb: int, runner: Runner) -> list[Finding]:
    """Return a finding where the limits of the release that serves promise more memory than there is."""
    release_file = os.path.join(deployed.state_dir, "compose", f"{good['commit'][:12]}.yml")
    if not deployed.checkout or not os.path.isfile(release_file):
        return []
    project = deployed.project
    pinned = Project(project.name, project.directory, (*project.files, release_file), project.env_file)
    return over_committed(tuple(read_config(pinned, runner).services.values()), memory_mb)


def over_committed(services: Sequence[Service], memory_mb: int) -> list[Finding]:
    """Return a finding where the limits add up to more than the machine's memory. Pure."""
    limits = sum(service.memory * service.replicas for service in services)
    if limits <= memory_mb * _MIB:
        return []
    count = sum(service.replicas for service in services if service.memory)
    found = f"{dump.readable(limits)} as the limits of {count} containers"
    wanted = f"no more than the machine's {dump.readable(memory_mb * _MIB)}"
    remedy = "Under load the kernel may end one of them: give the server more memory, or lower deploy.resources.limits.memory."
    return [Finding("memory limits", found, wanted, remedy, WARNS)]


def check_way_back(good: Mapping[str, Any], runner: Runner) -> list[Finding]:
    """Return a finding where images of the last good release are gone: a failed deployment could not go back to it."""
    wanted = {service: str(image["id"]) for service, image in good["images"].items()}
    present = read_images(list(wanted.values()), runner).ids
    gone = sorted(service for service, identifier in wanted.items() if identifier not in present)
    if not gone:
        return []
    found = f"no image of {', '.join(gone)} of the last good release, {show(good['version'])} ({good['id']})"
    remedy = "A deployment that fails could not go back by itself. Build them: deploy that version again first."
    return [Finding("way back", found, "all images of the last good release", remedy, WARNS)]
