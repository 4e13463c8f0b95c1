# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP: judging answers, and fetching them from a real server that misbehaves."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import http_probe
from ansible_collections.residency.scheduler.plugins.module_utils.http_probe import (
    Answer,
    Endpoint,
    evaluate,
    expectation,
    fetch,
    percentile,
    probe,
)

PLAIN = Endpoint("api", "http://api.invalid/health")
JSON_BODY = '{"status": "healthy", "database": {"status": "up"}, "workers": [{"name": "a"}], "count": 0}'


def answer(status: int = 200, body: str = "", seconds: float = 0.1, **headers: str) -> Answer:
    return Answer(status, {name.lower().replace("_", "-"): value for name, value in headers.items()}, body, seconds)


@pytest.mark.parametrize(
    ("endpoint", "given", "found"),
    [
        pytest.param(PLAIN, answer(), None, id="200"),
        pytest.param(PLAIN, answer(503), "status 503", id="503"),
        pytest.param(replace(PLAIN, status=(301, 302)), answer(302), None, id="one of several"),
        pytest.param(PLAIN, Answer(0, {}, "", 1.0, "no answer in time"), "no answer in time", id="no answer"),
        pytest.param(replace(PLAIN, status=(0,)), Answer(0, {}, "", 1.0, "refused"), "refused", id="an error never passes"),
        pytest.param(replace(PLAIN, headers={"X-Frame-Options": "DENY"}), answer(X_Frame_Options="DENY"), None, id="header"),
        pytest.param(
            replace(PLAIN, headers={"X-Frame-Options": "DENY"}), answer(), "header X-Frame-Options is missing", id="header missing"
        ),
        pytest.param(
            replace(PLAIN, headers={"X-Frame-Options": "^DENY$"}),
            answer(X_Frame_Options="ALLOW"),
            "header X-Frame-Options is 'ALLOW'",
            id="header wrong",
        ),
        pytest.param(replace(PLAIN, body="Log ?in"), answer(body="<h1>Login</h1>"), None, id="body"),
        pytest.param(replace(PLAIN, body="Login"), answer(body="oops"), "the body does not match: 'oops'", id="body wrong"),
        pytest.param(
            replace(PLAIN, json_values={"status": "healthy", "database.status": "up", "workers.0.name": "a", "count": 0}),
            answer(body=JSON_BODY),
            None,
            id="JSON",
        ),
        pytest.param(
            replace(PLAIN, json_values={"database.status": "down"}), answer(body=JSON_BODY), 'database.status is "up"', id="JSON wrong"
        ),
        pytest.param(replace(PLAIN, json_values={"cache.x": 1}), answer(body=JSON_BODY), "cache.x is missing", id="JSON missing"),
        pytest.param(
            replace(PLAIN, json_values={"status.deeper": 1}), answer(body=JSON_BODY), "status.deeper is missing", id="path through a text"
        ),
        pytest.param(
            replace(PLAIN, json_values={"workers.7.name": 1}), answer(body=JSON_BODY), "workers.7.name is missing", id="index too high"
        ),
        pytest.param(
            replace(PLAIN, json_values={"status": "healthy"}),
            answer(body="<html>It works</html>"),
            "the body is not JSON: '<html>It works</html>'",
            id="HTML instead of JSON",
        ),
        pytest.param(
            replace(PLAIN, json_values={"a": 1}), answer(body="[" * 100_000), "the body is not JSON", id="JSON too deep to read"
        ),
        pytest.param(replace(PLAIN, json_values={"a": 1}), answer(body=""), "the body is not JSON: ''", id="empty body"),
        pytest.param(
            replace(PLAIN, body="x", headers={"A": "b"}), answer(500), "status 500; header A is missing; the body", id="all are told"
        ),
    ],
)
def test_evaluate_one_answer(endpoint: Endpoint, given: Answer, found: str | None) -> None:
    (check,) = evaluate(endpoint, [given])
    assert check.verdict == ("fail" if found else "pass"), check.found
    assert (found or "200" if given.status == 200 else found or str(given.status)) in check.found
    assert bool(check.remedy) == (check.verdict == "fail")


