#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the ledger of releases."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Record a release and its verdict in the server's ledger
version_added: 0.1.0
description:
  - Writes a record of what is deployed - version, commit, image ids, digest of the environment, and copies of the files it was
    started with - and what became of it. A record is a folder below O(state_dir), written once; the verdicts stand in a history
    that only grows, each with what became known with it. "Previous" is always the last good release, never a directory's age.
  - The same release with the same verdict is recorded once.
  - A release that becomes good closes what other runs left open; a candidate whose run was cut is called failed.
author:
  - Residency Scheduler operations team (@residency-scheduler)
attributes:
  check_mode:
    support: full
    description: Tells whether a verdict would be written.
  diff_mode:
    support: full
    description: Shows the release with its verdict before and after.
  idempotent:
    support: full
    description: Compared by version, commit, images, environment digest and the content of O(files), or by O(id).
options:
  state_dir:
    description: Folder for the server's state.
    type: path
    required: true
  verdict:
    description:
      - V(candidate) before anything that runs is touched, V(good) once verification has passed, V(failed) where nothing better can be
        said, V(rolled_back) after the way back to another release.
    type: str
    choices: [candidate, good, failed, rolled_back]
    required: true
  id:
    description: The record that the verdict is about, where it exists already. Give this, or what the release is made of.
    type: str
    version_added: 0.4.0
  version:
    description: Version of the release.
    type: str
  commit:
    description: Full git commit.
    type: str
  images:
    description: Image reference and id by service, as M(residency.scheduler.compose_release) returns them.
    type: dict
  environment_digest:
    description: SHA-256 of the environment file.
    type: str
  files:
    description: Files to keep a copy of with a new record (0600), their paths by name. M(residency.scheduler.release_files) puts them back.
    type: dict
    default: {}
    version_added: 0.4.0
  stages:
    description: The stages of the run, as M(residency.scheduler.stage) notes them; each one's seconds are kept with the verdict.
    type: list
    elements: dict
    default: []
    version_added: 0.4.0
  facts:
    description: More to keep with the verdict, such as the database's revision before and after.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Record the release before the change
  residency.scheduler.release:
    state_dir: /var/lib/residency-scheduler
    verdict: candidate
    version: v1.0.0
    commit: 3f786850e387550fdab836ed7e6dc881de23001b
    images: "{{ images.images }}"
    environment_digest: "{{ environment_file.digest }}"
    files: {.env: /opt/residency-scheduler/.env}
  register: recorded

- name: Record that it is good
  residency.scheduler.release:
    state_dir: /var/lib/residency-scheduler
    verdict: good
    id: "{{ recorded.record.id }}"
    facts:
      revision: [20251222_shift_index]
"""

RETURN = r"""
record:
  description: The record, with what the history says of it now.
  returned: always
  type: dict
  sample: {id: 20251222T020000Z-v1.0.0, version: v1.0.0, verdict: good}
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish
from ansible_collections.residency.scheduler.plugins.module_utils.release_file import slug
from ansible_collections.residency.scheduler.plugins.module_utils.stages import close

ARGUMENT_SPEC: dict[str, Any] = {
    "state_dir": {"type": "path", "required": True},
    "verdict": {"type": "str", "choices": list(ledger.VERDICTS), "required": True},
    "id": {"type": "str"},
    "version": {"type": "str"},
    "commit": {"type": "str"},
    "images": {"type": "dict"},
    "environment_digest": {"type": "str"},
    "files": {"type": "dict", "default": {}},
    "stages": {"type": "list", "elements": "dict", "default": []},
    "facts": {"type": "dict", "default": {}},
}


def run(parameters: Mapping[str, Any], check_mode: bool, now: datetime) -> dict[str, Any]:
    """Write what the ledger does not say already."""
    state_dir, verdict = str(parameters["state_dir"]), str(parameters["verdict"])
    records = ledger.read_records(state_dir)
    seconds = {stage["name"]: stage["seconds"] for stage in close(parameters["stages"], now)}
    facts = {**parameters["facts"], **({"seconds": seconds} if seconds else {})}
    if parameters["id"]:
        decision = ledger.say(records, parameters["id"], verdict, facts)
    else:
        wanted = {key: parameters[key] for key in ledger.MATERIAL} | _digest(parameters["files"])
        decision = ledger.decide(records, wanted, verdict, f"{now:%Y%m%dT%H%M%SZ}-{slug(parameters['version'])}", facts)
    if decision.changed and not check_mode:
        ledger.write(state_dir, decision, parameters["files"], now.isoformat(timespec="seconds"))
    before = next((item for item in records if item["id"] == decision.about["id"]), {})
    return {
        "changed": decision.changed,
        "record": dict(decision.about),
        "diff": {"before": _brief(before) if decision.changed else "", "after": _brief(decision.about) if decision.changed else ""},
    }


def _digest(files: Mapping[str, str]) -> dict[str, str]:
    """Return the digest of the files that are kept; none while one of them is not there, in a check of a bare server say."""
    texts = [read_text(str(path)) for _name, path in sorted(files.items())]
    return {ledger.FILES: hashlib.sha256(json.dumps(texts).encode()).hexdigest()} if texts and all(texts) else {}


def _brief(record: Mapping[str, Any]) -> str:
    return f"{record['version']} ({record['commit'][:12]}): {record['verdict']}\n" if record else ""


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_one_of=[["id", "version"]],
        mutually_exclusive=[["id", "version"]],
        required_together=[list(ledger.MATERIAL)],
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, datetime.now(UTC)))


if __name__ == "__main__":
    main()
