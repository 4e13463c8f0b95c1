#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a compose project's .env file so that every value survives."""

from __future__ import annotations

DOCUMENTATION = r"""
module: env_file
short_description: Write the .env file of a compose project and prove its values by Compose
version_added: 0.1.0
description:
  - Writes the C(.env) file of a compose project with every value in single quotes, the one form that Compose takes literally.
  - Before the file is put in place, Compose itself reads the new one back, and every value is compared; a value that Compose
    would change is refused. The old file stays until then, and is replaced by a rename.
  - The example file of the release is the catalogue of names. Its values are the defaults for what O(values) and O(secrets) do
    not give; a default that is empty or a placeholder is refused. References in its values (C(${DB_PASSWORD})) are filled in, and
    percent-encoded as user and password of a URL. What O(values) and O(secrets) give is taken literally.
  - Names that the release does not know, or that it calls deprecated (a comment C(# deprecated) beside the name or above it), are
    told as warnings.
  - With O(state_dir), secrets of O(required) that nobody gives are made, and kept there in C(secrets.json) (C(0600)).
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
attributes:
  check_mode:
    support: full
    description: Tells which names would be added, changed and removed.
  diff_mode:
    support: full
    description: Shows names and what happens to them, never a value.
  idempotent:
    support: full
    description: The file is compared by content and mode.
options:
  path:
    description: The file to write. Its mode becomes C(0600).
    type: path
    required: true
  example:
    description: The release's example file; none when empty.
    type: path
  values:
    description: Values by name. Numbers and booleans are written as C(true), C(false) and digits.
    type: dict
    default: {}
  secrets:
    description: Secret values by name; they win over O(values).
    type: dict
    default: {}
  compose_files:
    description: The release's compose files. What they use is known, and what they require has to have a value.
    type: list
    elements: path
    default: []
    version_added: 0.6.0
  state_dir:
    description:
      - Folder for the server's state, with the ledger and the secrets that were made here. Without it none are made.
      - A secret that was made follows the C(.env) of the last good release.
    type: path
    version_added: 0.6.0
  required:
    description: Names of the secrets that are made where O(secrets) does not have them - 48 letters and digits, 285 bits.
    type: list
    elements: str
    default: []
    version_added: 0.6.0
  generate:
    description: Whether secrets may be made. One that is kept already is used in any case.
    type: bool
    default: true
    version_added: 0.6.0
  rotate:
    description:
      - Names of secrets to be replaced, of those that O(secrets) does not have. Each is made anew once - the same list again goes on
        with what the first run made, until a run without that name.
    type: list
    elements: str
    default: []
    version_added: 0.6.0
"""

EXAMPLES = r"""
- name: Write the environment of the stack
  residency.scheduler.env_file:
    path: /opt/residency-scheduler/.env
    example: /opt/residency-scheduler/.env.example
    values:
      DEBUG: false
      CORS_ORIGINS: '["https://scheduler.example.com"]'
    secrets:
      DB_PASSWORD: "{{ vault_db_password }}"

- name: Write it with passwords that are made on the server, and a new one for Redis
  residency.scheduler.env_file:
    path: /opt/residency-scheduler/.env
    example: /opt/residency-scheduler/.env.example
    compose_files: [/opt/residency-scheduler/docker-compose.yml]
    state_dir: /var/lib/residency-scheduler
    required: [DB_PASSWORD, SECRET_KEY, REDIS_PASSWORD]
    rotate: [REDIS_PASSWORD]

- name: Write a file that has no example
  residency.scheduler.env_file:
    path: /srv/app/.env
    values:
      LOG_LEVEL: INFO
"""

