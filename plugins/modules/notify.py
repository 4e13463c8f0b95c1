#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notify
short_description: Tell people by mail, Slack-compatible or generic webhook
version_added: 1.0.0
description:
  - Runs on the controller and needs nothing of the managed host.
  - A channel that does not take a message is told as a warning and in the result, and fails nothing. All channels are told at once.
  - No address of a webhook, header or password is in what is shown.
author:
  - Residency Scheduler operations team (@residency-scheduler)
attributes:
  check_mode:
    support: full
    description: Sends nothing, and returns whom it would tell.
  diff_mode:
    support: none
    description: Changes nothing that could be shown.
  idempotent:
    support: none
    description: Each run tells again. It is never C(changed), since nothing on the host is.
options:
  channels:
    description:
      - The ways to people, a list of mappings. All have C(name), C(kind) (V(mail), V(slack) or V(webhook)), C(events) (which ones are
        told, all without it), and C(ca_file) (certificates to trust in place of the system's, PEM, on the controller).
      - Of C(mail) are C(host), C(port) (587, with C(security) V(none) 25, with V(tls) 465), C(security) (V(starttls) without it),
        C(user), C(password), C(from), and C(to), a list. STARTTLS is required, not just taken where it is offered.
      - Of C(slack) is C(url). It is sent C({"text":...}), as Slack, Mattermost, Rocket.Chat and others take it.
      - Of C(webhook) are C(url) and C(headers). It is sent C({"event":..., "subject":..., "lines":[...], "facts":{...}}).
    type: raw
    required: true
  messages:
    description: What is told, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      event:
        description: What it is about; a channel is told of those that it lists.
        type: str
        required: true
        choices: [start, success, failure, rollback, maintenance, alert, resolved]
      subject:
        description: One line.
        type: str
        required: true
      lines:
        description: The text.
        type: list
        elements: str
        default: []
  facts:
    description: For programs that read a webhook, and below the text of a mail.
    type: dict
    default: {}
  timeout:
    description: Seconds for each message, whatever the number of channels.
    type: float
    default: 10.0
seealso:
  - module: residency.scheduler.preflight_controller
"""

EXAMPLES = r"""
- name: Tell the operators by mail
  residency.scheduler.notify:
    channels:
      - name: operators
        kind: mail
        host: mail.example.org
        user: scheduler
        password: "{{ vault_mail_password }}"
        from: Residency Scheduler <scheduler@example.org>
        to: [operators@example.org]
    messages:
      - event: maintenance
        subject: The scheduler is not available tonight from 22:00 to 22:30
        lines: [A new release is put into service., Plan no exports for that time.]

- name: Post into a channel of a chat
  residency.scheduler.notify:
    channels:
      - name: chat
        kind: slack
        url: "{{ vault_chat_url }}"
        events: [failure, rollback]
    messages:
      - event: failure
        subject: The nightly import failed
    facts:
      host: "{{ inventory_hostname }}"
"""

RETURN = r"""
told:
  description: Who was told what; in check mode, who would be.
  returned: always
  type: list
  elements: str
  sample: ["Told operators: Residency Scheduler scheduler.example.org: v1.1.0 serves"]
deliveries:
  description: How it went with each message and channel; empty in check mode. A channel that failed is not tried again.
  returned: always
  type: list
  elements: dict
  contains:
    event:
      description: The message's event.
      type: str
      sample: success
    channel:
      description: The channel's name.
      type: str
      sample: operators
    problem:
      description: Why it was not delivered, without secrets; empty where it was.
      type: str
      sample: "mail.example.org:587: no answer in time"
"""
