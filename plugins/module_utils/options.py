# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that are given as one mapping each, completed by Ansible's own validator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.residency.scheduler.plugins.module_utils import alembic, celery, logs
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: What a verification expects of Celery, of Alembic and of the logs.
_EXPECTATIONS: dict[str, dict[str, Any]] = {
    "celery": celery.EXPECTATIONS_SPEC,
    "alembic": {**alembic.ALEMBIC_SPEC, "timeout": {"type": "int", "default": 60}},
    "logs": logs.EXPECTATIONS_SPEC,
}


def options(name: str, spec: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of another module with their defaults.

    :raises Problem: an option is unknown or of another type.
    """
    result = ArgumentSpecValidator(dict(spec)).validate(dict(values))
    if result.error_messages:
        raise Problem(f"Reading the option {name} failed", "; ".join(result.error_messages), f"It takes: {', '.join(spec)}.")
    return dict(result.validated_parameters)


def complete(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a verification, what is expected of Celery, of Alembic and of the logs with all defaults.

    :raises Problem: an option is unknown or of another type.
    """
    return {**parameters, **{name: options(name, spec, parameters[name]) for name, spec in _EXPECTATIONS.items()}}