def test_one_wrong_answer_of_many_fails_and_is_quoted() -> None:
    (check,) = evaluate(replace(PLAIN, requests=3, max_seconds=9.0), [answer(), answer(502), answer()])
    assert (check.verdict, check.found) == ("fail", "1 of 3 answers wrong: status 502")


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [([0.1] * 20, "pass"), ([0.1] * 19 + [9.0], "pass"), ([0.1] * 18 + [9.0] * 2, "fail"), ([1.0], "pass"), ([1.01], "fail")],
)
def test_response_time_is_the_95th_percentile(seconds: list[float], verdict: str) -> None:
    checks = evaluate(replace(PLAIN, max_seconds=1.0), [answer(seconds=value) for value in seconds])
    assert [check.verdict for check in checks] == ["pass", verdict]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 95, 0.0), ([7.0], 95, 7.0), ([3.0, 1.0, 2.0], 50, 2.0), ([float(n) for n in range(1, 101)], 95, 95.0), ([1.0, 2.0], 100, 2.0)],
)
def test_percentile(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_expectation_names_everything() -> None:
    endpoint = replace(PLAIN, status=(200, 204), json_values={"a.b": "c"}, headers={"X": "y"}, body="z")
    assert expectation(endpoint) == 'status 200 or 204, a.b = "c", header X ~ y, body ~ z'


class WellBehaved(BaseHTTPRequestHandler):
    """Answers as an application server does: HTTP/1.1, and the connection stays open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's own name
        """Keep quiet."""


class Misbehaving(BaseHTTPRequestHandler):
    """Answers as its path says."""

    protocol_version = "HTTP/1.0"  # a body ends with the connection, so it may be endless
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # the base class calls it by this name
        self.asked.append(self.path)
        with contextlib.suppress(OSError):  # the client hung up, as it should
            getattr(self, "answer_" + self.path.strip("/").partition("?")[0])()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's own name
        """Keep quiet."""

    def _head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def answer_good(self) -> None:
        self._head(200, Content_Type="application/json", X_Frame_Options="DENY")
        self.wfile.write(json.dumps({"host": self.headers["Host"], "path": self.path}).encode())

    def answer_endless(self) -> None:
        self._head(200)
        while True:
            self.wfile.write(b"x" * 65536)

    def answer_slow(self) -> None:
        self._head(200)
        for _second in range(100):
            self.wfile.write(b"x")
            time.sleep(0.1)

    def answer_slow_headers(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\n")
        for number in range(30):
            self.wfile.write(f"X-{number}: x\r\n".encode())
            time.sleep(0.1)

    def answer_silent(self) -> None:
        time.sleep(3)

    def answer_redirect(self) -> None:
        self._head(302, Location="/good")

    def answer_loop(self) -> None:
        self._head(302, Location="/other_loop")

    def answer_other_loop(self) -> None:
        self._head(302, Location="/loop")

    def answer_far(self) -> None:
        number = int(self.path.partition("?")[2] or 0)
        self._head(302, Location=f"/far?{number + 1}")

    def answer_sometimes(self) -> None:
        self._head(500 if len(self.asked) % 5 == 0 else 200)

    def answer_busy_for_a_moment(self) -> None:
        time.sleep(0.4 if len(self.asked) <= 4 else 0)
        self._head(200)

    def answer_tired(self) -> None:
        time.sleep(0.3)
        self._head(200)

    def answer_limited(self) -> None:
        self._head(429 if len(self.asked) > 3 else 200)

    def do_POST(self) -> None:
        self._head(200)
        self.wfile.write(self.rfile.read(int(self.headers["Content-Length"])))

    def answer_html(self) -> None:
        self._head(200, Content_Type="text/html")
        self.wfile.write(b"<html>It works</html>")

    def answer_garbage(self) -> None:
        self.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")

    def answer_deep(self) -> None:
        self._head(200)
        self.wfile.write(b"[" * 200_000)

    def answer_cut(self) -> None:
        self._head(200, Content_Length="100")
        self.wfile.write(b"short")


@pytest.fixture(name="base", scope="module")
def base_fixture() -> Iterator[str]:
    """Yield the URL of the misbehaving server."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(serving(Misbehaving))


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve in a thread, and yield the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_fetch(base: str) -> None:
    got = fetch(Endpoint("api", f"{base}/good?x=1"))
    assert (got.status, got.error) == (200, "")
    assert json.loads(got.body) == {"host": base.removeprefix("http://"), "path": "/good?x=1"}
    assert got.headers["x-frame-options"] == "DENY"
    assert 0 < got.seconds < 5


@pytest.mark.parametrize(("method", "body"), [("GET", "{}"), ("HEAD", "")])
def test_a_connection_that_stays_open_does_not_hold_the_answer_up(method: str, body: str) -> None:
    with serving(WellBehaved) as url:
        got = fetch(Endpoint("api", url, method=method, timeout=3))
    assert (got.status, got.body, got.error) == (200, body, "")
    assert got.seconds < 2


def test_the_public_name_is_sent_to_the_local_address(base: str) -> None:
    got = fetch(Endpoint("api", "http://scheduler.example.org/good", connect_to=base.removeprefix("http://")))
    assert json.loads(got.body)["host"] == "scheduler.example.org"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("endless", "the body is longer than 100000 bytes"),
        ("slow", "no answer in time"),
        ("silent", "no answer in time"),
        ("garbage", "this is no HTTP"),
        ("cut", "the body was cut: 95 bytes are missing"),
        ("slow_headers", "no answer in time"),
    ],
)
def test_a_bad_answer_ends_in_time_and_is_an_error(base: str, path: str, error: str) -> None:
    started = time.monotonic()
    got = fetch(Endpoint("api", f"{base}/{path}", timeout=0.5, max_bytes=100_000))
    assert error in got.error
    assert time.monotonic() - started < 2.5


