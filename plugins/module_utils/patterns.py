# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions that a user gives, checked before anything is asked."""

from __future__ import annotations

import re

from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem


def require_pattern(where: str, text: object) -> None:
    """Raise a Problem that names *where* it stands, if *text* is no regular expression of Python's ``re``."""
    try:
        re.compile(str(text))
    except re.error as error:
        raise Problem(
            f"Reading {where} failed", f"{str(text)!r} is no regular expression: {error}", "Correct it; a literal . or ( needs a backslash."
        ) from error
