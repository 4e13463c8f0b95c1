#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs the program that the timers start, and its configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: monitoring_program
short_description: Install the program that looks after a deployed stack
version_added: 1.0.0
description:
  - Writes C(monitor.pyz) and C(monitor.json) into one folder. The program is built from the collection's own files on the controller; on
    the server it needs Python 3.11 or newer and no Ansible. C(monitor.pyz health), C(backup), C(drill) and C(follow-up) are what timers
    start.
  - The configuration is checked and completed before it is written; it may hold secrets, and only root can read it.
  - The program looks at the last good release of the ledger, so it need not be installed anew after a deployment.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Python 3.11 or newer
attributes:
  check_mode:
    support: full
    description: Tells what would be written.
  diff_mode:
    support: full
    description: Shows the configuration without its secrets.
  idempotent:
    support: full
    description: Writes what differs only.
options:
  path:
    description: The folder. What the program keeps is beside it.
    type: path
    required: true
  state:
    description: V(absent) removes the folder with all that the program kept.
    type: str
    choices: [present, absent]
    default: present
  configuration:
    description:
      - The configuration, as JSON. Needed with O(state=present). The role C(residency.scheduler.monitoring) makes it of its variables, and
        describes them.
    type: json
  program:
    description: The program, a file on the server. The action plugin of this module makes it.
    type: path
"""

EXAMPLES = r"""
- name: Install the monitor
  residency.scheduler.monitoring_program:
    path: /var/lib/residency-scheduler/monitoring
    configuration: "{{ configuration | to_json }}"

- name: Remove the monitor
  residency.scheduler.monitoring_program:
    path: /var/lib/residency-scheduler/monitoring
    state: absent
"""

RETURN = r"""
program:
  description: Path of the program.
  returned: always
  type: str
  sample: /var/lib/residency-scheduler/monitoring/monitor.pyz
written:
  description: Names of the files that were (or would be) written or removed.
  returned: always
  type: list
  elements: str
  sample: [monitor.json]
"""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import notification, run_lock
from ansible_collections.residency.scheduler.plugins.module_utils.endpoints import ENDPOINT_SPEC, parse_endpoints
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.monitor_setup import CONFIGURATION, RUNS
from ansible_collections.residency.scheduler.plugins.module_utils.options import complete, options
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish
from ansible_collections.residency.scheduler.plugins.module_utils.quiet_module import QuietModule
from ansible_collections.residency.scheduler.plugins.module_utils.schedule import Records
from ansible_collections.residency.scheduler.plugins.module_utils.stack import SERVICES_SPEC, parse_services

ARGUMENT_SPEC: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "configuration": {"type": "json", "no_log": True},
    "program": {"type": "path"},
}
PROGRAM = "monitor.pyz"
JOBS_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True, "choices": ["health", "backup", "drill", "follow-up"]},
    "calendar": {"type": "str", "default": ""},
    "cron": {"type": "str", "default": ""},
    "max_age": {"type": "float", "required": True},
}
#: Seconds that a run which is at work has to end, before its program is removed.
PATIENCE = 1800.0
#: Whatever stands under these names in the configuration is not shown.
_SECRET = ("password", "environment", "send_secrets", "send_headers", "heartbeat_url")
_SECRET_OF_CHANNELS = ("url", "headers")


def completed(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with all defaults.

    :raises Problem: something in it is wrong.
    """
    found = complete(configuration)
    found["endpoints"] = [options("endpoints", ENDPOINT_SPEC, entry) for entry in configuration["endpoints"]]
    found["services"] = [options("services", SERVICES_SPEC["options"], entry) for entry in configuration["services"]]
    found["jobs"] = [options("monitoring_jobs", JOBS_SPEC, entry) for entry in configuration["jobs"]]
    parse_endpoints(found["endpoints"])
    parse_services(found["services"])
    notification.parse(found["channels"])
    return found


def shown(configuration: Any, hidden: tuple[str, ...] = _SECRET) -> Any:
    """Return the configuration with its secrets blotted out. Pure."""
    if isinstance(configuration, list):
        return [shown(item, hidden) for item in configuration]
    if not isinstance(configuration, dict):
        return configuration
    result = {}
    for key, value in configuration.items():
        inner = (*hidden, *_SECRET_OF_CHANNELS) if key == "channels" else hidden
        result[key] = "********" if key in hidden and value else shown(value, inner)
    return result


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Write what differs, or remove all of it."""
    folder = str(parameters["path"])
    if parameters["state"] == "absent":
        return _remove(folder, check_mode)
    if not parameters["configuration"] or not parameters["program"]:
        raise Problem("Installing the monitor failed", "configuration or program is missing", "Give both.")
    configuration = completed(json.loads(parameters["configuration"]))
    text = json.dumps(configuration, indent=2, sort_keys=True) + "\n"
    with open(parameters["program"], "rb") as stream:
        program = stream.read()
    before = _read(os.path.join(folder, CONFIGURATION))
    written = [PROGRAM] if not _is(os.path.join(folder, PROGRAM), program, 0o755) else []
    written += [CONFIGURATION] if not _is(os.path.join(folder, CONFIGURATION), text.encode(), 0o600) else []
    if not check_mode:
        try:
            os.makedirs(folder, mode=0o750, exist_ok=True)
            if PROGRAM in written:
                _write(os.path.join(folder, PROGRAM), program)
        except OSError as error:
            raise Problem("Installing the monitor failed", str(error), "Look at the folder's mode, and at `df -h`.") from error
        if CONFIGURATION in written:
            write_text(os.path.join(folder, CONFIGURATION), text, 0o600)
    return {**_result(folder, written), "diff": {"before": _told(before), "after": _told(configuration)}}


def _remove(folder: str, check_mode: bool) -> dict[str, Any]:
    there = os.path.isdir(folder)
    before = _read(os.path.join(folder, CONFIGURATION))
    if there and not check_mode:
        records = Records(os.path.join(folder, RUNS))
        if not run_lock.wait_until(lambda: not records.running([str(job) for job in JOBS_SPEC["name"]["choices"]]), PATIENCE):
            why = f"after {PATIENCE:.0f} s a run is still at work: {', '.join(records.running(JOBS_SPEC['name']['choices']))}"
            raise Problem("Removing the monitor failed", why, "Wait for its end, or end it (systemctl stop), then run this again.")
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise Problem("Removing the monitor failed", str(error), f"Remove {folder} by hand.") from error
    return {**_result(folder, sorted([PROGRAM, CONFIGURATION]) if there else []), "diff": {"before": _told(before), "after": ""}}


def _result(folder: str, written: list[str]) -> dict[str, Any]:
    return {"changed": bool(written), "program": os.path.join(folder, PROGRAM), "written": written}


def _told(configuration: Any) -> str:
    return json.dumps(shown(configuration), indent=2, sort_keys=True) + "\n" if configuration else ""


def _read(path: str) -> Any:
    try:
        return json.loads(read_text(path) or "{}")
    except ValueError:
        return {}


def _is(path: str, content: bytes, mode: int) -> bool:
    """Tell whether a file has this content and this mode."""
    try:
        with open(path, "rb") as stream:
            return stream.read() == content and stat.S_IMODE(os.fstat(stream.fileno()).st_mode) == mode
    except FileNotFoundError:
        return False


def _write(path: str, content: bytes) -> None:
    """Put the program there by one rename: a run that has begun goes on with the old one."""
    descriptor, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".monitor.")
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), 0o755)
        stream.write(content)
    os.replace(beside, path)


def main() -> None:
    """Wire parameters and result together."""
    module = QuietModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: run(module.params, module.check_mode))


if __name__ == "__main__":
    main()
