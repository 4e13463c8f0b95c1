# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one kind of error that our modules raise: what failed, why, what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn

from ansible_collections.residency.scheduler.plugins.module_utils import run_lock


class Problem(Exception):
    """An error that a person can act on.

    :arg what: what failed, as the start of a sentence ("Reading the compose files failed").
    :arg why: the reason, in one sentence, with the value that was found.
    :arg remedy: what to do next, in one sentence.
    :arg details: more fields for the module's result (``cmd``, ``rc``, ``stdout``, ``stderr``, partial state).
    """

    def __init__(self, what: str, why: str, remedy: str, **details: Any) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        return self.message()

    def message(self) -> str:
        """Return the three parts as one text."""
        return f"{self.what}: {self.why.rstrip('. ')}. {self.remedy}"


def finish(module: Any, work: Callable[[], dict[str, Any]], *, locked: bool = True) -> NoReturn:
    """Run *work* and leave the module with its result, or with the message of its Problem.

    :arg locked: do nothing in a run that has lost the server's lock.
    """
    try:
        taker = run_lock.lost(os.environ) if locked else ""
        if taker:
            why = f"this run has lost the server's lock to {taker}"
            raise Problem("Going on was refused", why, "Nothing was done. Start the playbook again when that run has ended.")
        result = work()
    except Problem as problem:
        module.fail_json(msg=problem.message(), **problem.details)
    for text in result.pop("warnings", []):
        module.warn(text)
    module.exit_json(**result)
    raise AssertionError("exit_json returns never")
