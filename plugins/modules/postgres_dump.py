#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes a verified backup of the database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_dump
short_description: Take a verified backup of the database
version_added: 0.3.0
description:
  - Dumps the database by C(pg_dump) in its custom format, inside the database's own container, so that client and server have the
    same version. The rows of every table are counted in the very snapshot that is dumped, and stand in the manifest.
  - The dump is read back in full, and everything is on the disk, before the backup gets its name by one rename. A folder with a
    backup's name is a whole backup.
  - A backup is a folder C(DATABASE_YYYYmmdd_HHMMSS) (UTC) below C(postgres) in O(backup_dir), readable by root only, with
    C(database.dump), C(roles.sql), C(manifest.json) and C(SHA256SUMS). Large objects and roles are in it, the roles' passwords are not.
  - Free space is checked first. Old backups are removed only after the new one is there.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
extends_documentation_fragment:
  - residency.scheduler.compose
  - residency.scheduler.postgres
  - residency.scheduler.postgres.backups
attributes:
  check_mode:
    support: full
    description: Checks the free space, and tells which backup would be taken and which would be removed.
  diff_mode:
    support: full
    description: Shows the names of the backups before and after.
  idempotent:
    support: none
    description: Each call takes a backup.
options:
  pool:
    description: Why the backup is taken. Each pool is pruned by itself; all but V(scheduled) stand in the backup's name.
    type: str
    choices: [scheduled, deployment, restore]
    default: scheduled
  retention_days:
    description: Days after which a backup may be removed.
    type: int
    default: 30
  keep:
    description: How many of the newest backups of a pool stay, however old they are.
    type: int
    default: 7
  compression:
    description: Level of compression, 0 to 9, as for C(pg_dump --compress). The default is that of pg_dump.
    type: int
  side_database:
    description: Also require room for a copy beside the live database, as a rehearsal or a restore needs it.
    type: bool
    default: false
  state_dir:
    description: Folder with the ledger of releases. The manifest names the release that runs; what it has to be restored with.
    type: path
  metrics_dir:
    description: Folder for the figures of the newest backup in Prometheus's text format. None are written without it.
    type: path
"""

EXAMPLES = r"""
- name: Take the daily backup
  residency.scheduler.postgres_dump:
    project: "{{ scheduler_compose }}"
    backup_dir: /var/lib/residency-scheduler/backups
    state_dir: /var/lib/residency-scheduler

- name: Take a backup before a migration, and make sure that there is room for its rehearsal
  residency.scheduler.postgres_dump:
    project: "{{ scheduler_compose }}"
    backup_dir: /var/lib/residency-scheduler/backups
    pool: deployment
    side_database: true
"""

RETURN = r"""
name:
  description: Name of the backup.
  returned: always
  type: str
  sample: residency_scheduler_20251222_020000
path:
  description: Folder of the backup.
  returned: always
  type: str
  sample: /var/lib/residency-scheduler/backups/postgres/residency_scheduler_20251222_020000
manifest:
  description: What the backup holds - rows by table, sequences, Alembic's revision, extensions, server, release, images, SHA-256.
  returned: except in check mode
  type: dict
  sample: {database: residency_scheduler, facts: {tables: {public.residents: 214}, revision: [20251222_shift_index]}}
space:
  description: Bytes that the database has, that dump and side database need, and that are free.
  returned: always
  type: dict
  sample: {database: 8651283, dump_needed: 432564, dump_free: 41238654976}
removed:
  description: Names of the old backups that were removed (or would be).
  returned: always
  type: list
  elements: str
  sample: [residency_scheduler_20251112_020000]
swept:
  description: What was left by backups that were cut, and was removed.
  returned: except in check mode
  type: list
  elements: str
  sample: []
seconds:
  description: How long dumping took, reading back, and the whole, in seconds.
  returned: except in check mode
  type: dict
  sample: {dump: 0.4, read_back: 0.2, whole: 1.1}
checks:
  description: The evidence for the checklist.
  returned: except in check mode
  type: list
  elements: dict
  sample: [{subject: "database: backup", verdict: pass, topic: backup}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import backups
from ansible_collections.residency.scheduler.plugins.module_utils.backup_run import run
from ansible_collections.residency.scheduler.plugins.module_utils.command import SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import POSTGRES_SPEC
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish

ARGUMENT_SPEC: dict[str, Any] = {
    "project": PROJECT_SPEC,
    **POSTGRES_SPEC,
    "backup_dir": {"type": "path", "required": True},
    "pool": {"type": "str", "choices": list(backups.POOLS), "default": "scheduled"},
    "retention_days": {"type": "int", "default": 30},
    "keep": {"type": "int", "default": 7},
    "compression": {"type": "int"},
    "side_database": {"type": "bool", "default": False},
    "state_dir": {"type": "path"},
    "metrics_dir": {"type": "path"},
}


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner(), backups.now_utc()))


if __name__ == "__main__":
    main()
