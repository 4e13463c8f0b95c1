# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets of a deployment against those that a server has already, and the files that they are in. No finding has a value."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import dotenv, kept_secrets
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, WARNS, Finding, show
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

_ROTATE = "environment_rotate"
_KINDS = (
    ("a byte order mark", re.compile("\\A\ufeff")),
    ("CRLF line ends", re.compile(r"\r")),
    ("lines with export", re.compile(r"^\s*export\s", re.MULTILINE)),
    ("bytes that are no UTF-8", re.compile("\ufffd")),
)


def read_server(variables: Mapping[str, Any], runner: Runner | None) -> tuple[kept_secrets.Server | None, list[Finding]]:
    """Return what the server has, None where that cannot be known, and what is wrong with its files.

    :arg variables: the stack-wide variables; one that is malformed has a finding of its own.
    :arg runner: None where there is no Docker.
    """
    folders = [variables.get(f"scheduler_{name}") for name in ("home", "state_dir", "data_dir")]
    if not all(isinstance(folder, str) and folder.startswith("/") and "\0" not in folder for folder in folders):
        return None, []
    home, state_dir, data_dir = map(str, folders)
    env_file = os.path.join(home, ".env")
    findings = check_file(env_file) + check_file(kept_secrets.path(state_dir), ours=True)
    if any(finding.severity == STOPS for finding in findings):
        return None, findings
    try:
        server = kept_secrets.read(state_dir)
        if not server.settled and _has_database(str(variables.get("scheduler_project")), data_dir, runner):
            # Deployed by hand, or by a run that was cut: its database has the password of that file.
            server = replace(server, settled=True, serving=dotenv.parse(read_text(env_file)))
    except Problem as problem:
        return None, [*findings, Finding("secrets of the server", f"{problem.what}: {problem.why}", "readable files", problem.remedy)]
    return server, findings


def _has_database(project: str, data_dir: str, runner: Runner | None) -> bool:
    if glob.glob(os.path.join(glob.escape(data_dir), "*", "PG_VERSION")):
        return True
    command = ["docker", "volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={project}"]
    return bool(runner and runner.run(command, timeout=10).stdout.strip())


def check_file(path: str, *, ours: bool = False) -> list[Finding]:
    """Return what is wrong with a file that has secrets; all but another kind of file is mended by the deployment.

    :arg ours: nobody writes it by hand, so its text is not looked at.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return []
    faults = []
    if stat.S_ISLNK(found.st_mode):
        faults.append(f"a symbolic link to {show(os.readlink(path))}, which stays where it is")
    elif not stat.S_ISREG(found.st_mode):
        remedy = "Look what is in it, and move it away; where a file to mount is missing, Docker makes a folder."
        return [Finding(path, "a folder" if stat.S_ISDIR(found.st_mode) else "a special file", "a file, or nothing", remedy)]
    elif found.st_mode & 0o077:
        faults.append(f"mode {stat.S_IMODE(found.st_mode):04o}, so that others may have read it")
    if found.st_uid != os.geteuid():
        faults.append(f"the owner with id {found.st_uid}")
    faults += [] if ours else _text_faults(path)
    remedy = "The deployment writes it anew, from the inventory. Rotate what others may have read."
    wanted = "a file of mode 0600 of the user who deploys, as the deployment writes it"
    return [Finding(path, ", ".join(faults), wanted, remedy, WARNS)] if faults else []


def _text_faults(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as stream:
            text = stream.read()
    except OSError as error:
        return [f"no way to read it ({error.strerror})"]
    names = re.findall(r"^(?:export\s+)?([A-Za-z_]\w*)\s*=", text, re.MULTILINE)
    twice = sorted({name for name in names if names.count(name) > 1})
    return [kind for kind, pattern in _KINDS if pattern.search(text)] + ([f"{', '.join(twice)} more than once"] if twice else [])


def check_plan(
    plan: kept_secrets.Plan, server: kept_secrets.Server, given: Collection[str], required: Sequence[str], rotate: Sequence[str]
) -> list[Finding]:
    """Return what stands against the plan, and what should be known of it. Pure."""
    findings = []
    for name in plan.lost if server.settled else ():
        found = "neither a given nor a kept one, on a server that has a database already"
        remedy = f"Give it in scheduler_secrets (.env of the release that serves has it), or have a new one made by {_rotation(name)}"
        findings.append(Finding(f"scheduler_secrets.{name}", found, "the secret that it was made with", remedy))
    for name in plan.changed:
        found = "another value than the one that serves"
        remedy = f"Put the former value back; or, where it is meant to change, in the database and in Redis too, add {_rotation(name)}"
        findings.append(Finding(f"scheduler_secrets.{name}", found, "the same value, or a rotation that is asked for", remedy))
    for name in (name for name in rotate if name not in given and name not in required):
        wanted = "a name of scheduler_secrets or preflight_required_secrets"
        findings.append(Finding(_ROTATE, show(name), wanted, f"Correct it, or take it out of {_ROTATE}."))
    for name in plan.done:
        found = f"{name}, whose new value serves already"
        remedy = f"Take it out of {_ROTATE}. For another rotation give another value, or, if it is kept on the server, deploy once without."
        findings.append(Finding(_ROTATE, found, "a secret that is still to change", remedy, WARNS))
    return findings


def _rotation(name: str) -> str:
    return f"""-e '{{"{_ROTATE}": ["{name}"]}}'."""
