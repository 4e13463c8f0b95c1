# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose's ``.env`` format: values that survive it, and which of them are secrets.

Single quotes are the one form that Compose takes literally (measured with Compose 2.26): ``$word`` vanishes and
`` #`` truncates in the others. Only a backslash before a quote or the end, and a carriage return, need double quotes and escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
_SINGLE_QUOTED = re.compile(r"^'((?:[^'\\]|\\.)*)'\s*(?:#.*)?$", re.DOTALL)
_DOUBLE_QUOTED = re.compile(r'^"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$')
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|_KEY$|CREDENTIAL|WEBHOOK|DSN", re.IGNORECASE)
_CREDENTIAL_URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s@]*:([^/\s@]+)@", re.IGNORECASE)
_SECRETS_LINE = "# Secrets: "
_DEPRECATED = re.compile(r"#.*?\bdeprecated\b[:;,.\s-]*(.*)$", re.IGNORECASE)
_REFERENCE = re.compile(r"\$(?:\$|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<operator>:?-)(?P<default>[^}]*))?\}|(?P<plain>[A-Za-z_]\w*))")
_URL_USER = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*@", re.IGNORECASE)
#: Names in a compose file, and the mark of those that it requires. Compose 2.26's own list (``config --variables``) leaves some out.
_USED = re.compile(r"(?<!\$)\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(:\?)?)")
_INSTEAD = re.compile(r"\$\{\w+:?-$")
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
_PLACEHOLDER = re.compile(
    r"your[_-]|change[_-]?me|changeme|replace[_-]?(me|with)|placeholder|generate_with|<[^>]+>|xxx+|"
    r"^secure_random_password|^todo$",
    re.IGNORECASE,
)


def parse(text: str) -> dict[str, str]:
    """Return the names and values of a ``.env`` text; quotes are taken off, comments and blank lines skipped."""
    values: dict[str, str] = {}
    # Not splitlines(), to which U+2028 in a value is a line end too.
    lines = iter(text.lstrip("\ufeff").split("\n"))
    for line in lines:
        match = _LINE.match(line)
        if line.lstrip().startswith("#") or match is None:
            continue
        name, value = match.groups()
        if value[:1] == "'":
            # As it is: what seems to be a blank at the end may be in the middle of a value with several lines.
            value = line[match.start(2) :]
            while not (quoted := _SINGLE_QUOTED.search(value)):
                following = next(lines, None)
                if following is None:
                    break
                value = f"{value}\n{following}"
            values[name] = (quoted.group(1) if quoted else value[1:]).replace("\\'", "'")
        elif quoted := _DOUBLE_QUOTED.search(value):
            values[name] = _ESCAPED.sub(lambda escaped: _ESCAPES.get(escaped.group(1), escaped.group(1)), quoted.group(1))
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
    lines += [f"{name}={_quoted(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    if "\r" in value or "\\'" in value or value.endswith("\\"):
        escaped = re.sub(r'([\\"$])', r"\\\1", value)
        return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'
    return "'" + value.replace("'", "\\'") + "'"


@dataclass(frozen=True)
class Example:
    """A release's example file, the catalogue of its names.

    :ivar defaults: values by name; a ``$`` in them begins a reference, unless it is doubled.
    :ivar known: all names, also of the lines that are commented out.
    :ivar deprecated: what is said of a name that is on its way out ("use CACHE_URL").
    """

    defaults: Mapping[str, str]
    known: frozenset[str]
    deprecated: Mapping[str, str]


def read_example(text: str) -> Example:
    """Parse an example file: values, commented lines, and the word "deprecated" beside a name, or in the comment above it."""
    known, deprecated, literal, said = set[str](), dict[str, str](), set[str](), ""
    for line in text.lstrip("\ufeff").split("\n"):
        match = _LINE.match(line.lstrip("# \t"))
        note = _DEPRECATED.search(line)
        if match is None:
            # A comment counts for the next name, a blank line ends it.
            said = (note.group(1).strip() or "deprecated") if note else said if line.strip() else ""
            continue
        known.add(match.group(1))
        if match.group(2)[:1] == "'":
            literal.add(match.group(1))
        if note or said:
            deprecated[match.group(1)] = (note.group(1).strip() or "deprecated") if note else said
        said = ""
    defaults = {name: value.replace("$", "$$") if name in literal else value for name, value in parse(text).items()}
    return Example(defaults, frozenset(known), deprecated)


def expand(name: str, values: Mapping[str, str], defaults: Mapping[str, str], inside: tuple[str, ...] = ()) -> str:
    """Return the value of a name, with the references of the example's values filled in.

    :arg values: what was given; taken literally.
    :arg defaults: the example's values; as user and password of a URL, what they refer to is percent-encoded.
    :raises Problem: a reference leads nowhere, or back to itself.
    """
    if name in values:
        return values[name]
    if name in inside:
        raise _broken(inside[-1], f"refers to {name}, which refers to it")
    text = defaults[name]
    user = _URL_USER.match(text)

    def fill(match: re.Match[str]) -> str:
        referred = match.group("braced") or match.group("plain")
        if not referred:
            return "$"
        known = referred in values or referred in defaults
        found = expand(referred, values, defaults, (*inside, name)) if known else ""
        if not known and match.group("operator") is None:
            raise _broken(name, f"refers to {referred}, which has no value")
        if not known or (not found and match.group("operator") == ":-"):
            found = match.group("default") or ""
        return quote(found, safe="") if user and match.start() < user.end() else found

    return _REFERENCE.sub(fill, text)


def _broken(name: str, why: str) -> Problem:
    return Problem("Reading the example file failed", f"{name} {why}", f"Give {name} a value in scheduler_env or scheduler_secrets.")


def used_names(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names that a compose file takes from the environment, and those of them that must not be empty."""
    bare = _COMMENT.sub(r"\1", text)
    # What stands in for another name, behind its "-", is not required.
    found = [
        (match.group(1) or match.group(2), bool(match.group(3)) and not _INSTEAD.search(bare, 0, match.start()))
        for match in _USED.finditer(bare)
    ]
    return frozenset(name for name, _required in found), frozenset(name for name, required in found if required)


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
