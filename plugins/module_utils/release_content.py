# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment would stumble over in a release's own files: a compose project, a Dockerfile, a proxy's settings, revisions, names.

The files lie in a folder that is thrown away afterwards. Where a secret has to be, a made one stands for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import dotenv, kept_secrets, revision_files
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Config, Project, Service, read_unpinned
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_images
from ansible_collections.residency.scheduler.plugins.module_utils.environment_names import check_names
from ansible_collections.residency.scheduler.plugins.module_utils.environment_values import GIVE, merge, missing
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, WARNS, Finding, show
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

_NO_FILE = re.compile(r"no such file|not found|does not exist", re.IGNORECASE)
#: By this label a container that only tries a proxy's settings is known.
LABEL = "residency.scheduler.preflight"
#: What stands before nginx's own words.
_LOGGED = re.compile(r"^(?:nginx: |\S+ \S+ )?\[emerg\] (?:\d+#\d+: )?")
#: What nginx cannot open, bind or look up may be there in the deployment - certificates, volumes, addresses, written logs. What is wrong
#: in its settings has no function and no error number in it.
_NOT_HERE = re.compile(r"\w\(|\(\d+: |cannot load|host not found")


@dataclass(frozen=True)
class Wanted:
    """What the inventory has for a release.

    :ivar services: the services that have to be there, with :ivar proxies: those of them that are a proxy.
    :ivar home: the checkout, which may have more files than the release.
    :ivar example: the example file, relative to the release's tree; empty for none.
    :ivar values: of the environment, by name; none of them is a secret.
    :ivar secrets: names of the secrets, given and made.
    :ivar serving: names in the environment of the release that serves.
    """

    project: str
    compose_files: tuple[str, ...]
    services: tuple[str, ...]
    proxies: tuple[str, ...]
    home: str
    example: str
    values: Mapping[str, Any]
    secrets: frozenset[str]
    serving: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Content:
    """What is wrong with a release, the ids of its revisions (none where they cannot be told), and what of it was looked at."""

    findings: tuple[Finding, ...]
    revisions: tuple[str, ...]
    looked_at: tuple[str, ...] = ()


def look(tree: str, wanted: Wanted, runner: Runner, *, docker: bool) -> Content:
    """Look into a release.

    :arg tree: a folder with its files; ``.env`` is written into it.
    :arg docker: whether Docker and Compose answer here, on the server itself.
    """
    revisions = revision_files.read(tree) or []
    findings = revision_files.judge(revisions)
    if os.path.exists(os.path.join(tree, ".gitmodules")):
        # What is in them was not fetched.
        return Content(tuple(findings), tuple(revision.revision for revision in revisions))
    absent = [name for name in wanted.compose_files if not os.path.isfile(os.path.join(tree, name))]
    missing = [name for name in absent if not is_beside(name, wanted.home, runner)]
    remedy = "Correct the list, or deploy a version that has the file."
    findings += [Finding("scheduler_compose_files", f"no {name} in the release", "a file of the release", remedy) for name in missing]
    files = [os.path.join(wanted.home if name in absent else tree, name) for name in wanted.compose_files if name not in missing]
    findings_of_names, environment = check_environment(tree, files, wanted)
    findings += findings_of_names
    if docker and environment is not None and not absent:
        write_text(os.path.join(tree, ".env"), dotenv.render(environment), 0o600)
        findings += check_project(Project(wanted.project, tree, tuple(files), os.path.join(tree, ".env")), wanted, runner)
    return Content(tuple(findings), tuple(revision.revision for revision in revisions), ("files",))


def is_beside(path: str, home: str, runner: Runner) -> bool:
    """Tell whether somebody has put something beside the files of the release in a checkout: another release leaves that alone."""
    if not home or not os.path.exists(os.path.join(home, path)):
        return False
    return not runner.run(["git", "-C", home, "ls-files", "--", path]).stdout.strip()


def check_environment(tree: str, compose_files: Sequence[str], wanted: Wanted) -> tuple[list[Finding], dict[str, str] | None]:
    """Return what is wrong with the names, and the values, with made ones for secrets and for what is missing; None where none fits."""
    example = dotenv.read_example(read_text(os.path.join(tree, wanted.example)) if wanted.example else "")
    used, required = dotenv.used_names("\n".join(map(read_text, compose_files)))
    given = {"scheduler_env": wanted.values, "scheduler_secrets": wanted.secrets}
    findings = check_names(given, example, used, wanted.serving) if wanted.example else []
    made = {name: kept_secrets.make() for name in wanted.secrets}
    for name, why in sorted(missing(example.defaults, {**wanted.values, **made}, required).items()):
        findings.append(Finding(f"scheduler_env.{name}", f"no value ({why})", "a value for every name of the release", GIVE))
        made[name] = kept_secrets.make()
    try:
        return findings, merge(example.defaults, wanted.values, made, required)
    except Problem as problem:
        return [*findings, Finding("environment", problem.why, "values that fit the release's example file", problem.remedy)], None


