# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alerting: told when it begins, again after a while, and when it ends; by the real notification to a real receiver."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import notification
from ansible_collections.residency.scheduler.plugins.module_utils.alerting import Alerts, Entry, decide, messages
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from receivers import WebServer, web_server

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)
DAY = timedelta(hours=24)
FACTS = {"host": "one", "project": "p"}


def sick(subject: str = "db: containers", found: str = "exited") -> Check:
    return judge(subject, False, "1 running", found, "Read the log.")


def entry(runs: int, told: str = "", subject: str = "db: containers") -> dict[str, Entry]:
    return {subject: Entry(subject, "1 running", "exited", "Read the log.", "2026-01-31T01:00:00+00:00", runs, told)}


@pytest.mark.parametrize(
    ("before", "failed", "new", "again", "ended", "runs"),
    [
        ({}, [sick()], 0, 0, 0, 1),  # once is not enough
        (entry(1), [sick()], 1, 0, 0, 2),
        (entry(2, "2026-01-31T01:55:00+00:00"), [sick()], 0, 0, 0, 3),
        (entry(288, "2026-01-30T02:00:00+00:00"), [sick()], 0, 1, 0, 289),
        (entry(288, "2026-01-30T02:09:00+00:00"), [sick()], 0, 1, 0, 289),  # a timer may be early
        (entry(288, "2026-01-30T02:11:00+00:00"), [sick()], 0, 0, 0, 289),
        (entry(288, "2026-07-30T02:00:00+00:00"), [sick()], 0, 1, 0, 289),  # the clock was ahead when it was told
        (entry(3, "2026-01-31T01:55:00+00:00"), [], 0, 0, 1, 0),
        (entry(1), [], 0, 0, 0, None),  # nobody knew of it
        (entry(0, "2026-01-31T01:55:00+00:00"), [], 0, 0, 1, 0),  # its end was not told yet
        (entry(0, "2026-01-31T01:55:00+00:00"), [sick()], 0, 0, 0, 1),  # people still take it for failing
    ],
)
def test_decide(before: dict[str, Entry], failed: list[Check], new: int, again: int, ended: int, runs: int | None) -> None:
    decision = decide(before, failed, NOW, failures=2, remind=DAY)
    assert (len(decision.new), len(decision.again), len(decision.ended)) == (new, again, ended)
    known = decision.untold.get("db: containers")
    assert (known.runs if known else None) == runs
    assert all(item.told == "2026-01-31T02:00:00+00:00" for item in decision.told.values() if new or again)
    assert set(decision.told) == {check.subject for check in failed}


def test_a_look_that_broke_ends_nothing() -> None:
    before = entry(3, "2026-01-31T01:55:00+00:00")
    decision = decide(before, [sick("health: run")], NOW, failures=2, remind=DAY, whole=False)
    assert (decision.new, decision.again, decision.ended) == ((), (), ())
    assert decision.untold["db: containers"] == before["db: containers"]
    assert decide(decision.told, [], NOW, failures=2, remind=DAY).ended[0].subject == "db: containers"


def test_what_was_found_last_is_told_and_since_when_first() -> None:
    decision = decide(entry(1), [sick(found="restarting")], NOW, failures=2, remind=DAY)
    (message,) = messages(decision, FACTS)
    assert message.event == "alert"
    assert message.subject == "p on one: db: containers"
    assert message.lines == (
        "- db: containers: expected 1 running, found restarting (since 2026-01-31T01:00:00+00:00)",
        "  What to do: Read the log.",
    )


def test_one_message_for_what_is_there_and_one_for_what_has_ended() -> None:
    before = {**entry(1), **entry(5, "2026-01-31T01:30:00+00:00", "redis: containers")}
    alert, resolved = messages(decide(before, [sick(), sick("nginx: containers")], NOW, 1, DAY), FACTS)
    assert (alert.subject, alert.facts["findings"]) == ("p on one: db: containers, and 1 more", "2")
    assert (resolved.event, resolved.subject) == ("resolved", "p on one: resolved: redis: containers")


