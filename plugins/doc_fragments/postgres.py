# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that the database's modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared option documentation: ``postgres`` (the server), ``postgres.backups`` (the folder), ``postgres.migration`` (limits)."""

    DOCUMENTATION = r"""
options:
  database_service:
    description:
      - The service that runs PostgreSQL. Its container has to run; user and database are those of its C(POSTGRES_USER) and
        C(POSTGRES_DB).
    type: str
    default: db
  timeout:
    description: Seconds that one long step (dumping, reading back, restoring) may take.
    type: int
    default: 3600
"""

    BACKUPS = r"""
options:
  backup_dir:
    description: Folder of the backups, as in C(scheduler_backup_dir). It should not lie on the disk of the database alone.
    type: path
    required: true
"""

    MIGRATION = r"""
options:
  lock_timeout:
    description:
      - Seconds that one statement of the migration waits for a lock. Whoever wants to read the table waits behind it as long, so
        this is also the longest time that a reader waits because of a migration that cannot have its lock.
    type: float
    default: 3
  lock_attempts:
    description: How often the migration is started again when it could not have a lock in time, and nothing had changed.
    type: int
    default: 5
  statement_timeout:
    description: Seconds that one statement of the migration may take; 0 for no limit.
    type: float
    default: 0
"""
