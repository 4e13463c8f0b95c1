# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of what is expected of Celery."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared option documentation: ``celery.app`` (which application), ``celery`` (what celery_health expects of it)."""

    APP = r"""
options:
  services:
    description: Names of the worker services.
    type: list
    elements: str
    default: [celery-worker]
  app:
    description: The Celery application, as for C(celery -A).
    type: str
    default: app.core.celery_app
"""

    DOCUMENTATION = r"""
options:
  beat_service:
    description: Name of the scheduler's service; empty where there is none.
    type: str
    default: celery-beat
  unconsumed_queues_allowed:
    description: Queues that tasks are sent to and that nobody consumes, known and accepted; they give a warning only.
    type: list
    elements: str
    default: []
  depth_limit:
    description: Tasks that may wait in one queue, of all priorities together; more give a warning.
    type: int
    default: 1000
  beat_wait:
    description: Seconds to wait at most for the first task of a scheduler that has just started.
    type: int
    default: 20
  timeout:
    description: Seconds to wait for the workers' answers, and for all canaries together.
    type: int
    default: 10
"""
