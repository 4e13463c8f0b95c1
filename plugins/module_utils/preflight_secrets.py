# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of ``scheduler_secrets``. A finding tells a secret's name, its length and the kind of its fault, never its value."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import dotenv
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, show
from ansible_collections.residency.scheduler.plugins.module_utils.preflight_variables import dotenv_fault

_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]+")
#: They become part of DATABASE_URL and REDIS_URL, where / @ : % # end the password or change it.
_IN_URLS = ("DB_PASSWORD", "REDIS_PASSWORD")
_SHORTEST = 16
_SHORTEST_OF = {"SECRET_KEY": 32}
_FEWEST_DISTINCT = 6


def check_secrets(values: Any, required: Sequence[str], supplied: Collection[str] = ()) -> list[Finding]:
    """Return what is wrong with the secrets: the required ones first, then the others.

    :arg supplied: names that need not be given, since the server has them or makes them.
    """
    if values is not None and not isinstance(values, dict):
        return [
            Finding(
                "scheduler_secrets",
                # Not the value: a text may be a secret.
                "a string" if isinstance(values, str) else f"a {type(values).__name__}",
                "a mapping of names and values",
                f"Set scheduler_secrets, from the vault, with {', '.join(required)}.",
            )
        ]
    secrets = values or {}
    names = [*required, *sorted((name for name in secrets if name not in required), key=str)]
    found = [_fault(name, secrets.get(name), name in required) for name in names if name in secrets or name not in supplied]
    return [finding for finding in found if finding] + _equal(secrets)


def _fault(name: object, value: object, required: bool) -> Finding | None:
    if not isinstance(name, str) or not dotenv.NAME.fullmatch(name):
        return Finding("scheduler_secrets", f"the name {show(name)}", "letters, digits and _ only, no digit first", "Rename this secret.")
    shortest = _SHORTEST_OF.get(name, _SHORTEST) if required else 1
    wanted = f"a secret of {shortest} characters or more" if required else "a value"
    if value is None or value == "" or (isinstance(value, str) and not value.strip()):
        return _finding(name, "nothing", wanted)
    if not isinstance(value, str):
        # Not the value: a number may be a secret.
        return _finding(name, f"a value of type {type(value).__name__}", "a string")
    return _text_fault(name, value, shortest, wanted, required) or (_weakness(name, value) if required else None)


def _blanks(value: str) -> str:
    return "a blank at its start or end" if value != value.strip() else ""


def _text_fault(name: str, value: str, shortest: int, wanted: str, required: bool) -> Finding | None:
    # A key in PEM has many lines, and the last one ends too.
    several = not required and "\n" in value.strip()
    unfit = dotenv_fault(value) or ("" if several else "a line break" if "\n" in value else _blanks(value))
    if unfit:
        return _finding(name, f"{len(value)} characters with {unfit}", "a text on one line")
    if dotenv.is_placeholder(value):
        return _finding(name, "an example that was not replaced", wanted)
    if len(value) < shortest:
        return _finding(name, f"{len(value)} characters", wanted)
    return None


def _weakness(name: str, value: str) -> Finding | None:
    distinct = len(set(value))
    if distinct < _FEWEST_DISTINCT:
        return _finding(name, f"{len(value)} characters, only {distinct} different", f"{_FEWEST_DISTINCT} or more different")
    if name in _IN_URLS and not _URL_SAFE.fullmatch(value):
        return _finding(name, "a character that breaks a URL", "letters, digits and . _ ~ - only, since it becomes part of a URL")
    return None


def _finding(name: str, found: str, wanted: str) -> Finding:
    length = _SHORTEST_OF.get(name, 32)
    make = f"import secrets,string; print(''.join(secrets.choice(string.ascii_letters+string.digits) for _ in range({length * 2})))"
    return Finding(f"scheduler_secrets.{name}", found, wanted, f'Make one: python3 -c "{make}"')


def _equal(secrets: dict[Any, Any]) -> list[Finding]:
    """Return a finding for each group of secrets with one value; groups of blanks have their own findings already."""
    groups: dict[str, list[str]] = {}
    for name, value in secrets.items():
        if isinstance(value, str) and value.strip():
            groups.setdefault(value, []).append(str(name))
    return [
        Finding("scheduler_secrets", f"the same value in {' and '.join(names)}", "a value for each", "Replace all but one.")
        for names in groups.values()
        if len(names) > 1
    ]
