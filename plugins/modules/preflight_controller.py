#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_controller
short_description: Find what is wrong with settings that the controller itself uses
version_added: 1.0.0
description:
  - Looks at the channels of notifications, and at the task files of hooks. No channel is asked.
  - Its findings are for the option O(residency.scheduler.preflight_check#module:more), which stops a deployment with all findings at once.
  - Runs on the controller and touches nothing.
author:
  - Residency Scheduler operations team (@residency-scheduler)
extends_documentation_fragment:
  - residency.scheduler.attributes.read_only
options:
  channels:
    description: The channels, as the option O(residency.scheduler.notify#module:channels) describes them.
    type: raw
    default: []
  hooks:
    description:
      - Paths of task files on the controller, by name of the hook.
      - A name is C(before_) or C(after_) and a stage - C(preflight), C(server), C(code), C(environment), C(images), C(database),
        C(services), C(verify).
    type: raw
    default: {}
"""

EXAMPLES = r"""
- name: Look at the channels
  residency.scheduler.preflight_controller:
    channels: "{{ notify_channels }}"
  register: controller

- name: Look at the hooks too
  residency.scheduler.preflight_controller:
    channels: "{{ notify_channels }}"
    hooks:
      before_database: "{{ inventory_dir }}/hooks/maintenance_page.yml"
  register: controller
"""

RETURN = r"""
findings:
  description: The reasons not to deploy, without secrets.
  returned: always
  type: list
  elements: dict
  sample:
    - subject: scheduler_hooks.before_migration
      found: a hook that is never run
      wanted: before_ or after_ with preflight, server, code, environment, images, database, services or verify
      remedy: Correct its name.
      severity: stops
"""
