# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages, delivered to real receivers on loopback that take them, refuse them, or do not answer."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.notification import (
    EVENTS,
    SLACK_CHARACTERS,
    Channel,
    Message,
    deliver,
    findings,
    mail,
    one_line,
    parse,
    slack,
    wanting,
    webhook,
)
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from receivers import MailServer, WebServer, certificate, mail_server, web_server

PASSWORD = "pass-7Kq2mX9w"
TOKEN = "T0AbCdEf/B1GhIjKl/mNoPqRsTuVwXyZ012345"
MESSAGE = Message(
    "failure",
    "Residency Scheduler: v1.2.0 failed",
    ("The stage verify failed: nothing listens.", ".a line that begins with a dot", "Zürich <b> & co"),
    {"host": "scheduler", "version": "v1.2.0"},
)


def mail_channel(server: MailServer, **more: Any) -> dict[str, Any]:
    addresses = {"from": "Scheduler <scheduler@example.org>", "to": ["ops@example.org", "it@example.org"]}
    return {"name": "operators", "kind": "mail", "host": "127.0.0.1", "port": server.port, "security": "none", **addresses, **more}


def one(entry: dict[str, Any], message: Message = MESSAGE, timeout: float = 5) -> str:
    """Deliver by one channel, and return its problem."""
    (delivery,) = deliver(parse([entry]), message, timeout)
    assert delivery.channel == entry["name"]
    assert PASSWORD not in delivery.problem
    assert not any(part in delivery.problem for part in TOKEN.split("/"))
    return delivery.problem


# ---- mail ------------------------------------------------------------------------------------------------------------


def test_a_mail_arrives() -> None:
    with mail_server(MailServer()) as server:
        assert one(mail_channel(server)) == ""
    (received,) = server.mails
    assert received.to == ("ops@example.org", "it@example.org")
    assert received.subject == "Residency Scheduler: v1.2.0 failed"
    assert received.content["From"] == "Scheduler <scheduler@example.org>"
    assert received.content["Auto-Submitted"] == "auto-generated"
    assert received.content["Date"]
    assert received.text == "\n".join(MESSAGE.lines) + "\n\nhost: scheduler\nversion: v1.2.0\n"


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "tls"])
def test_a_mail_arrives_protected_and_with_a_login(tmp_path: Path, tls: bool) -> None:
    context, ca_file = certificate(tmp_path)
    with mail_server(MailServer(context=context, tls=tls, login=("scheduler", PASSWORD))) as server:
        entry = mail_channel(server, security="tls" if tls else "starttls", user="scheduler", password=PASSWORD, ca_file=str(ca_file))
        assert one(entry) == ""
        wrong = one({**entry, "password": f"{PASSWORD}x"})
    (received,) = server.mails
    assert received.secured
    assert received.user == "scheduler"
    assert wrong == f"127.0.0.1:{server.port} does not accept user and password (535)"


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "tls"])
def test_a_wrong_certificate_gets_no_mail(tmp_path: Path, tls: bool) -> None:
    context, ca_file = certificate(tmp_path / "other", "DNS:other.example.org")
    _context, unrelated = certificate(tmp_path / "unrelated")
    with mail_server(MailServer(context=context, tls=tls, login=("scheduler", PASSWORD))) as server:
        entry = mail_channel(server, security="tls" if tls else "starttls", user="scheduler", password=PASSWORD)
        assert "the certificate is not valid: self-signed certificate" in one(entry).replace("self signed", "self-signed")
        assert "the certificate is not valid: " in one({**entry, "ca_file": str(unrelated)})
        assert "127.0.0.1" in one({**entry, "ca_file": str(ca_file)})
    assert server.mails == []


def test_starttls_is_required_and_not_just_taken_where_offered() -> None:
    with mail_server(MailServer(login=("scheduler", PASSWORD))) as server:
        problem = one(mail_channel(server, security="starttls", user="scheduler", password=PASSWORD))
    assert "STARTTLS" in problem
    assert server.mails == []


def test_refused_addresses_are_told() -> None:
    with mail_server(MailServer(refuse={"it@example.org": "550 no such user"})) as server:
        assert one(mail_channel(server)).endswith("refused some of the addresses: it@example.org (550 no such user)")
        assert one(mail_channel(server, to=["it@example.org"])).endswith("refused every address: it@example.org (550 no such user)")
    assert [received.to for received in server.mails] == [("ops@example.org",)]


