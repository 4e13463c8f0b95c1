# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of what modules support that only look."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared attributes: ``attributes.read_only`` for modules that never change anything."""

    READ_ONLY = r"""
attributes:
  check_mode:
    support: full
    description: Changes nothing at any time.
  diff_mode:
    support: none
    description: Changes nothing at any time.
  idempotent:
    support: full
    description: Changes nothing at any time.
"""
