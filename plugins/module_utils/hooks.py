# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks: task files of the user's, run before and after stages of a deployment. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, kind, show

#: The stages of a deployment, in order, that have hooks.
STAGES = ("preflight", "server", "code", "environment", "images", "database", "services", "verify")
NAMES = tuple(f"{moment}_{stage}" for stage in STAGES for moment in ("before", "after"))


def findings(hooks: Any, is_file: Callable[[str], bool] = os.path.isfile) -> list[Finding]:
    """Return what is wrong with the variable ``scheduler_hooks``, all at once.

    :arg is_file: tells whether a path leads to a file on this machine.
    """
    if not isinstance(hooks, Mapping):
        return [Finding("scheduler_hooks", kind(hooks), "a mapping", "Give the path of a task file by the name of each hook.")]
    found = []
    for name, path in hooks.items():
        subject = f"scheduler_hooks.{name}"
        if name not in NAMES:
            stages = f"{', '.join(STAGES[:-1])} or {STAGES[-1]}"
            found.append(Finding(subject, "a hook that is never run", f"before_ or after_ with {stages}", "Correct its name."))
        elif not isinstance(path, str) or not path.startswith("/"):
            shown = show(path) if isinstance(path, str) else kind(path)
            remedy = "Begin it with {{ inventory_dir }}/ or {{ playbook_dir }}/."
            found.append(Finding(subject, shown, "the full path of a task file on the controller", remedy))
        elif not is_file(path):
            found.append(Finding(subject, f"no file on the controller at {path}", "a task file", "Correct its path."))
    return found