def test_a_redirect_is_told_not_followed(base: str) -> None:
    Misbehaving.asked.clear()
    got = fetch(Endpoint("api", f"{base}/redirect"))
    assert (got.status, got.headers["location"]) == (302, "/good")
    assert Misbehaving.asked == ["/redirect"]


@pytest.mark.parametrize(
    ("path", "follow", "status", "error"),
    [
        ("redirect", 1, 200, ""),
        ("loop", 5, 0, "redirect loop: BASE/loop -> BASE/other_loop -> BASE/loop"),
        ("far", 2, 0, "more than 2 redirects: BASE/far -> BASE/far?1 -> BASE/far?2 -> BASE/far?3"),
        ("loop", 0, 302, ""),
    ],
)
def test_redirects_are_followed_so_far_and_no_further(base: str, path: str, follow: int, status: int, error: str) -> None:
    got = fetch(Endpoint("page", f"{base}/{path}", follow=follow))
    assert (got.status, got.error) == (status, error.replace("BASE", base))


def test_a_document_is_sent(base: str) -> None:
    got = fetch(Endpoint("login", f"{base}/", method="POST", send={"username": "a", "password": 'quote " é'}))
    assert json.loads(got.body) == {"username": "a", "password": 'quote " é'}


def test_one_answer_in_five_is_an_error(base: str) -> None:
    Misbehaving.asked.clear()
    checks, answers = probe(Endpoint("api", f"{base}/sometimes", requests=20, concurrency=4))
    assert (checks[0].verdict, len(answers)) == ("fail", 20)
    assert checks[0].found == "4 of 20 answers wrong: status 500"


def test_what_does_not_work_at_all_is_asked_once(base: str) -> None:
    Misbehaving.asked.clear()
    checks, _answers = probe(Endpoint("api", f"{base}/silent", requests=100, timeout=0.3))
    assert (checks[0].verdict, checks[0].found, len(Misbehaving.asked)) == ("fail", "no answer in time", 1)


@pytest.mark.parametrize(("path", "verdict", "asked"), [("busy_for_a_moment", "pass", 8), ("tired", "fail", 8), ("good", "pass", 4)])
def test_only_what_stays_slow_is_slow(
    path: str, verdict: str, asked: int, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_probe, "SECOND_TRY_AFTER", 0.1)
    Misbehaving.asked.clear()
    checks, _answers = probe(Endpoint("api", f"{base}/{path}", requests=4, max_seconds=0.2))
    assert ([check.verdict for check in checks], len(Misbehaving.asked)) == (["pass", verdict], asked)


@pytest.mark.parametrize(
    ("rate_limited", "verdict", "found"),
    [
        ("accept", "pass", "3 times 200, 0 bytes; 7 more were 429, rate limited"),
        ("fail", "fail", "7 of 10 answers wrong: status 429"),
    ],
)
def test_a_rate_limit_is_taken_as_told(base: str, rate_limited: str, verdict: str, found: str) -> None:
    Misbehaving.asked.clear()
    checks, _answers = probe(Endpoint("api", f"{base}/limited", requests=10, rate_limited=rate_limited))
    assert (checks[0].verdict, checks[0].found) == (verdict, found)


def test_nothing_but_rate_limits_proves_little() -> None:
    (check,) = evaluate(replace(PLAIN, rate_limited="accept"), [answer(429)])
    assert (check.verdict, check.found) == ("warn", "429 to each of 1: it is up, and limits the rate")


@pytest.mark.parametrize("path", ["html", "deep"])
def test_what_is_no_json_fails_the_check(base: str, path: str) -> None:
    checks, _answers = probe(Endpoint("api", f"{base}/{path}", json_values={"status": "healthy"}))
    assert [check.verdict for check in checks] == ["fail"]
    assert "the body is not JSON" in checks[0].found


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:1/", "refused"),
        ("ftp://127.0.0.1/", "is not an http or https URL"),
        ("http:///nothing", "is not an http or https URL"),
        ("http://127.0.0.1:port/", "port"),
    ],
)
def test_no_connection_is_an_error(url: str, error: str) -> None:
    got = fetch(Endpoint("api", url, timeout=2))
    assert (got.status, error in got.error.lower() or error in got.error) == (0, True), got.error


def test_plain_http_behind_https_is_an_error(base: str) -> None:
    got = fetch(Endpoint("api", base.replace("http://", "https://") + "/good", timeout=2))
    assert got.status == 0
    assert got.error


def test_probe_sends_all_requests(base: str) -> None:
    Misbehaving.asked.clear()
    checks, answers = probe(Endpoint("api", f"{base}/good", requests=8, concurrency=4, max_seconds=5.0))
    assert [check.verdict for check in checks] == ["pass", "pass"]
    assert len(answers) == len(Misbehaving.asked) == 8
