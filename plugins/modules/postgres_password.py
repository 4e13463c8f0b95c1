#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives a database's role the password that the compose project names."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_password
short_description: Give the database's role the password of the compose project
version_added: 0.6.0
description:
  - PostgreSQL's image takes C(POSTGRES_PASSWORD) only when it makes the database. Later on another value in C(.env) changes what the
    application sends, and not what the database accepts. This module makes the database follow.
  - It compares the password with what the database keeps of it (C(pg_authid)), by the container's local socket, and changes nothing
    where they match. The password is in no statement, and so in no log of the database; it is no option of the module either.
  - Connections that are open stay so; new ones need the new password at once.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.0 or newer
  - PostgreSQL 10 or newer, whose local socket trusts its user, as that of the official image does
extends_documentation_fragment:
  - residency.scheduler.compose
attributes:
  check_mode:
    support: full
    description: Tells whether the password would be changed.
  diff_mode:
    support: full
    description: Names the role, never the password.
  idempotent:
    support: full
    description: Compared with what the database keeps of the password.
options:
  database_service:
    description:
      - The service that runs PostgreSQL. C(POSTGRES_PASSWORD) of its settings in the compose files is the password that is wanted;
        the role is that of its container's C(POSTGRES_USER).
    type: str
    default: db
  wait:
    description: Seconds to wait for the answer of a database that starts. One whose container does not run is left alone.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Let the database take the password of .env
  residency.scheduler.postgres_password:
    project: "{{ scheduler_compose }}"

- name: Look whether the database takes the password of a release's record
  residency.scheduler.postgres_password:
    project: "{{ rollback_plan.leaving_project }}"
    database_service: db
  check_mode: true
"""

RETURN = r"""
role:
  description: The role whose password was looked at; empty where the database does not run, or the compose files name no password.
  returned: always
  type: str
  sample: scheduler
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import scram
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import PROJECT_SPEC, Project, read_config
from ansible_collections.residency.scheduler.plugins.module_utils.postgres import MAINTENANCE, Postgres, find, identifier, literal
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

CHANGING = "Changing the database's password failed"


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner, sleep: Callable[[float], None]) -> dict[str, Any]:
    """Compare, and change what differs."""
    project, service = Project.from_parameters(parameters["project"]), str(parameters["database_service"])
    wanted = read_config(project, runner).services.get(service)
    password = wanted.environment.get("POSTGRES_PASSWORD", "") if wanted else ""
    found = _stored(project, service, parameters["wait"], runner, sleep) if password else None
    if found is None:
        return {"changed": False, "role": ""}
    postgres, stored = found
    changed = not scram.matches(password, postgres.user, stored)
    if changed and not check_mode:
        verifier = scram.verifier(password, os.urandom(scram.SALT_BYTES))
        postgres.run(f"ALTER ROLE {identifier(postgres.user)} PASSWORD {literal(verifier)};", CHANGING, database=MAINTENANCE)
    told = f"password of the role {postgres.user}: "
    after = "that of .env" if changed else "as it is"
    return {"changed": changed, "role": postgres.user, "diff": {"before": f"{told}as it is\n", "after": f"{told}{after}\n"}}


def _stored(
    project: Project, service: str, wait: int, runner: Runner, sleep: Callable[[float], None]
) -> tuple[Postgres, str | None] | None:
    """Return the database and what it keeps of its role's password; None where no container of it runs."""
    sql = "SELECT rolpassword FROM pg_authid WHERE rolname = {}"
    for left in range(wait, -1, -1):
        try:
            postgres = find(project, service, runner)
        except Problem:  # it does not run: whoever starts it asks again
            break
        try:
            asked = sql.format(literal(postgres.user))
            rows = postgres.rows(asked, "Asking the database for its role failed", database=MAINTENANCE)
            return postgres, rows[0]["rolpassword"] if rows else None
        except Problem:
            if not left:
                raise
        sleep(1)
    return None


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            "database_service": {"type": "str", "default": "db"},
            "wait": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner(), time.sleep))


if __name__ == "__main__":
    main()