def test_a_server_that_wants_a_login() -> None:
    with mail_server(MailServer(login=("scheduler", PASSWORD))) as server:
        assert one(mail_channel(server)).endswith("answered 530: authenticate first")


def test_a_line_end_in_the_subject_makes_no_header() -> None:
    subject = "failed\r\nBcc: attacker@example.org\n\nA body\x00\u2028of its own"
    with mail_server(MailServer()) as server:
        assert one(mail_channel(server), Message("failure", subject, ("text",), {"a": "b\nBcc: attacker@example.org"})) == ""
    (received,) = server.mails
    assert received.subject == "failed Bcc: attacker@example.org A body of its own"
    assert received.content["Bcc"] is None
    assert received.to == ("ops@example.org", "it@example.org")
    assert received.text == "text\n\na: b Bcc: attacker@example.org\n"


# ---- webhooks --------------------------------------------------------------------------------------------------------


def test_webhooks_arrive() -> None:
    with web_server(WebServer()) as server:
        channels = parse(
            [
                {"name": "chat", "kind": "slack", "url": server.url(f"/services/{TOKEN}")},
                {"name": "hook", "kind": "webhook", "url": server.url("/hook?key=1"), "headers": {"Authorization": f"Bearer {PASSWORD}"}},
            ]
        )
        assert [delivery.problem for delivery in deliver(channels, MESSAGE)] == ["", ""]
    posts = {post.path: post for post in server.posts}
    assert posts[f"/services/{TOKEN}"].document == {
        "text": "*Residency Scheduler: v1.2.0 failed*\nThe stage verify failed: nothing listens.\n"
        ".a line that begins with a dot\nZürich &lt;b&gt; &amp; co"
    }
    hook = posts["/hook?key=1"]
    assert hook.document == {"event": "failure", "subject": MESSAGE.subject, "lines": list(MESSAGE.lines), "facts": dict(MESSAGE.facts)}
    assert hook.headers["Authorization"] == f"Bearer {PASSWORD}"
    assert hook.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "told"), [(404, "it does not know this URL"), (403, "in the headers"), (400, "answered 400"), (500, "answered 500")]
)
def test_an_answer_that_is_no_success_is_told_without_the_address(status: int, told: str) -> None:
    path = f"/services/{TOKEN}"
    with web_server(WebServer(statuses={path: status})) as server:
        problem = one({"name": "hook", "kind": "webhook", "url": server.url(path), "headers": {"X-Key": PASSWORD}})
    assert f"127.0.0.1:{server.port} answered {status}" in problem
    assert told in problem
    assert len(server.posts) == 1


