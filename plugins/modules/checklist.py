#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: checklist
short_description: Complete the deployment checklist with the evidence of the checks
version_added: 0.2.0
description:
  - Gives each line of a checklist the verdict of the checks that prove it, shows the completed checklist as a table, writes it as
    JSON and as one self-contained HTML page with the timeline of the run, and fails when a line failed.
  - A line for which no check was made fails, unless a person answers it; a check that no line asks for is shown all the same.
  - Runs on the controller and touches nothing on the managed host. In AWX the summary is among the artifacts of the job.
author:
  - Residency Scheduler operations team (@residency-scheduler)
attributes:
  check_mode:
    support: full
    description: Shows the table and writes no file.
  diff_mode:
    support: none
    description: Changes nothing on the managed host.
  idempotent:
    support: full
    description: Changes nothing on the managed host. Each run writes a report of its own.
options:
  title:
    description: What is verified, for the heading.
    type: str
    default: Residency Scheduler
  checks:
    description: The checks, as the other modules return them.
    type: list
    elements: dict
    required: true
  lines:
    description: The lines of the checklist, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Name of the line, the same in every release of this collection.
        type: str
        required: true
      section:
        description: Heading of the section in the checklist.
        type: str
        required: true
      step:
        description: Heading of the step in the section.
        type: str
        required: true
      text:
        description: The line itself.
        type: str
        required: true
      topics:
        description: The checks with one of these topics prove the line.
        type: list
        elements: str
        default: []
      person:
        description: Who answers the line where no check was made. Empty for a line that only a check can prove.
        type: str
        default: ""
  answers:
    description:
      - Answers of persons, by the id of the line; each a dictionary with C(by), C(verdict) (V(pass) or V(fail)) and C(note).
    type: dict
    default: {}
  logs:
    description: Last lines of the logs of what is sick, by service or container, for the report.
    type: dict
    default: {}
  release:
    description: Version, commit and revision of the release.
    type: dict
    default: {}
  address:
    description: The public address, for the report.
    type: str
    default: ""
  by:
    description: Who runs this. The user on the controller when it is empty.
    type: str
    default: ""
  reports_dir:
    description: Folder on the controller for the JSON and the HTML file. No file is written when it is left out.
    type: path
"""

EXAMPLES = r"""
- name: Complete the checklist
  residency.scheduler.checklist:
    checks: "{{ verification.checks }}"
    lines:
      - id: post.2.containers
        section: Post-Deployment Verification
        step: 2. Service Status
        text: All containers are running
        topics: [containers]
      - id: post.4.browser
        section: Post-Deployment Verification
        step: 4. Frontend Verification
        text: No errors in the console of the browser
        person: the operator
    release: {version: v1.0.0, commit: 3f786850e387550fdab836ed7e6dc881de23001b, revision: [20251222_shift_index]}
    reports_dir: /srv/reports

- name: File what a person found
  residency.scheduler.checklist:
    checks: "{{ verification.checks }}"
    lines: "{{ verify_checklist }}"
    answers:
      post.4.browser: {by: A. Operator, verdict: pass, note: Looked at with Firefox 140}
"""

RETURN = r"""
verdict:
  description: V(pass), V(warn) or V(fail) of the whole.
  returned: always
  type: str
  sample: pass
counts:
  description: Number of lines by verdict.
  returned: always
  type: dict
  sample: {pass: 18, open: 2, warn: 1, fail: 0}
json_file:
  description:
    - Path of the JSON file on the controller; empty if none was written. C(docs/report.schema.json) of the collection describes it.
  returned: always
  type: str
  sample: /srv/reports/scheduler-1-v1.0.0-20251222020000.json
html_file:
  description: Path of the HTML file on the controller; empty if none was written.
  returned: always
  type: str
  sample: /srv/reports/scheduler-1-v1.0.0-20251222020000.html
"""