def check_project(project: Project, wanted: Wanted, runner: Runner) -> list[Finding]:
    """Return what Compose, a build and the proxy would refuse."""
    try:
        config = read_unpinned(project, runner)
    except Problem as problem:
        # What stands for secrets is nobody's.
        why = " ".join(problem.why.replace(project.directory + "/", "").split())
        remedy = f"Correct {', '.join(wanted.compose_files)} in the release, or the list of them."
        # It may be one that lies beside the release's files on the server.
        severity = WARNS if _NO_FILE.search(why) else STOPS
        return [Finding("compose project", why[-500:], "files that Compose takes together", remedy, severity)]
    findings = [_no_service(name, config) for name in wanted.services if name not in config.services]
    findings += check_builds(tuple(config.services.values()), project.directory, wanted.home, runner)
    try:
        present = read_images([service.image for service in config.services.values() if not service.build], runner).ids
    except Problem as problem:
        return [*findings, Finding("images", problem.why, "an answer of Docker", problem.remedy, WARNS)]
    questions: list[Callable[[], list[Finding]]] = []
    for service in (service for service in config.services.values() if not service.build):
        if service.image not in present:
            questions.append(partial(check_registry, service.image, runner))
        elif service.name in wanted.proxies:
            questions.append(partial(check_proxy, service, config, wanted.project, runner))
    with ThreadPoolExecutor(max_workers=4) as pool:
        return findings + [finding for answer in pool.map(lambda question: question(), questions) for finding in answer]


def _no_service(name: str, config: Config) -> Finding:
    remedy = "Correct its name, take it out, or mark it as optional; or add the compose file that has it."
    return Finding("scheduler_services", f"{show(name)}, which the release does not have", f"one of {', '.join(config.services)}", remedy)


def check_builds(services: Sequence[Service], tree: str, home: str, runner: Runner) -> list[Finding]:
    """Return a finding for each folder, or Dockerfile, that a build would not find.

    :arg home: the checkout; what somebody has put there is found, though it is not the release's.
    """
    lacking: dict[str, list[str]] = {}
    for service in services:
        build = service.build or {}
        context = str(build.get("context") or "")
        # Others are fetched by Docker itself, or lie elsewhere on the server.
        if os.path.commonpath([context if context.startswith("/") else "/", tree]) != tree:
            continue
        file = os.path.join(context, str(build.get("dockerfile") or "Dockerfile"))
        if not os.path.isdir(context):
            lacking.setdefault(context, []).append(service.name)
        elif not build.get("dockerfile_inline") and not os.path.isfile(file):
            lacking.setdefault(file, []).append(service.name)
    remedy = "Correct build in the compose file, or add it to the release."
    return [
        Finding("images", f"no {path} in the release, to build {', '.join(names)}", "what a build needs", remedy)
        for path, names in ((os.path.relpath(path, tree), names) for path, names in lacking.items())
        if not is_beside(path, home, runner)
    ]


def check_registry(image: str, runner: Runner) -> list[Finding]:
    """Return a warning where a ready-made image is neither here nor told of by its registry, which a mirror may have all the same."""
    answer = runner.run(["docker", "manifest", "inspect", image], timeout=20)
    if answer.rc == 0 and not answer.timed_out:
        return []
    why = "no answer within 20 s" if answer.timed_out else " ".join(answer.last_lines(1).split())[:200]
    remedy = f"Try `docker pull {image}` there, or load it by `docker load`: a deployment pulls it before anything that runs is touched."
    return [Finding("images", f"{show(image)} neither here nor in its registry ({why.rstrip('. ')})", "an image to run", remedy, WARNS)]


def check_proxy(service: Service, config: Config, project: str, runner: Runner) -> list[Finding]:
    """Return a finding where nginx does not take its settings, tried in a container of its own, without a network.

    Only settings that no server would take are one: named volumes, for one, are not there. The deployment tries again with all of it.
    """
    command = ["docker", "run", "--rm", "--pull", "never", "--network", "none", "--label", f"{LABEL}={project}"]
    # So that every upstream has an address, whatever runs.
    command += [word for name in config.services for word in ("--add-host", f"{name}:127.0.0.1")]
    for source, target in zip(service.bind_sources, service.bind_targets, strict=True):
        # A folder that is missing would be made: by Docker here, by the deployment in its time.
        if os.path.exists(source):
            command += ["--mount", f"type=bind,source={source},target={target},readonly"]
    answer = runner.run([*command, "--entrypoint", "nginx", service.image, "-t"], timeout=60)
    told = [_LOGGED.sub("", line) for line in answer.stderr.splitlines() if "[emerg]" in line]
    if answer.rc == 0 or "test failed" not in answer.stderr or not told or any(_NOT_HERE.search(line) for line in told):
        return []
    remedy = "Correct them in the release; `nginx -t` in a container tells the same."
    return [Finding(service.name, "; ".join(told)[:500], "settings that nginx takes", remedy)]
