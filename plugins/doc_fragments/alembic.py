# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that the Alembic modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared option documentation of alembic_info and alembic_migrate."""

    DOCUMENTATION = r"""
options:
  service:
    description: The service whose image has Alembic and the migrations.
    type: str
    default: backend
  config:
    description: Path of C(alembic.ini) in the image, relative to its working directory.
    type: str
    default: alembic.ini
"""