def test_a_wrong_certificate_gets_no_webhook(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    with web_server(WebServer(context=context)) as server:
        entry = {"name": "hook", "kind": "webhook", "url": server.url("/hook", "localhost")}
        assert "the certificate is not valid: " in one(entry)
        assert one({**entry, "ca_file": str(ca_file)}) == ""
        assert one({**entry, "ca_file": str(tmp_path / "none")}) == f"its ca_file {tmp_path}/none cannot be read"
    assert len(server.posts) == 1


# ---- receivers that are not there, or do not answer ------------------------------------------------------------------


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("kind", ["mail", "slack", "webhook"])
def test_a_connection_that_is_refused_is_told(kind: str) -> None:
    server = MailServer(port=closed_port())
    web = {"name": "operators", "kind": kind, "url": f"http://127.0.0.1:{server.port}/{TOKEN}"}
    problem = one(mail_channel(server) if kind == "mail" else web)
    assert problem.startswith(f"127.0.0.1:{server.port}: ")
    assert "refused" in problem


def test_a_name_that_nobody_knows_is_told() -> None:
    problem = one({"name": "hook", "kind": "webhook", "url": f"https://hooks.invalid/{TOKEN}"})
    assert problem.startswith("hooks.invalid:443: ")


@contextlib.contextmanager
def accepting() -> Iterator[int]:
    """Take connections and say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_all_are_told_at_once_and_one_that_never_answers_ends_with_the_time() -> None:
    with accepting() as port, web_server(WebServer()) as server:
        entries = [
            mail_channel(MailServer(port=port), name="mail"),
            mail_channel(MailServer(port=port), name="secured", security="tls"),
            {"name": "chat", "kind": "slack", "url": f"http://127.0.0.1:{port}/{TOKEN}"},
            {"name": "secured chat", "kind": "slack", "url": f"https://127.0.0.1:{port}/{TOKEN}"},
            {"name": "hook", "kind": "webhook", "url": server.url("/hook")},
        ]
        started = time.monotonic()
        deliveries = deliver(parse(entries), MESSAGE, 1.0)
        seconds = time.monotonic() - started
    assert [delivery.channel for delivery in deliveries] == ["mail", "secured", "chat", "secured chat", "hook"]
    assert [delivery.problem for delivery in deliveries[:4]] == [f"127.0.0.1:{port}: no answer in time"] * 4
    assert deliveries[4].problem == ""
    assert len(server.posts) == 1
    assert 1.0 <= seconds < 2.0


def test_one_that_answers_a_byte_at_a_time_ends_with_the_time() -> None:
    with mail_server(MailServer()) as server, socket.create_server(("127.0.0.1", 0)) as slow:
        channels = parse([mail_channel(MailServer(port=slow.getsockname()[1]), name="slow"), mail_channel(server)])
        stop: list[bool] = []

        def drip() -> None:
            connection, _peer = slow.accept()
            with contextlib.suppress(OSError), connection:
                while not stop:
                    connection.sendall(b"220-\r\n")
                    time.sleep(0.2)

        threading.Thread(target=drip, daemon=True).start()
        started = time.monotonic()
        deliveries = deliver(channels, MESSAGE, 1.0)
        stop.append(True)
    assert [delivery.problem for delivery in deliveries] == [f"127.0.0.1:{channels[0].port}: no answer in time", ""]
    assert time.monotonic() - started < 3


def test_only_who_wants_an_event_is_told() -> None:
    with web_server(WebServer()) as server:
        hook = {"kind": "webhook", "url": server.url("/hook")}
        channels = parse([{"name": "all", **hook}, {"name": "bad news", "events": ["failure", "alert"], **hook}])
        for event in EVENTS:
            told = deliver(channels, Message(event, "s", ("l",), {}))
            assert [delivery.channel for delivery in told] == [channel.name for channel in wanting(channels, event)]
    assert [post.document["event"] for post in server.posts].count("failure") == 2
    assert len(server.posts) == len(EVENTS) + 2
    assert deliver([], MESSAGE) == []


# ---- what is configured ----------------------------------------------------------------------------------------------

GOOD_MAIL = {"name": "m", "kind": "mail", "host": "mail.example.org", "from": "a@example.org", "to": ["b@example.org"]}
GOOD_HOOK = {"name": "w", "kind": "webhook", "url": f"https://example.org/{TOKEN}"}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        pytest.param("text", ["notify_channels[0]: found a string, wanted a mapping"], id="no mapping"),
        pytest.param({}, ["notify_channels[0].name: found nothing", "notify_channels[0].kind: found nothing"], id="empty"),
        pytest.param({**GOOD_MAIL, "kind": "sms"}, ['notify_channels[0] (m).kind: found "sms", wanted mail or slack'], id="kind"),
        pytest.param({"name": "m", "kind": "mail"}, ["(m).host: found nothing", "(m).from: found", "(m).to: found nothing"], id="mail"),
        pytest.param({"name": "s", "kind": "slack"}, ["(s).url: found nothing, wanted a value"], id="slack without URL"),
        pytest.param({**GOOD_HOOK, "host": "x"}, ["(w).host: found an unknown field, wanted one of name, kind"], id="unknown field"),
        pytest.param({**GOOD_HOOK, "events": ["failed"]}, ['(w).events: found "failed", wanted a list of start, success'], id="event"),
        pytest.param({**GOOD_HOOK, "events": []}, ["(w).events: found a list of 0"], id="no event"),
        pytest.param({**GOOD_HOOK, "events": "failure"}, ['(w).events: found a string'], id="events as a text"),
        pytest.param({**GOOD_HOOK, "url": f"ftp://example.org/{TOKEN}"}, ["(w).url: found a string, wanted https://HOST"], id="scheme"),
        pytest.param({**GOOD_HOOK, "url": f"https://u:{PASSWORD}@example.org/"}, ["(w).url: found a string"], id="user in the URL"),
        pytest.param({**GOOD_HOOK, "url": f"https://example.org/{TOKEN} x"}, ["(w).url: found a string"], id="blank in the URL"),
        pytest.param({**GOOD_HOOK, "url": f"https://example.org:port/{TOKEN}"}, ["(w).url: found a string"], id="port in the URL"),
        pytest.param({**GOOD_HOOK, "headers": {"X": f"{PASSWORD}\r\nY: z"}}, ["(w).headers.X: found a name or value"], id="header"),
        pytest.param({**GOOD_HOOK, "headers": [PASSWORD]}, ["(w).headers: found a list of 1, wanted a mapping"], id="headers"),
        pytest.param({**GOOD_HOOK, "ca_file": 1}, ["(w).ca_file: found the number 1"], id="ca_file"),
        pytest.param({**GOOD_MAIL, "host": "mail.example.org:25 x"}, ["(m).host: found"], id="host"),
        pytest.param({**GOOD_MAIL, "port": 70000}, ["(m).port: found the number 70000"], id="port"),
        pytest.param({**GOOD_MAIL, "port": "smtp"}, ['(m).port: found "smtp"'], id="port by name"),
        pytest.param({**GOOD_MAIL, "security": ["tls"]}, ["(m).security: found a list"], id="security as a list"),
        pytest.param({**GOOD_MAIL, "to": ["", None]}, ['(m).to: found ""', "(m).to: found nothing"], id="empty recipients"),
        pytest.param({**GOOD_MAIL, "security": "ssl"}, ['(m).security: found "ssl", wanted none or starttls or tls'], id="security"),
        pytest.param({**GOOD_MAIL, "to": "b@example.org"}, ["(m).to: found a string, wanted a list"], id="to"),
        pytest.param({**GOOD_MAIL, "to": ["b@example.org\nBcc: c@example.org"]}, ["(m).to: found"], id="line end in an address"),
        pytest.param({**GOOD_MAIL, "from": "nobody"}, ['(m).from: found "nobody"'], id="from"),
        pytest.param({**GOOD_MAIL, "user": "u"}, ["(m).user: found user or password alone"], id="user alone"),
        pytest.param({**GOOD_MAIL, "user": "u", "password": 1234567}, ["(m).password: found a value of type int"], id="password"),
        pytest.param(
            {**GOOD_MAIL, "user": "u", "password": PASSWORD, "security": "none"},
            ['(m).security: found "none", with a password'],
            id="a password in clear",
        ),
    ],
)
def test_a_wrong_entry_is_named(entry: Any, told: list[str]) -> None:
    with pytest.raises(Problem) as caught:
        parse([entry])
    message = caught.value.message()
    assert message.startswith("Reading notify_channels failed: 1. notify_channels[0]")
    for text in told:
        assert text in message
    assert len(findings([entry])) == len(told)
    assert PASSWORD not in message
    assert TOKEN not in message
    assert "1234567" not in message


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = findings([GOOD_HOOK, {**GOOD_MAIL, "port": 0, "from": "x"}, GOOD_HOOK])
    assert [finding.subject for finding in wrong] == [
        "notify_channels[1] (m).port",
        "notify_channels[1] (m).from",
        "notify_channels[2].name",
    ]
    assert findings({"name": "x"})[0].found == "a mapping of 1"
    assert findings([]) == []
    assert parse([]) == []


def test_what_is_left_out_has_the_usual_value() -> None:
    (channel,) = parse([GOOD_MAIL])
    assert (channel.port, channel.security, channel.events) == (587, "starttls", EVENTS)
    assert [parse([{**GOOD_MAIL, "security": name}])[0].port for name in ("none", "tls")] == [25, 465]
    assert channel.reaches() == "mail to b@example.org by mail.example.org:587"
    assert parse([GOOD_HOOK])[0].reaches() == "webhook at example.org:443"


def test_no_secret_is_in_the_text_of_a_channel() -> None:
    channels = parse([{**GOOD_MAIL, "user": "u", "password": PASSWORD}, {**GOOD_HOOK, "headers": {"X": PASSWORD}}])
    assert PASSWORD not in repr(channels)
    assert TOKEN not in repr(channels)


def test_texts() -> None:
    strange = Message("alert", "a\tb\ud800", ("x" * 5000, "\udcff"), {"n": "\udcff"})
    assert one_line(strange.subject) == "a b?"
    assert len(slack(strange)["text"]) == SLACK_CHARACTERS
    assert webhook(strange)["facts"] == {"n": "?"}
    assert mail(Channel("m", "mail", sender="a@example.org", to=("b@example.org",)), strange).as_bytes()
