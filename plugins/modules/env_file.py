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
    not give; a default that is a placeholder is refused.
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
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import dotenv
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

MODE = 0o600


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Put the values together, prove them, write the file, and return its names."""
    path = str(parameters["path"])
    example = parameters["example"]
    values = merge(dotenv.parse(read_text(str(example))) if example else {}, parameters["values"], parameters["secrets"])
    text = dotenv.render(values, parameters["secrets"])
    before = read_text(path)
    changed = before != text or _mode_and_owner(path) != (MODE, os.geteuid())
    if changed:
        verify(text, values, runner)
    if changed and not check_mode:
        write_text(path, text, MODE)
    return {
        "changed": changed,
        "names": list(values),
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "diff": _diff(path, dotenv.parse(before), values),
    }


def merge(defaults: Mapping[str, str], values: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of the file, sorted by name. Pure.

    :raises Problem: a name is malformed, a value cannot be written, or a default is a placeholder that nobody replaced.
    """
    given = {**values, **secrets}
    bad = sorted(str(name) for name in given if not dotenv.NAME.match(str(name)))
    if bad:
        raise Problem("Writing the environment failed", f"{bad[0]!r} is no name of a variable", "Use letters, digits and _.")
    forgotten = sorted(name for name, value in defaults.items() if name not in given and dotenv.is_placeholder(value))
    if forgotten:
        raise Problem(
            "Writing the environment failed",
            f"{', '.join(forgotten)} has only the placeholder of the example file",
            "Give a value in scheduler_env, or in scheduler_secrets if it is a secret.",
        )
    merged = {**defaults, **{str(name): _text(str(name), value) for name, value in given.items()}}
    return dict(sorted(merged.items()))


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, (dict, list)):
        # Lists and mappings are JSON in the application's settings (CORS_ORIGINS).
        return "" if value is None else json.dumps(value)
    text = str(value)
    if "\x00" in text or "\r" in text or text.endswith("\\") or "\\'" in text:
        raise Problem(
            "Writing the environment failed",
            f"the value of {name} has a character that Compose cannot take (NUL, carriage return, backslash before a quote or the end)",
            f"Choose another value for {name}.",
        )
    return text


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
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
