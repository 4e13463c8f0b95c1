#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Removes the images of releases that nobody goes back to any more."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_prune
short_description: Remove images and files of old releases
version_added: 0.4.0
description:
  - Keeps what the last good releases need - their images, settings and compose files -, whatever containers use, and every release
    that was tried since the last good one. Of all other releases, the images under the release's own tag and the copies of its
    files go; the record of it stays.
  - Only images that a record names, and that were built for it, are ever removed.
author:
  - Residency Scheduler operations team (@residency-scheduler)
attributes:
  check_mode:
    support: full
    description: Tells what would be removed.
  diff_mode:
    support: full
    description: Shows the images.
  idempotent:
    support: full
    description: What is gone is gone.
options:
  state_dir:
    description: Folder for the server's state, with the ledger.
    type: path
    required: true
  keep:
    description: How many good releases can be gone back to, the one that runs included. At least 2.
    type: int
    default: 3
"""

EXAMPLES = r"""
- name: Keep the last three releases
  residency.scheduler.release_prune:
    state_dir: /var/lib/residency-scheduler

- name: See what would go with two
  residency.scheduler.release_prune:
    state_dir: /var/lib/residency-scheduler
    keep: 2
  check_mode: true
"""

RETURN = r"""
releases:
  description: Releases that cannot be gone back to any more.
  returned: always
  type: list
  elements: str
  sample: [20251201T020000Z-v0.9.0]
images:
  description: Image references that were removed (or would be).
  returned: always
  type: list
  elements: str
  sample: ["residency-scheduler-backend:v0.9.0-1b2c3d4e"]
freed_bytes:
  description: How much more space is free where Docker keeps its images.
  returned: always
  type: int
  sample: 104857600
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_images
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish


def decide(records: Sequence[Mapping[str, Any]], keep: int) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the releases that are not needed any more, and the image references that only they have. Pure.

    Those that were called pruned before are among them: the run that did so may have been cut.
    """
    good = sorted((item for item in records if item["verdict"] == "good"), key=lambda item: int(item["order"]))
    since = int(good[-1]["order"]) if good else -1
    needed = [item for item in records if item in good[-keep:] or item["order"] > since]
    # What was gone back from is wanted again as likely as not: the newest of them stays.
    left = [item for item in records if item["verdict"] == "rolled_back" and item["proven"]]
    needed += sorted(left, key=lambda item: int(item["order"]))[-1:]
    old = [item for item in records if item not in needed]
    return old, sorted(_ours(old) - _ours(needed))


def _ours(records: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the names that this collection gave to images: those of what was built, and the second ones of what is ready-made."""
    images = [(service, image) for item in records for service, image in item["images"].items()]
    built = {str(image["reference"]) for service, image in images if str(image["reference"]).partition(":")[0].endswith(f"-{service}")}
    return built | {str(image["kept"]) for _service, image in images if "kept" in image}


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner, now: datetime) -> dict[str, Any]:
    """Decide, and remove."""
    state_dir = parameters["state_dir"]
    if parameters["keep"] < 2:
        remedy = "Keep at least 2: the one that runs, and one to go back to."
        raise Problem("Pruning releases was refused", f"keep is {parameters['keep']}", remedy)
    records = ledger.read_records(state_dir)
    old, references = decide(records, parameters["keep"])
    present = read_images(references, runner).ids
    used = _used(runner) if present else set()
    removable = [reference for reference in references if reference in present and present[reference] not in used]
    new = [item for item in old if not item["pruned"]]
    files = _files(state_dir, old, [item for item in records if item not in old])
    result = {
        "changed": bool(new or removable or files),
        "releases": [str(item["id"]) for item in new],
        "images": removable,
        "freed_bytes": 0,
        "diff": {"before": "".join(f"{name}\n" for name in removable), "after": ""},
    }
    if check_mode or not result["changed"]:
        return result
    root = require(runner.run(["docker", "info", "--format", "{{.DockerRootDir}}"]), "Asking Docker failed", "Start Docker.").stdout.strip()
    before = _free(root)
    # Said first: a release that is half gone is never offered as a way back.
    ledger.append(state_dir, [{"at": now.isoformat(timespec="seconds"), "id": item["id"], "verdict": ledger.PRUNED} for item in new])
    if removable:
        # An image in use since is refused by Docker, and goes with a later run.
        runner.run(["docker", "image", "rm", *removable], timeout=300)
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    left = read_images(removable, runner).ids
    return {**result, "images": [name for name in removable if name not in left], "freed_bytes": max(0, _free(root) - before)}


def _used(runner: Runner) -> set[str]:
    """Return the image ids of all containers, running or not."""
    listed = require(runner.run(["docker", "ps", "--all", "--quiet", "--no-trunc"]), "Listing the containers failed", "Start Docker.")
    names = listed.stdout.split()
    if not names:
        return set()
    return set(runner.run(["docker", "container", "inspect", "--format", "{{.Image}}", *names]).stdout.split())


def _free(path: str) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _files(state_dir: str, old: Sequence[Mapping[str, Any]], needed: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the files that are there of *old* releases, and of no other."""
    commits = {str(item["commit"])[:12] for item in needed}
    paths = [os.path.join(ledger.folder(state_dir, str(item["id"])), name) for item in old for name in (".env", "compose.yml")]
    paths += [os.path.join(state_dir, "compose", f"{commit}.yml") for commit in {str(item["commit"])[:12] for item in old} - commits]
    return [path for path in paths if os.path.exists(path)]


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={"state_dir": {"type": "path", "required": True}, "keep": {"type": "int", "default": 3}},
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner(), datetime.now(UTC)))


if __name__ == "__main__":
    main()
