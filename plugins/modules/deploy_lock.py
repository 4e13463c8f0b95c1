#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets one run at a time work on a server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Let one run at a time work on a server
version_added: 0.4.0
description:
  - Takes a lock on the server and holds it until the run ends. A process on the server holds it, bound to the connection of the run, so
    the kernel frees it when that ends, however it ends; there is nothing to be unlocked by hand.
  - While another run holds the lock, the task fails within five seconds, and names that run - who, from where, which playbook, since
    when, in which stage.
  - Then it waits until nothing of an earlier run works on the server any more; after SIGKILL of a controller the module that was running
    goes on to its end. Tasks are recognised by the environment that this module returns; a play has to set it for all of them.
  - Modules of this collection that run in such an environment fail when the lock was taken over from their run.
  - Over a connection that leaves processes behind when it ends (C(docker exec)) the lock is freed by a takeover only.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - flock(1) of util-linux on the server
attributes:
  check_mode:
    support: full
    description: Takes no lock, since a check changes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
  idempotent:
    support: full
    description: A run that holds the lock holds it once.
options:
  path:
    description:
      - The lock's file. A record of the holder lies beside it. Its folder is made (0700); it should be nobody's but root's, since
        whoever can write there can keep every run away.
    type: path
    default: /run/residency-scheduler/residency-scheduler.lock
  state:
    description: V(absent) gives the lock back before the run ends.
    type: str
    choices: [present, absent]
    default: present
  takeover:
    description: Why the lock is taken away from the run that holds it. Empty to respect it.
    type: str
    default: ""
  wait:
    description: Seconds to wait at most for what an earlier run still works on.
    type: int
    default: 900
  end:
    description:
      - End what an earlier run still works on, by SIGTERM and after five seconds by SIGKILL, rather than wait for it. For an emergency.
    type: bool
    default: false
  by:
    description: Who runs this, for others to see. The user on the controller when empty.
    type: str
    default: ""
  run:
    description: Set by the action plugin of this module; the name of the run.
    type: str
    default: ""
  step:
    description: Set by the action plugin of this module; V(look) before the lock is taken, V(confirm) after.
    type: str
    choices: [look, confirm]
    default: look
"""

EXAMPLES = r"""
- name: Let no other run work on this server
  residency.scheduler.deploy_lock:
    path: /run/residency-scheduler/residency-scheduler.lock

- name: Take the lock away from a run that hangs
  residency.scheduler.deploy_lock:
    takeover: the other run waits for a prompt that nobody answers
"""

RETURN = r"""
ansible_facts:
  description: What the play's tasks have to carry.
  returned: except in check mode
  type: dict
  contains:
    scheduler_environment:
      description: To be set as the play's C(environment); empty with O(state=absent).
      returned: always
      type: dict
      sample: {RESIDENCY_SCHEDULER_RUN: controller-4711-89, RESIDENCY_SCHEDULER_LOCK: /run/residency-scheduler/residency-scheduler.lock}
interrupted:
  description: The run whose record was left here since it did not come to its end, as it failed or was cut; empty if there is none.
  returned: O(state=present)
  type: str
  sample: ""
waited_seconds:
  description: How long the task waited for what an earlier run still worked on.
  returned: O(state=present)
  type: float
  sample: 0.0
ended:
  description: What of an earlier run was ended.
  returned: O(state=present)
  type: list
  elements: str
  sample: ["docker (process 4711, stage services)"]
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import run_lock
from ansible_collections.residency.scheduler.plugins.module_utils.files import write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