def test_the_way_of_a_finding(tmp_path: Path) -> None:
    with web_server(WebServer(statuses={"/deaf": 500})) as server:
        channels = [{"name": name, "kind": "webhook", "url": server.url(f"/{name}")} for name in ("deaf", "hearing")]
        alerts = Alerts(str(tmp_path), notification.parse(channels), FACTS, DAY)
        for _run in range(3):
            alerts.tell("health", [sick()], NOW, 2)
        alerts.tell("backup", [], NOW, 1)  # knows nothing of what another kind of run has found
        assert [entry.subject for entry in alerts.known()] == ["db: containers"]
        assert [check.subject for check in alerts.deliveries()] == ["channel deaf: delivery"]
        said = alerts.tell("health", [], NOW, 2)
    events = [(post.path, post.document["event"]) for post in server.posts]
    assert sorted(events) == [("/deaf", "alert"), ("/deaf", "resolved"), ("/hearing", "alert"), ("/hearing", "resolved")]
    assert "resolved: p on one: resolved: db: containers" in said
    assert not alerts.known()


def test_what_no_channel_took_is_told_by_the_next_run(tmp_path: Path) -> None:
    server = WebServer(statuses={"/a": 503})
    with web_server(server):
        alerts = Alerts(str(tmp_path), notification.parse([{"name": "a", "kind": "webhook", "url": server.url("/a")}]), FACTS, DAY)
        said = alerts.tell("health", [sick()], NOW, 1)
        assert any(line.startswith("Telling it by a failed: ") for line in said)
        assert not alerts.known()
        server.statuses.clear()
        alerts.tell("health", [sick()], NOW, 1)
        alerts.tell("health", [sick()], NOW, 1)
    assert [post.document["event"] for post in server.posts] == ["alert", "alert"]
    assert not alerts.deliveries()


def test_an_alert_that_was_taken_is_not_told_again_because_the_all_clear_was_not(tmp_path: Path) -> None:
    server = WebServer()
    with web_server(server):
        channel = {"name": "a", "kind": "webhook", "url": server.url("/a")}
        deaf = {"name": "b", "kind": "webhook", "url": server.url("/b"), "events": ["resolved"]}
        Alerts(str(tmp_path), notification.parse([channel]), FACTS, DAY).tell("health", [sick()], NOW, 1)
        server.statuses["/b"] = 503
        alerts = Alerts(str(tmp_path), notification.parse([{**channel, "events": ["alert"]}, deaf]), FACTS, DAY)
        for _run in range(2):
            alerts.tell("health", [sick("redis: containers")], NOW, 1)
        server.statuses.clear()
        alerts.tell("health", [sick("redis: containers")], NOW, 1)
    heard = [post.document["event"] for post in server.posts if post.path == "/a"]
    assert heard == ["alert", "alert"]
    assert [entry.subject for entry in alerts.known()] == ["redis: containers"]
    # Two attempts in vain, and the one that was heard.
    assert [post.document["event"] for post in server.posts if post.path == "/b"] == ["resolved"] * 3


def test_a_disk_that_takes_nothing_is_told_once_and_its_end_too(tmp_path: Path) -> None:
    spare, server = tmp_path / "memory" / "alerts.json", WebServer()
    # A folder in its place: it can be neither read nor replaced, by root neither.
    (tmp_path / "alerts.json").mkdir()
    with web_server(server):
        channels = notification.parse([{"name": "a", "kind": "webhook", "url": server.url("/a")}])
        alerts = Alerts(str(tmp_path), channels, FACTS, DAY, str(spare))
        for _run in range(4):
            alerts.tell("health", [sick()], NOW, 2)
        assert [post.document["event"] for post in server.posts] == ["alert"]
        (tmp_path / "alerts.json").rmdir()
        alerts.tell("health", [], NOW, 2)
    assert [post.document["event"] for post in server.posts] == ["alert", "resolved"]
    assert (tmp_path / "alerts.json").is_file()
    assert not spare.exists()


def test_a_damaged_state_tells_once_more_and_is_whole_again(tmp_path: Path) -> None:
    (tmp_path / "alerts.json").write_text("{", encoding="utf-8")
    alerts = Alerts(str(tmp_path), [], FACTS, DAY)
    assert alerts.tell("health", [sick()], NOW, 1)
    assert json.loads((tmp_path / "alerts.json").read_text(encoding="utf-8"))["sources"]["health"]
    assert (tmp_path / "alerts.json").stat().st_mode & 0o777 == 0o600
