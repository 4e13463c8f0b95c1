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
  - Writes a record of what is deployed - version, commit, image ids, database revision, digest of the environment - and how it
    went. A record is one JSON file below O(state_dir); "previous" is always the last good record, never a directory's age.
  - The same release with the same verdict is recorded once.
author:
  - Residency Scheduler operations team (@residency-scheduler)
attributes:
  check_mode:
    support: full
    description: Tells whether a record would be written.
  diff_mode:
    support: full
    description: Shows the record.
  idempotent:
    support: full
    description: Compared by version, commit, images and environment digest.
options:
  state_dir:
    description: Folder for the server's state.
    type: path
    required: true
  verdict:
    description: V(candidate) before anything that runs is touched, V(good) once verification has passed, V(failed) otherwise.
    type: str
    choices: [candidate, good, failed, rolled_back]
    required: true
  version:
    description: Version of the release.
    type: str
    required: true
  commit:
    description: Full git commit.
    type: str
    required: true
  images:
    description: Image reference and id by service, as M(residency.scheduler.compose_release) returns them.
    type: dict
    required: true
  environment_digest:
    description: SHA-256 of the environment file.
    type: str
    required: true
  facts:
    description: More to keep in the record, such as the database's revision before and after.
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

- name: Record that it is good
  residency.scheduler.release:
    state_dir: /var/lib/residency-scheduler
    verdict: good
    version: v1.0.0
    commit: 3f786850e387550fdab836ed7e6dc881de23001b
    images: "{{ images.images }}"
    environment_digest: "{{ environment_file.digest }}"
    facts:
      revision: [20251222_shift_index]
"""

RETURN = r"""
record:
  description: The record, as it is in the ledger now.
  returned: always
  type: dict
  sample: {id: 20251222T020000Z-v1.0.0, version: v1.0.0, verdict: good}
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import ledger
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish
from ansible_collections.residency.scheduler.plugins.module_utils.release_file import slug


def run(parameters: Mapping[str, Any], check_mode: bool, now: datetime) -> dict[str, Any]:
    """Write the record where the ledger does not say it already."""
    state_dir = str(parameters["state_dir"])
    wanted = {
        "version": parameters["version"],
        "commit": parameters["commit"],
        "images": {name: dict(image) for name, image in parameters["images"].items()},
        "environment_digest": parameters["environment_digest"],
        "started": now.isoformat(timespec="seconds"),
        **parameters["facts"],
    }
    if parameters["verdict"] != "candidate":
        wanted["finished"] = now.isoformat(timespec="seconds")
    records = ledger.read_records(state_dir)
    before = ledger.newest(records) or {}
    record = ledger.decide(records, wanted, parameters["verdict"], f"{now:%Y%m%dT%H%M%SZ}-{slug(parameters['version'])}")
    if record is not None and not check_mode:
        ledger.write_record(state_dir, record)
    return {
        "changed": record is not None,
        "record": record or before,
        "diff": {"before": _brief(before) if record else "", "after": _brief(record) if record else ""},
    }


def _brief(record: Mapping[str, Any]) -> str:
    return f"{record['version']} ({record['commit'][:12]}): {record['verdict']}\n" if record else ""


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "required": True},
            "verdict": {"type": "str", "choices": list(ledger.VERDICTS), "required": True},
            "version": {"type": "str", "required": True},
            "commit": {"type": "str", "required": True},
            "images": {"type": "dict", "required": True},
            "environment_digest": {"type": "str", "required": True},
            "facts": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, datetime.now(UTC)))


if __name__ == "__main__":
    main()
