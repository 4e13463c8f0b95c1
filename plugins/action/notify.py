# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells people, from the controller."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.residency.scheduler.plugins.module_utils.notification import (
    EVENTS,
    Channel,
    Message,
    deliver,
    one_line,
    parse,
    wanting,
)
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

ARGUMENT_SPEC: dict[str, Any] = {
    # Raw, since Ansible would quote a value of the wrong type, and some are secret.
    "channels": {"type": "raw", "required": True},
    "messages": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "event": {"type": "str", "required": True, "choices": list(EVENTS)},
            "subject": {"type": "str", "required": True},
            "lines": {"type": "list", "elements": "str", "default": []},
        },
    },
    "facts": {"type": "dict", "default": {}},
    "timeout": {"type": "float", "default": 10.0},
}


class ActionModule(ActionBase):
    """Needs nothing of the managed host."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Deliver the messages; what goes wrong is a warning, and never fails the task."""
        super().run(tmp, task_vars)
        _result, given = self.validate_argument_spec(ARGUMENT_SPEC)
        messages = [Message(entry["event"], entry["subject"], tuple(entry["lines"]), given["facts"]) for entry in given["messages"]]
        try:
            channels = parse(given["channels"])
        except Problem as problem:
            return {"changed": False, "told": [], "deliveries": [], "warnings": [f"Nobody was told. {problem.message()}"]}
        result = would_tell(channels, messages) if self._task.check_mode else tell(channels, messages, given["timeout"])
        for line in result["told"]:
            self._display.display(line)
        return result


def would_tell(channels: list[Channel], messages: list[Message]) -> dict[str, Any]:
    """Return whom *messages* would reach, and send nothing."""
    told = [
        f"Would tell {channel.name}, {channel.reaches()}: {one_line(message.subject)}"
        for message in messages
        for channel in wanting(channels, message.event)
    ]
    return {"changed": False, "told": told, "deliveries": []}


def tell(channels: list[Channel], messages: list[Message], timeout: float) -> dict[str, Any]:
    """Deliver one message after the other, in their order; a channel that failed is not waited for again."""
    told, deliveries, failed = [], [], {}
    for message in messages:
        for delivery in deliver([channel for channel in channels if channel.name not in failed], message, timeout):
            deliveries.append({"event": message.event, "channel": delivery.channel, "problem": delivery.problem})
            if delivery.problem:
                failed[delivery.channel] = delivery.problem
            else:
                told.append(f"Told {delivery.channel}: {one_line(message.subject)}")
    remedy = "Tell those who read it yourself; the run is not touched by it."
    warnings = [f"The notification by {name} failed: {problem}. {remedy}" for name, problem in failed.items()]
    return {"changed": False, "told": told, "deliveries": deliveries, **({"warnings": warnings} if warnings else {})}
