#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops containers, also those whose first process is a shell that passes no signal on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_stop
short_description: Stop containers, and let them finish what they work on
version_added: 0.7.0
description:
  - Does what C(docker container stop) does. Where the first process of a container is a shell (C(sh -c "alembic upgrade head && uvicorn
    ...")), which neither ends by SIGTERM nor passes it on, its own child gets the signal as well. It would else work on until it is killed,
    and lose the requests that it is at.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker, on this very host
attributes:
  check_mode:
    support: full
    description: Tells what would be stopped.
  diff_mode:
    support: none
    description: The result tells what was stopped.
  idempotent:
    support: full
    description: A container that does not run is left alone.
options:
  containers:
    description: Names or ids of containers. One that does not exist is none that runs.
    type: list
    elements: str
    default: []
  project_name:
    description: Compose project whose O(service) is stopped.
    type: str
  service:
    description: Service of O(project_name); all its containers are stopped at once.
    type: str
  timeout:
    description: Seconds after which a container that has not ended is killed.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: Stop the backend without losing a request
  residency.scheduler.container_stop:
    project_name: residency-scheduler
    service: backend
    timeout: 30

- name: Stop a container by its name
  residency.scheduler.container_stop:
    containers: [residency-scheduler-backend-stand-in]
"""

RETURN = r"""
stopped:
  description: Names of the containers that were stopped (or would be).
  returned: always
  type: list
  elements: str
  sample: [residency-scheduler-backend]
signalled:
  description: Names of those of them whose shell's child was told to end.
  returned: always
  type: list
  elements: str
  sample: [residency-scheduler-backend]
seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 0.8
"""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish

#: Shells that wait for their child, whatever signal they get. One that has replaced itself by its last command is none any more.
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "busybox"})
#: Docker notes that a container was stopped on purpose before it sends the signal; one that ends before that would be started again.
_NOTED = 0.5
#: Docker answers after the time-out, and then takes a while.
_MARGIN = 60


def run(
    parameters: Mapping[str, Any], check_mode: bool, runner: Runner, *, proc: str = "/proc", end: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Stop what runs of the wanted containers.

    :arg proc: where the processes of this host are shown.
    :arg end: tells a process to end.
    """
    began = time.monotonic()
    running = find(parameters, runner)
    signalled: list[str] = []
    if running and not check_mode:
        grace = int(parameters["timeout"])
        command = ["docker", "container", "stop", "--time", str(grace), *running]
        with ThreadPoolExecutor(max_workers=1) as pool:
            stopping = pool.submit(runner.run, command, timeout=grace + _MARGIN)
            time.sleep(_NOTED)
            for name, (pid, identifier) in running.items():
                # The id of a container that has ended since may be another process' by now.
                children = shell_children(pid, proc) if identifier in _read(f"{proc}/{pid}/cgroup") else []
                signalled += [name] if children else []
                for child in children:
                    (end or terminate)(child)
        require(stopping.result(), f"Stopping {', '.join(running)} failed", "Look at `docker ps`, and at `journalctl -u docker -n 50`.")
    return {
        "changed": bool(running),
        "stopped": list(running),
        "signalled": signalled,
        "seconds": round(time.monotonic() - began, 3),
    }


def find(parameters: Mapping[str, Any], runner: Runner) -> dict[str, tuple[int, str]]:
    """Return the process id and the container's own id of each wanted container that runs, by its name."""
    wanted = list(parameters["containers"])
    if parameters["service"]:
        labels = {"project": parameters["project_name"], "service": parameters["service"], "oneoff": "False"}
        filters = [word for key, value in labels.items() for word in ("--filter", f"label=com.docker.compose.{key}={value}")]
        listed = runner.run(["docker", "ps", "--quiet", "--no-trunc", *filters])
        wanted += require(listed, "Listing the containers failed", "Start Docker: systemctl start docker.").stdout.split()
    if not wanted:
        return {}
    # Exit code 1 says that some are missing; the others are printed all the same.
    told = runner.run(["docker", "container", "inspect", *wanted])
    if told.rc != 0 and "no such container" not in told.stderr.lower():
        require(told, "Looking at the containers failed", "Start Docker: systemctl start docker.")
    return {
        str(item["Name"]).lstrip("/"): (int(item["State"]["Pid"]), str(item["Id"]))
        for item in json.loads(told.stdout or "[]")
        if item["State"]["Running"] and item["State"]["Pid"]
    }


def shell_children(pid: int, proc: str) -> list[int]:
    """Return the children of a process, if that is a shell; none of a process that passes signals on, or has ended."""
    try:
        # Not its name: that of a script which a shell runs is the script's.
        program = os.path.basename(os.readlink(f"{proc}/{pid}/exe"))
    except OSError:
        return []
    if program not in _SHELLS:
        return []
    return [int(word) for word in _read(f"{proc}/{pid}/task/{pid}/children").split()]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def terminate(pid: int) -> None:
    """Tell a process to end; one that has ended already needs no telling."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "containers": {"type": "list", "elements": "str", "default": []},
            "project_name": {"type": "str"},
            "service": {"type": "str"},
            "timeout": {"type": "int", "default": 10},
        },
        required_one_of=[("containers", "service")],
        required_by={"service": ("project_name",)},
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
