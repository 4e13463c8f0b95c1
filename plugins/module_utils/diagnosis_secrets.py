# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be in a diagnosis: every secret of the server, also where ``.env`` is gone or was replaced. And how it is blotted out."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import dotenv, kept_secrets, ledger
from ansible_collections.residency.scheduler.plugins.module_utils.command import secret_forms
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

BLOT = "********"
#: Values that say nothing in a report, and may be secrets under a name that does not tell: long, of one piece, letters and digits mixed.
_OPAQUE = re.compile(r"(?=.*[A-Za-z])(?=.*\d)[A-Za-z0-9_+/=~!@#$%^&*-]{12,}")
_URL_SECRET = re.compile(r"([a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+@", re.IGNORECASE)


def of_environment(values: Mapping[str, str], noted: frozenset[str] = frozenset()) -> set[str]:
    """Return the values of an environment that must not be shown. Pure.

    :arg noted: names of values that are known to be secrets.
    """
    return {*dotenv.secret_values(values, noted), *(value for value in values.values() if _OPAQUE.fullmatch(value))}


def collect(env_file: str, state_dir: str, environments: Iterable[Mapping[str, str]]) -> tuple[tuple[str, ...], list[str]]:
    """Return all secrets that this server has, and which files with secrets could not be read.

    :arg environments: those of the containers, which may be older than the files.
    """
    found, unread = set[str](), list[str]()
    for path in [env_file, *sorted(glob.glob(os.path.join(ledger.folder(state_dir), "*", ".env")))]:
        try:
            text = read_text(path)
            found |= of_environment(dotenv.parse(text), dotenv.secret_names(text))
        except Problem as problem:
            unread.append(f"{path}: {problem.why}")
    try:
        found |= set(kept_secrets.read(state_dir).kept.values())
    except Problem as problem:
        unread.append(problem.message())
    for values in environments:
        found |= of_environment(values)
    return tuple(sorted(value for value in found if value)), unread


def blotter(secrets: Sequence[str]) -> Callable[[Any], Any]:
    """Return a function that blots *secrets*, in every form, and passwords of URLs out of the texts of plain data."""
    forms = sorted({form for secret in secrets for form in secret_forms(secret)}, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, forms))) if forms else None

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            text = pattern.sub(BLOT, value) if pattern else value
            return _URL_SECRET.sub(rf"\g<1>{BLOT}@", text)
        if isinstance(value, Mapping):
            return {clean(key): clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, (list, tuple)) else value

    return clean
