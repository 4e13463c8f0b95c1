# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""With which password a migration's connections are made; all else of the guards needs a real PostgreSQL (tests/database)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.migration_guard import Guard


class Refused(Exception):
    """The driver's error."""


class Dialect:
    """A driver whose database takes one password."""

    name = "postgresql"

    class dbapi:  # noqa: N801
        """The driver's names."""

        Error = Refused

    def __init__(self, taken: str) -> None:
        self.taken, self.tried = taken, list[str]()

    def connect(self, **parameters: Any) -> str:
        self.tried.append(parameters["password"])
        if parameters["password"] != self.taken:
            raise Refused
        return f"connection by {self.taken}"


@pytest.mark.parametrize(
    ("passwords", "taken", "tried"),
    [
        ([], "own", ["own"]),
        (["former"], "former", ["former"]),
        (["other", "former"], "former", ["other", "former"]),
        (["former"], "own", ["former", "own"]),
    ],
)
def test_the_first_password_that_is_taken(passwords: list[str], taken: str, tried: list[str]) -> None:
    dialect = Dialect(taken)
    assert Guard(passwords=passwords)._logged_in(dialect, (), {"password": "own"}) == f"connection by {taken}"
    assert dialect.tried == tried


def test_none_is_taken() -> None:
    with pytest.raises(Refused):
        Guard(passwords=["former"])._logged_in(Dialect("unknown"), (), {"password": "own"})
