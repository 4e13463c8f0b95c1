#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells what a server has already of that which the role server sets up."""

from __future__ import annotations

DOCUMENTATION = r"""
module: server_info
short_description: Tell what a server has already
version_added: 0.7.0
description:
  - Tells the content of settings, which packages are not installed, how old apt's lists are, and whether Docker runs with its present
    settings. One look takes the place of a task for each of them, where nothing has to be done.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - dpkg-query and systemd, as on Debian and Ubuntu
extends_documentation_fragment:
  - residency.scheduler.attributes.read_only
options:
  files:
    description: Files of text to read. None of them may have a secret in it.
    type: list
    elements: path
    default: []
  packages:
    description: Names of packages.
    type: list
    elements: str
    default: []
  settings:
    description: File with Docker's settings, which it reads when it starts.
    type: path
    default: /etc/docker/daemon.json
  pid_file:
    description: File that Docker writes when it starts.
    type: path
    default: /run/docker.pid
  programs:
    description:
      - Where Docker's program may be, if Docker has to be the one that is installed. A program has the age of its build, but its inode is
        changed when it is installed.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Look what the server has
  residency.scheduler.server_info:
    files: [/etc/docker/daemon.json]
    packages: [git, docker.io]
  register: server_state

- name: Install what is missing
  ansible.builtin.apt:
    name: "{{ server_state.missing }}"
  when: server_state.missing | length > 0

- name: Look whether Docker has to be restarted for its upgrade
  residency.scheduler.server_info:
    programs: [/usr/bin/dockerd, /usr/sbin/dockerd]
"""

RETURN = r"""
files:
  description: Content, mode and owner of each file that is there.
  returned: always
  type: dict
  sample: {/etc/docker/daemon.json: {content: "{}\n", mode: "0644", owner: 0, group: 0}}
missing:
  description: The packages that are not installed.
  returned: always
  type: list
  elements: str
  sample: [git]
lists_age:
  description: Seconds since apt's lists of packages were read; null where they never were.
  returned: always
  type: int
  sample: 420
docker_settled:
  description: Whether Docker runs, is started at every boot, and was started after its settings and its program came.
  returned: always
  type: bool
  sample: true
"""

import os
import stat
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

#: What apt touches when it has read the lists, and the folder that has them (the module ansible.builtin.apt looks at the same).
_LISTS = ("/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists")


def run(parameters: Mapping[str, Any], runner: Runner, lists: Sequence[str] = _LISTS) -> dict[str, Any]:
    """Look, and return what is there.

    :arg lists: what is touched when apt's lists are read, the surest first.
    """
    found = {path: read(path) for path in parameters["files"]}
    return {
        "changed": False,
        "files": {path: file for path, file in found.items() if file is not None},
        "missing": missing(parameters["packages"], runner),
        "lists_age": next((int(time.time() - os.stat(path).st_mtime) for path in lists if os.path.exists(path)), None),
        "docker_settled": settled(parameters["settings"], parameters["pid_file"], parameters["programs"], runner),
    }


def read(path: str) -> dict[str, Any] | None:
    """Return a file's content, mode and owner; None where there is no such file.

    :raises Problem: it is there, and no text that could be read.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            found = os.fstat(stream.fileno())
            content = stream.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Problem(f"Reading {path} failed", str(why), "Look what it is; nothing was changed.") from error
    return {"content": content, "mode": f"{stat.S_IMODE(found.st_mode):04o}", "owner": found.st_uid, "group": found.st_gid}


def missing(packages: Sequence[str], runner: Runner) -> list[str]:
    """Return the packages that are not installed."""
    if not packages:
        return []
    # Exit code 1 says that dpkg has never heard of some of them.
    answer = runner.run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Abbrev}\n", *packages])
    lines = [line.split() for line in answer.stdout.splitlines()]
    # Wanted so, or on hold, and installed.
    installed = {fields[0] for fields in lines if len(fields) == 2 and fields[1] in ("ii", "hi")}
    return [name for name in packages if name not in installed]


def settled(settings: str, pid_file: str, programs: Sequence[str], runner: Runner) -> bool:
    """Tell whether Docker runs as it is set."""
    try:
        started = os.stat(pid_file).st_mtime
        changed = [os.stat(settings).st_mtime, *(os.stat(path).st_ctime for path in programs if os.path.exists(path))]
    except OSError:
        return False
    if max(changed) > started:
        return False
    answer = runner.run(["systemctl", "show", "docker.service", "--property", "ActiveState,UnitFileState"])
    return set(answer.stdout.split()) == {"ActiveState=active", "UnitFileState=enabled"}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "path", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "settings": {"type": "path", "default": "/etc/docker/daemon.json"},
            "pid_file": {"type": "path", "default": "/run/docker.pid"},
            "programs": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, SubprocessRunner()))


if __name__ == "__main__":
    main()