RETURN = r"""
names:
  description: All names in the file, in order.
  returned: always
  type: list
  elements: str
  sample: [CORS_ORIGINS, DB_PASSWORD, DEBUG]
digest:
  description: SHA-256 of the file's content.
  returned: always
  type: str
  sample: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
made:
  description: Names of the secrets that were made (or would be).
  returned: always
  type: list
  elements: str
  sample: [DB_PASSWORD, REDIS_PASSWORD, SECRET_KEY]
kept:
  description: File with the secrets that were made here; empty where there are none.
  returned: always
  type: str
  sample: /var/lib/residency-scheduler/secrets.json
warnings_told:
  description: Names that are unknown, deprecated or left out, as people read it, a line each.
  returned: always
  type: list
  elements: str
  sample:
    - >-
      1. scheduler_env.LOGLEVEL: found a name that this release does not know, wanted a name of its example or compose files.
      Correct it, or take it out.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import dotenv, kept_secrets
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.environment_names import check_names
from ansible_collections.residency.scheduler.plugins.module_utils.environment_values import WRITING, merge
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.finding import numbered
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

MODE = 0o600


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Put the values together, prove them, write the file, and return its names."""
    path, state_dir = str(parameters["path"]), parameters["state_dir"]
    before = _present(path)
    server = kept_secrets.read(state_dir) if state_dir else kept_secrets.Server()
    plan = kept_secrets.decide(
        parameters["secrets"], parameters["required"] if state_dir else [], parameters["rotate"], server, kept_secrets.make,
        parameters["generate"],
    )  # fmt: skip
    if plan.lost:
        remedy = "Give it in scheduler_secrets (.env of the release that serves has it), or name it in environment_rotate for a new one."
        raise Problem(WRITING, f"{', '.join(plan.lost)} is neither given nor kept", remedy)
    secrets = {**parameters["secrets"], **plan.values}
    example = dotenv.read_example(read_text(str(parameters["example"])) if parameters["example"] else "")
    used, required = dotenv.used_names("\n".join(map(read_text, parameters["compose_files"])))
    values = merge(example.defaults, parameters["values"], secrets, required)
    text = dotenv.render(values, secrets)
    changed = before != text or _mode_and_owner(path) != (MODE, os.geteuid())
    if changed:
        verify(text, values, runner)
    keeps = bool(state_dir) and _keeps(plan, server, state_dir)
    # First what is kept: a value that .env has is never one that nobody remembers.
    if keeps and not check_mode:
        kept_secrets.write(state_dir, plan)
    if changed and not check_mode:
        write_text(path, text, MODE)
    given = {"scheduler_env": parameters["values"], "scheduler_secrets": parameters["secrets"]}
    return {
        "changed": changed or keeps,
        "names": list(values),
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "made": list(plan.made),
        "kept": kept_secrets.path(state_dir) if plan.kept else "",
        "warnings_told": numbered(check_names(given, example, used, server.serving) if parameters["example"] else []),
        "diff": _diff(path, dotenv.parse(before), values),
    }


def _keeps(plan: kept_secrets.Plan, server: kept_secrets.Server, state_dir: str) -> bool:
    """Tell whether the kept secrets have to be written."""
    if (plan.kept, frozenset(plan.rotated)) != (server.kept, server.rotated):
        return True
    return bool(plan.kept) and _mode_and_owner(kept_secrets.path(state_dir)) != (kept_secrets.MODE, os.geteuid())


def _present(path: str) -> str:
    """Return the text of the file that is to be replaced, whatever it is made of.

    :raises Problem: it is a folder, or something else that cannot be replaced.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            remedy = "Look what is in it, and move it away; where a file to mount is missing, Docker makes a folder."
            raise Problem(WRITING, f"{path} is no file", remedy)
        with open(path, encoding="utf-8", errors="replace", newline="") as stream:
            return stream.read()
    except FileNotFoundError:  # a link that leads nowhere, too
        return ""
    except OSError as error:
        raise Problem(f"Reading {path} failed", str(error), "Look at the file's type, owner and mode.") from error


def verify(text: str, values: Mapping[str, str], runner: Runner) -> None:
    """Let Compose read *text* back, and compare value by value; names only are ever quoted.

    :raises Problem: Compose rejects the file, or reads a value otherwise than it was meant.
    """
    probe = {"services": {"probe": {"image": "probe", "environment": {name: f"${{{name}}}" for name in values}}}}
    descriptor = os.memfd_create("env-file", 0)
    try:
        # Memory, not a temporary file: the values touch the disk only in their final, private place.
        os.write(descriptor, text.encode())
        argv = ["docker", "compose", "--project-name", "probe", "--env-file", f"/proc/{os.getpid()}/fd/{descriptor}", "--file", "-"]
        result = runner.run([*argv, "config", "--format", "json"], stdin=json.dumps(probe))
    finally:
        os.close(descriptor)
    require(result, "Reading the environment back through Compose failed", "Look for unusual characters.", tuple(values.values()))
    found = json.loads(result.stdout)["services"]["probe"].get("environment") or {}
    changed = sorted(name for name, value in values.items() if str(found.get(name) or "").replace("$$", "$") != value)
    if changed:
        raise Problem(
            "Reading the environment back through Compose failed",
            f"Compose understands {', '.join(changed)} otherwise than it was given",
            "Choose values without quotes, backslashes and line ends.",
        )


def _mode_and_owner(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode), found.st_uid


def _diff(path: str, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    def state(name: str, side: Mapping[str, str], other: Mapping[str, str]) -> str:
        return f"{name}: (value{'' if side[name] == other.get(name) else ' differs'})\n"

    return {
        "before_header": path,
        "after_header": path,
        "before": "".join(state(name, before, before) for name in sorted(before)),
        "after": "".join(state(name, after, before if name in before else after) for name in sorted(after)),
    }


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "example": {"type": "path"},
            "values": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "compose_files": {"type": "list", "elements": "path", "default": []},
            "state_dir": {"type": "path"},
            "required": {"type": "list", "elements": "str", "default": []},
            "generate": {"type": "bool", "default": True},
            "rotate": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
