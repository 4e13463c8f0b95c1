#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puts the files of a recorded release back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_files
short_description: Put checkout, environment and compose file of a recorded release back
version_added: 0.4.0
description:
  - The counterpart of the copies that M(residency.scheduler.release) keeps. The checkout goes to the release's commit, which the
    repository on the server has already - nothing is fetched -, and C(.env) and the generated compose file are those of that time.
  - An image that lost its name to another one, by C(docker pull) say, gets it back.
  - Nothing that runs is touched.
  - While the checkout is on its way, a marker file says so. A run that finds one finishes the checkout by force, as what lies in the
    working tree is a cut run's work; without it, local changes to tracked files are refused, in check mode too.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - git
  - Docker
attributes:
  check_mode:
    support: full
    description: Tells which files would change.
  diff_mode:
    support: partial
    details: Names the files, since the environment holds secrets.
    description: Shows what differs.
  idempotent:
    support: full
    description: Compared by commit and by content.
options:
  state_dir:
    description: Folder for the server's state, with the ledger.
    type: path
    required: true
  id:
    description: Id of the record.
    type: str
    required: true
  home:
    description: Folder of the checkout.
    type: path
    required: true
  marker:
    description: File that is there while a checkout is on its way.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Put the files of the last good release back
  residency.scheduler.release_files:
    state_dir: /var/lib/residency-scheduler
    id: "{{ ledger.last_good.id }}"
    home: /opt/residency-scheduler
    marker: /var/lib/residency-scheduler/checkout

- name: See which files differ from those of a release
  residency.scheduler.release_files:
    state_dir: /var/lib/residency-scheduler
    id: 20251222T020000Z-v1.0.0
    home: /opt/residency-scheduler
    marker: /var/lib/residency-scheduler/checkout
  check_mode: true
"""

RETURN = r"""
version:
  description: Version of the release.
  returned: always
  type: str
  sample: v1.0.0
commit:
  description: Commit of the release.
  returned: always
  type: str
  sample: 3f786850e387550fdab836ed7e6dc881de23001b
stack:
  description: The services and the compose files that the release was deployed with; empty where its record does not tell.
  returned: always
  type: dict
  sample: {compose_files: [docker-compose.yml], services: [{name: db, kind: postgres}]}
files:
  description: What was put back (or would be), files and names of images.
  returned: always
  type: list
  elements: str
  sample: [/opt/residency-scheduler, /opt/residency-scheduler/.env, "redis:7"]
"""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_images
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

FAILED = "Putting the files of a release back failed"


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Compare, and put back what differs; nothing is written unless everything is there."""
    record = _record(parameters)
    copies = ledger.folder(parameters["state_dir"], record["id"])
    targets = {
        ".env": (os.path.join(parameters["home"], ".env"), 0o600),
        "compose.yml": (os.path.join(parameters["state_dir"], "compose", f"{record['commit'][:12]}.yml"), 0o644),
    }
    texts = {name: read_text(os.path.join(copies, name)) for name in targets}
    gone = sorted(name for name, text in texts.items() if not text)
    if gone:
        remedy = f"Deploy the release anew: ansible-playbook playbooks/deploy.yml -e scheduler_version={record['version']}"
        raise Problem(FAILED, f"{', '.join(gone)} of {record['version']} is not in {copies}", remedy)
    cut = os.path.exists(parameters["marker"])
    behind = _behind(parameters["home"], record, cut, runner)
    if behind and not cut:
        _refuse_changes(parameters["home"], record, runner)
    changed = [path for name, (path, _mode) in targets.items() if read_text(path) != texts[name]]
    names = renamed(record, runner)
    if not check_mode:
        if behind:
            _checkout(parameters, record, cut, runner)
        for name, (path, mode) in targets.items():
            if path in changed:
                write_text(path, texts[name], mode)
        for reference, image_id in names.items():
            require(runner.run(["docker", "tag", image_id, reference]), f"Naming {image_id} {reference} failed", "Look at `docker images`.")
    files = ([parameters["home"]] if behind else []) + changed + list(names)
    return {
        "changed": bool(files),
        "version": record["version"],
        "commit": record["commit"],
        "stack": record.get("stack") or {},
        "files": files,
        "diff": {"before": "", "after": "".join(f"{path}: of {record['version']}\n" for path in files)},
    }


def _record(parameters: Mapping[str, Any]) -> dict[str, Any]:
    for record in ledger.read_records(parameters["state_dir"]):
        if record["id"] == parameters["id"]:
            return record
    raise Problem(FAILED, f"the ledger has no record {parameters['id']}", "List the records by release_info.")


def renamed(record: Mapping[str, Any], runner: Runner) -> dict[str, str]:
    """Return the ids, by reference, of the release's images that exist and have lost that name."""
    wanted = {str(image["reference"]): str(image["id"]) for image in record["images"].values()}
    present = read_images([*wanted, *wanted.values()], runner).ids
    return {reference: image_id for reference, image_id in wanted.items() if image_id in present and present.get(reference) != image_id}


def _behind(home: str, record: Mapping[str, Any], cut: bool, runner: Runner) -> bool:
    """Tell whether the checkout has to move; a commit that the repository lacks is a Problem."""
    known = runner.run(["git", "-C", home, "cat-file", "-e", f"{record['commit']}^{{commit}}"])
    if known.rc != 0:
        remedy = f"Deploy the release anew: ansible-playbook playbooks/deploy.yml -e scheduler_version={record['version']}"
        raise Problem(FAILED, f"the repository in {home} has no commit {record['commit'][:12]}", remedy)
    return cut or runner.run(["git", "-C", home, "rev-parse", "HEAD"]).stdout.strip() != record["commit"]


def _refuse_changes(home: str, record: Mapping[str, Any], runner: Runner) -> None:
    """Raise a Problem where tracked files are not as their commit has them: without a marker that is a person's work."""
    asked = runner.run(["git", "-C", home, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])
    lines = require(asked, f"Looking at {home} failed", f"Look at `git -C {home} status`.").stdout.splitlines()
    if lines:
        names = ", ".join(line[3:] for line in lines[:10]) + (f" and {len(lines) - 10} more" if len(lines) > 10 else "")
        remedy = f"Look at `git -C {home} diff`; keep what is wanted by `git -C {home} stash`, then run this again. Nothing was written."
        raise Problem(f"Checking out {record['version']} was refused", f"{home} has local changes, in {names}", remedy)


def _checkout(parameters: Mapping[str, Any], record: Mapping[str, Any], cut: bool, runner: Runner) -> None:
    marker, home = parameters["marker"], parameters["home"]
    if cut:
        # Of the checkout that was cut.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(home, ".git", "index.lock"))
    write_text(marker, f"{record['commit']}\n", 0o640)
    force = ["--force"] if cut else []
    done = runner.run(["git", "-C", home, "-c", "advice.detachedHead=false", "checkout", "--quiet", *force, "--detach", record["commit"]])
    # Where it fails - a full disk, say - the marker stays: the tree was clean before, so what lies in it now is ours to finish.
    require(done, f"Checking out {record['version']} failed", f"Look at `git -C {home} status` and `df -h {home}`, then run this again.")
    os.unlink(marker)


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "required": True},
            "id": {"type": "str", "required": True},
            "home": {"type": "path", "required": True},
            "marker": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
