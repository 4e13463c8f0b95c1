# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several messages by several channels, to real receivers."""

from __future__ import annotations

import socket
import time

from ansible_collections.residency.scheduler.plugins.action.notify import tell
from ansible_collections.residency.scheduler.plugins.module_utils.notification import Message, parse
from receivers import WebServer, web_server

MESSAGES = [Message("failure", "v1.2.0 failed", ("why",), {}), Message("rollback", "v1.1.0 serves again", (), {})]


def test_messages_come_in_their_order_and_a_channel_that_failed_is_not_waited_for_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, web_server(WebServer()) as server:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        channels = parse(
            [
                {"name": "dead", "kind": "slack", "url": f"http://{address}/token-9f8e7d"},
                {"name": "hook", "kind": "webhook", "url": server.url("/hook")},
                {"name": "failures", "kind": "webhook", "url": server.url("/failures"), "events": ["failure"]},
            ]
        )
        started = time.monotonic()
        result = tell(channels, MESSAGES, 1.0)
        seconds = time.monotonic() - started
    assert [post.document["event"] for post in server.posts if post.path == "/hook"] == ["failure", "rollback"]
    assert [post.document["event"] for post in server.posts if post.path == "/failures"] == ["failure"]
    assert seconds < 2
    assert not result["changed"]
    assert result["told"] == ["Told hook: v1.2.0 failed", "Told failures: v1.2.0 failed", "Told hook: v1.1.0 serves again"]
    assert [(told["event"], told["channel"]) for told in result["deliveries"]] == [
        ("failure", "dead"),
        ("failure", "hook"),
        ("failure", "failures"),
        ("rollback", "hook"),
    ]
    (warning,) = result["warnings"]
    assert warning.startswith(f"The notification by dead failed: {address}: no answer in time. ")
    assert "9f8e7d" not in str(result)


def test_no_warning_where_all_was_delivered() -> None:
    with web_server(WebServer()) as server:
        result = tell(parse([{"name": "hook", "kind": "webhook", "url": server.url("/hook")}]), MESSAGES, 5.0)
    assert "warnings" not in result
    assert [told["problem"] for told in result["deliveries"]] == ["", ""]