ARGUMENT_SPEC: dict[str, Any] = {
    "path": {"type": "path", "default": "/run/residency-scheduler/residency-scheduler.lock"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "takeover": {"type": "str", "default": ""},
    "wait": {"type": "int", "default": 900},
    "end": {"type": "bool", "default": False},
    "by": {"type": "str", "default": ""},
    "run": {"type": "str", "default": ""},
    "step": {"type": "str", "choices": ["look", "confirm"], "default": "look"},
}
REFUSED = "Starting was refused"
#: A lock whose controller has died is free after two seconds; others are told off within five.
PATIENCE = 2.5


def run(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Do one step of taking the lock, or give it back."""
    if parameters["state"] == "absent":
        return give_back(parameters["path"], parameters["run"])
    return confirm(parameters) if parameters["step"] == "confirm" else look(parameters)


def look(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return whether this run has the lock already; refuse where another one has it, or take it away."""
    lock, name = parameters["path"], parameters["run"]
    holder = run_lock.read_holder(lock)
    if holder and holder.run == name and run_lock.is_held(lock):
        return {"changed": False, "held": True, "interrupted": ""}
    if run_lock.is_held(lock) and parameters["takeover"]:
        _take_over(lock, name, parameters["takeover"], holder)
    if not run_lock.wait_until(lambda: not run_lock.is_held(lock), PATIENCE):
        raise _refusal(lock)
    return {"changed": False, "held": False, "interrupted": holder.told() if holder else ""}


def _take_over(lock: str, name: str, reason: str, holder: run_lock.Holder | None) -> None:
    # Without a record, or with a damaged one, whoever has the lock's file open.
    pids = [holder.pid] if holder and run_lock.holds(holder.pid, lock) else run_lock.find_holders(lock)
    if not pids:
        raise Problem("Taking the lock over failed", f"no process is known to hold {lock}", f"Look for it: fuser -v {lock}")
    # First the record: it tells the other run, whose connection will try to get the lock back, that it has lost it.
    claim = {"pid": 0, "run": name, "by": "", "host": "", "playbook": "", "since": "", "reason": reason}
    write_text(run_lock.record_path(lock), json.dumps(claim) + "\n", 0o644)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            # A drill that cleans up may take longer than an emergency can wait; what it leaves, the next one drops.
            if number == signal.SIGTERM or run_lock.holds(pid, lock):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        if run_lock.wait_until(lambda: not run_lock.is_held(lock), PATIENCE):
            break


def _refusal(lock: str) -> Problem:
    holder = run_lock.read_holder(lock)
    return Problem(
        REFUSED,
        f"another run works on this server: {holder.told() if holder else 'it left no record'}",
        "Wait for its end. If it hangs, take the lock away from it: -e scheduler_lock_takeover='the reason'.",
        holder=holder.told() if holder else "",
    )


def confirm(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Make sure that this run has the lock, and wait for what earlier runs still do."""
    lock, name = parameters["path"], parameters["run"]

    def mine() -> bool:
        holder = run_lock.read_holder(lock)
        return holder is not None and holder.run == name and holder.pid > 0 and run_lock.is_held(lock)

    if not run_lock.wait_until(mine, PATIENCE):
        if run_lock.is_held(lock):
            raise _refusal(lock)
        raise Problem(REFUSED, f"the lock {lock} could not be taken", "Look whether its folder can be written to, and for flock(1).")
    started = time.monotonic()
    ended = run_lock.end_working(lock, name) if parameters["end"] else []
    if not run_lock.wait_until(lambda: not run_lock.working(lock, name), parameters["wait"]):
        left = ", ".join(work.told() for work in run_lock.working(lock, name))
        why = f"after {parameters['wait']} s an earlier run still works on this server: {left}"
        raise Problem(REFUSED, why, "Wait for its end, or end that process, then run this again.")
    environment = {run_lock.RUN: name, run_lock.LOCK: lock}
    return {
        "changed": False,
        "waited_seconds": round(time.monotonic() - started, 1),
        "ended": [work.told() for work in ended],
        "ansible_facts": {"scheduler_environment": environment},
    }


def give_back(lock: str, name: str) -> dict[str, Any]:
    """End the holder of this run; the lock of another one is left alone."""
    holder = run_lock.read_holder(lock)
    if holder is not None and holder.run == name:
        for path in (run_lock.record_path(lock), f"{lock}.stage"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        if run_lock.holds(holder.pid, lock):
            os.kill(holder.pid, signal.SIGTERM)
    return {"changed": False, "ansible_facts": {"scheduler_environment": {}}}


def main() -> None:
    """Wire parameters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: run(module.params), locked=False)


if __name__ == "__main__":
    main()
