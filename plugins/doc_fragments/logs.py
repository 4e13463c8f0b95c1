# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of what is expected of the logs."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared option documentation of log_review; stack_verify takes the same as its option C(logs)."""

    DOCUMENTATION = r"""
options:
  seconds:
    description:
      - Only lines of the last so many seconds count, and never lines from before the container's start. All since then when left out.
    type: int
  patterns:
    description: Regular expressions; a line that matches one of them is an error.
    type: list
    elements: str
    default: ["\\b(ERROR|CRITICAL|FATAL)\\b", "^Traceback "]
  connection_patterns:
    description:
      - Regular expressions; a line that matches one of them tells of a connection that failed. Up to half a minute after the newest
        container's start that is a warning only, since services look for each other while they start or are replaced.
    type: list
    elements: str
    default:
      - "(?i)connection (refused|reset|timed out)"
      - "(?i)could not (connect|translate host name)"
      - "(?i)lost connection|the database system is starting up"
      - "(?i)password authentication failed|invalid username-password pair"
  resets:
    description:
      - So many requests that nginx lost with a kept connection, which the service behind it was just closing, are a warning. Of more, those
        that O(connection_patterns) matches are failed connections.
    type: int
    default: 3
    version_added: 0.7.0
  ignore:
    description: Regular expressions; a line that matches one of them is never an error.
    type: list
    elements: str
    default: []
  startup:
    description:
      - A regular expression by service, for the line with which it tells that it is up.
    type: dict
    default: {}
  lines:
    description: Lines to read at most from each container.
    type: int
    default: 2000
"""
