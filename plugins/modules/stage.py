#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stage
short_description: Note that a stage of the run begins
version_added: 0.2.0
description:
  - Notes name and time in the fact C(scheduler_stages), from which M(residency.scheduler.checklist) draws the timeline of the run.
  - Runs on the controller and touches nothing.
author:
  - Residency Scheduler operations team (@residency-scheduler)
extends_documentation_fragment:
  - residency.scheduler.attributes.read_only
options:
  name:
    description: Name of the stage.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Begin the stage
  residency.scheduler.stage:
    name: images
"""

RETURN = r"""
ansible_facts:
  description: The stages of this run so far.
  returned: always
  type: dict
  contains:
    scheduler_stages:
      description: Name and start of each stage, in order.
      returned: always
      type: list
      elements: dict
      sample: [{name: preflight, started: "2025-12-22T02:00:00.000+00:00", run: "4711"}]
"""
