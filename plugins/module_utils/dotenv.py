# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose's ``.env`` format: values that survive it, and which of them are secrets.

Single quotes are the one form that Compose takes literally (measured with Compose 2.26): ``$word`` vanishes and
`` #`` truncates in the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
_SINGLE_QUOTED = re.compile(r"^'((?:[^'\\]|\\.)*)'\s*(?:#.*)?$", re.DOTALL)
_DOUBLE_QUOTED = re.compile(r'^"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$')
_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|_KEY$|CREDENTIAL|WEBHOOK|DSN", re.IGNORECASE)
_CREDENTIAL_URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s@]*:([^/\s@]+)@", re.IGNORECASE)
_SECRETS_LINE = "# Secrets: "
_PLACEHOLDER = re.compile(
    r"your[_-]|change[_-]?me|changeme|replace[_-]?(me|with)|placeholder|generate_with|<[^>]+>|xxx+|"
    r"^secure_random_password|^todo$",
    re.IGNORECASE,
)


def parse(text: str) -> dict[str, str]:
    """Return the names and values of a ``.env`` text; quotes are taken off, comments and blank lines skipped."""
    values: dict[str, str] = {}
    lines = iter(text.lstrip("\ufeff").splitlines())
    for line in lines:
        match = _LINE.match(line)
        if line.lstrip().startswith("#") or match is None:
            continue
        name, value = match.groups()
        if value[:1] == "'":
            while not (quoted := _SINGLE_QUOTED.search(value)):
                following = next(lines, None)
                if following is None:
                    break
                value = f"{value}\n{following}"
            values[name] = (quoted.group(1) if quoted else value[1:]).replace("\\'", "'")
        elif quoted := _DOUBLE_QUOTED.search(value):
            values[name] = quoted.group(1)
        else:
            values[name] = re.sub(r"\s+#.*$", "", value)
    return values


def render(values: Mapping[str, str], secret_names: Iterable[str] = ()) -> str:
    """Return the ``.env`` text for *values*, in the given order, every value in single quotes.

    :arg secret_names: noted in the file, so that a later reader knows which values must not be shown, whatever their names.
    """
    lines = ["# Written by residency.scheduler: change the inventory, not this file."]
    names = sorted(secret_names)
    lines += [f"{_SECRETS_LINE}{' '.join(names)}"] if names else []
    lines += [f"{name}='{_quoted(value)}'" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return value.replace("'", "\\'")


def secret_names(text: str) -> frozenset[str]:
    """Return the names that :func:`render` noted as secrets in a ``.env`` text."""
    noted = (line.removeprefix(_SECRETS_LINE).split() for line in text.splitlines() if line.startswith(_SECRETS_LINE))
    return frozenset(name for names in noted for name in names)


def secret_values(values: Mapping[str, str], known: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Return the values that must not be shown, raw and percent-encoded: by their names, and passwords in URLs.

    :arg known: further names whose values are secret.
    """
    found: set[str] = set()
    for name, value in values.items():
        if (name in known or _SECRET_NAME.search(name)) and value:
            found.update((value, quote(value, safe="")))
        url = _CREDENTIAL_URL.match(value)
        if url:
            found.add(url.group(1))
    return tuple(sorted(found))


def is_placeholder(value: str) -> bool:
    """Tell whether *value* is an example that somebody forgot to replace."""
    return _PLACEHOLDER.search(value) is not None
