# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of an environment, from a release's example file and what the inventory gives. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import dotenv
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

WRITING = "Writing the environment failed"
GIVE = 'Give a value in scheduler_env, or in scheduler_secrets if it is a secret; "" where none is wanted.'


def merge(
    defaults: Mapping[str, str], values: Mapping[str, Any], secrets: Mapping[str, Any], required: Collection[str] = ()
) -> dict[str, str]:
    """Return the values of the file, sorted by name. Pure.

    :arg required: names that have to have a value.
    :raises Problem: a name is malformed, a value cannot be written, or there is none but an empty default, or a placeholder.
    """
    given = {**values, **secrets}
    bad = sorted(str(name) for name in given if not dotenv.NAME.match(str(name)))
    if bad:
        raise Problem(WRITING, f"{bad[0]!r} is no name of a variable", "Use letters, digits and _.")
    texts = {str(name): _text(str(name), value) for name, value in given.items()}
    lacking = missing(defaults, texts, required)
    if lacking:
        raise Problem(WRITING, f"no value for {', '.join(f'{name} ({why})' for name, why in sorted(lacking.items()))}", GIVE)
    return {name: dotenv.expand(name, texts, defaults) for name in sorted({*defaults, *texts})}


def missing(defaults: Mapping[str, str], given: Mapping[str, Any], required: Collection[str]) -> dict[str, str]:
    """Return why there has to be a value, by the names that have none. Pure."""
    left = {name: value for name, value in defaults.items() if name not in given}
    names = {name: "required by the compose files" for name in required if {**left, **given}.get(name) in (None, "")}
    return names | {name: "a placeholder in the example file" for name, value in left.items() if dotenv.is_placeholder(value)}


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, (dict, list)):
        # Lists and mappings are JSON in the application's settings (CORS_ORIGINS).
        return "" if value is None else json.dumps(value)
    text = str(value)
    if "\x00" in text:
        raise Problem(WRITING, f"the value of {name} has a NUL, which no environment takes", f"Choose another value for {name}.")
    return text
