# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the public address shows: a server that does everything right, and one for each thing that it can do wrong."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import security_web
from ansible_collections.residency.scheduler.plugins.module_utils.http_probe import Answer
from ansible_collections.residency.scheduler.plugins.module_utils.security import THRESHOLDS, Observation
from ansible_collections.residency.scheduler.plugins.module_utils.security_web import Site

GOOD = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=()",
    "Server": "nginx",
}
CLASSES = [
    {"name": "page", "path": "/", "method": "GET"},
    {"name": "API", "path": "/health", "method": "GET"},
    {"name": "not found", "path": "/no-such-path", "method": "GET"},
    {"name": "wrong method", "path": "/health", "method": "POST"},
]
HOST = "scheduler.example.org"


class Server(BaseHTTPRequestHandler):
    """Answers as a good server; subclasses do one thing wrong."""

    protocol_version = "HTTP/1.1"
    pages: ClassVar[Mapping[str, int]] = {"/": 200, "/health": 200, "/private": 401}
    without: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # headers left out, by status

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)

    def answer(self, status: int, **headers: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.send_response(status)
        for name, value in GOOD.items():
            if name not in self.without.get(str(status), ()):
                self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        if self.headers["Host"].partition(":")[0] != HOST:
            self.answer(421)
        else:
            self.answer(self.pages.get(self.path, 404))

    def do_POST(self) -> None:
        self.answer(405 if self.path in self.pages else 404)

    def do_OPTIONS(self) -> None:
        self.answer(400)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's own name
        """Keep quiet."""


@contextlib.contextmanager
def site_of(handler: type[Server]) -> Iterator[Site]:
    """Serve by *handler*, and yield how to ask it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    address = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield Site(f"http://{HOST}", address, address, False, None, 3.0)
    finally:
        server.shutdown()
        server.server_close()


def bad(observations: list[Observation]) -> dict[str, str]:
    """Return what was found of the rules that are broken."""
    return {item.rule: item.found for item in observations if not item.good}


# ---- headers -------------------------------------------------------------------------------------------------------------


def test_good_headers_on_every_class_of_answer() -> None:
    with site_of(Server) as site:
        seen = security_web.observe_headers(site, CLASSES, THRESHOLDS)
    assert bad(seen) == {}
    assert len(seen) == 8
    assert seen[0].found == "good in page (200), API (200), not found (404), wrong method (405)"


def test_headers_that_errors_come_without() -> None:
    """nginx without "always": add_header leaves out the answers 4xx and 5xx."""

    class OnlyWhereGood(Server):
        without: ClassVar[Mapping[str, tuple[str, ...]]] = {"404": tuple(GOOD), "405": ("Referrer-Policy",)}

    with site_of(OnlyWhereGood) as site:
        told = bad(security_web.observe_headers(site, CLASSES, THRESHOLDS))
    assert set(told) == {f"headers.{name}" for name in ("hsts", "csp", "nosniff", "framing", "referrer", "permissions")}
    assert told["headers.hsts"] == "not found (404): missing"
    assert told["headers.referrer"] == "not found (404): missing; wrong method (405): missing"


@pytest.mark.parametrize(
    ("changed", "rule", "found"),
    [
        ({"Strict-Transport-Security": "max-age=300"}, "headers.hsts", "max-age=300"),
        ({"Strict-Transport-Security": "includeSubDomains"}, "headers.hsts", "includeSubDomains"),
        ({"Content-Security-Policy": "frame-ancestors 'none'"}, "headers.csp", "neither default-src nor script-src"),
        ({"Content-Security-Policy": "script-src 'self' 'unsafe-inline'"}, "headers.csp_unsafe", "scripts from 'unsafe-inline'"),
        ({"Content-Security-Policy": "default-src *"}, "headers.csp_unsafe", "scripts from *"),
        ({"X-Content-Type-Options": "none"}, "headers.nosniff", "'none'"),
        ({"X-Frame-Options": "ALLOWALL", "Content-Security-Policy": "default-src 'self'"}, "headers.framing", "'ALLOWALL'"),
        ({"Content-Security-Policy": "default-src 'self'; frame-ancestors *"}, "headers.framing", "frame-ancestors *"),
        ({"Referrer-Policy": "unsafe-url"}, "headers.referrer", "'unsafe-url'"),
        ({"Permissions-Policy": " "}, "headers.permissions", "missing"),
        ({"Server": "nginx/1.25.3"}, "headers.version", "Server: nginx/1.25.3"),
        ({"X-Powered-By": "Next.js"}, "headers.version", "x-powered-by: Next.js"),
    ],
)
def test_each_bad_header(changed: dict[str, str], rule: str, found: str) -> None:
    headers = {name.lower(): value for name, value in {**GOOD, **changed}.items()}
    told = bad(security_web.judge_headers({"page": Answer(200, headers, "", 0.1)}, THRESHOLDS))
    assert list(told) == [rule]
    assert found in told[rule]


@pytest.mark.parametrize(
    "changed",
    [
        {"Content-Security-Policy": "script-src 'nonce-abc' 'unsafe-inline'; frame-ancestors 'self'"},
        {"Content-Security-Policy": "default-src 'self'", "X-Frame-Options": "sameorigin"},
        {"Referrer-Policy": "no-such-policy, no-referrer"},
        {"Strict-Transport-Security": 'MAX-AGE="31536000"'},
        {"Server": "uvicorn"},
    ],
)
def test_headers_that_are_good_in_another_way(changed: dict[str, str]) -> None:
    headers = {name.lower(): value for name, value in {**GOOD, **changed}.items()}
    assert bad(security_web.judge_headers({"page": Answer(200, headers, "", 0.1)}, THRESHOLDS)) == {}


def test_no_answer_is_no_good_answer() -> None:
    seen = security_web.judge_headers({"page": Answer(0, {}, "", 0.1, "refused")}, THRESHOLDS)
    assert len(bad(seen)) == 8
    assert not any(item.made for item in seen)
    assert len(bad(security_web.judge_headers({}, THRESHOLDS))) == 8


# ---- redirect, hidden files, origins, Host --------------------------------------------------------------------------------


def redirecting(status: int, location: str) -> type[Server]:
    class Redirecting(Server):
        def do_GET(self) -> None:
            self.answer(status, **({"Location": location} if location else {}))

    return Redirecting


@pytest.mark.parametrize(
    ("status", "location", "good"),
    [
        (301, f"https://{HOST}/login?next=1", True),
        (308, f"https://{HOST}/", True),
        (302, f"https://{HOST}/", False),
        (301, f"http://{HOST}/elsewhere", False),
        (301, "/elsewhere", False),
        (301, "https://foreign.example/", False),
        (200, "", False),
    ],
)
def test_http_to_https(status: int, location: str, good: bool) -> None:
    with site_of(redirecting(status, location)) as site:
        (seen,) = security_web.observe_redirect(site)
    assert seen.good is good
    assert str(status) in seen.found


def test_a_closed_port_80_is_good() -> None:
    with site_of(Server) as site:
        pass
    (seen,) = security_web.observe_redirect(site)
    assert (seen.good, seen.found) == (True, "port 80 is closed")


def test_hidden_files() -> None:
    class Careless(Server):
        pages: ClassVar[Mapping[str, int]] = {"/": 200, "/.git/HEAD": 200}

    for handler, found in ((Server, "/.env: 404, /.git/HEAD: 404"), (Careless, "/.git/HEAD: 200")):
        with site_of(handler) as site:
            (seen,) = security_web.observe_hidden(site, ["/.env", "/.git/HEAD"])
        assert (seen.good, seen.found) == (handler is Server, found)

    class OnePage(Server):
        def do_GET(self) -> None:
            self.answer(200, Content_Type="text/plain" if self.path == "/.git/HEAD" else "text/html; charset=utf-8")

    with site_of(OnePage) as site:
        (page,) = security_web.observe_hidden(site, ["/.env"])
        (seen,) = security_web.observe_hidden(site, ["/.env", "/.git/HEAD"])
    assert (page.good, seen.good, seen.found) == (True, False, "/.git/HEAD: 200")
    (seen,) = security_web.observe_hidden(site, ["/.env"])  # nobody answers any more
    assert (seen.good, seen.made) == (False, False)


def test_protected_paths() -> None:
    class Open(Server):
        pages: ClassVar[Mapping[str, int]] = {"/private": 200}

    class TrustsAnyToken(Server):
        def do_GET(self) -> None:
            self.answer(200 if self.headers.get("Authorization") else 401)

    class SendsToLogin(Server):
        pages: ClassVar[Mapping[str, int]] = {"/private": 303}

    for handler, good, made, found in (
        (Server, True, True, "/private: 401, /private with a made-up token: 401"),
        (SendsToLogin, True, True, "/private: 303, /private with a made-up token: 303"),
        (Open, False, True, "/private: 200, /private with a made-up token: 200"),
        (TrustsAnyToken, False, True, "/private with a made-up token: 200"),
    ):
        with site_of(handler) as site:
            (seen,) = security_web.observe_protected(site, ["/private"])
        assert (seen.good, seen.made, seen.found) == (good, made, found)
    with site_of(Server) as site:
        (seen,) = security_web.observe_protected(site, ["/gone"])
    assert (seen.good, seen.made) == (False, False)
    assert "name paths that are there" in seen.found


def trusting(*origins: str, credentials: bool = True, beforehand: bool = False) -> type[Server]:
    class Trusting(Server):
        def trust(self, status: int) -> None:
            origin = self.headers.get("Origin", "")
            allowed = "*" if "*" in origins else origin if any(item in origin for item in origins) else ""
            headers = {"Access_Control_Allow_Origin": allowed} if allowed else {}
            if credentials:
                headers["Access_Control_Allow_Credentials"] = "true"
            self.answer(status, **headers)

        def do_GET(self) -> None:
            self.answer(200) if beforehand else self.trust(200)

        def do_OPTIONS(self) -> None:
            self.trust(200)

    return Trusting


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (Server, {}),
        (trusting("https://only.example"), {}),
        (trusting("foreign.example", beforehand=True), {"headers.cors_credentials": "https://foreign.example", "headers.cors": ""}),
        (trusting("null"), {"headers.cors_credentials": "allowed: null", "headers.cors": "allowed: null"}),
        # A comparison by the beginning, and one by the end.
        (trusting(f"https://{HOST}"), {"headers.cors_credentials": f"https://{HOST}.foreign.example", "headers.cors": ""}),
        (trusting(f"foreign{HOST}"), {"headers.cors_credentials": f"https://foreign{HOST}", "headers.cors": ""}),
        (trusting(f"http://{HOST}"), {"headers.cors_credentials": f"allowed: http://{HOST}:1", "headers.cors": ""}),
        (trusting("*", credentials=False), {"headers.cors": "https://foreign.example"}),
        (trusting("foreign.example", credentials=False), {"headers.cors": "https://foreign.example"}),
    ],
)
def test_foreign_origins(handler: type[Server], told: dict[str, str]) -> None:
    with site_of(handler) as site:
        found = bad(security_web.observe_origins(site, "/health"))
    assert set(found) == set(told)
    assert all(words in found[rule] for rule, words in told.items())


def test_another_host() -> None:
    class AnyName(Server):
        def do_GET(self) -> None:
            self.answer(200)

    class HangsUp(Server):
        def do_GET(self) -> None:
            if self.headers["Host"] == HOST:
                self.answer(200)
            self.close_connection = True

    for handler, good, found in ((Server, True, "421"), (HangsUp, True, "closed connection"), (AnyName, False, "200")):
        with site_of(handler) as site:
            (seen,) = security_web.observe_host(site)
        assert (seen.good, seen.made) == (good, True)
        assert found in seen.found
    (seen,) = security_web.observe_host(site)  # nobody answers any more
    assert (seen.good, seen.made) == (False, False)


# ---- rate limit ----------------------------------------------------------------------------------------------------------


def limiting(burst: int, recovers_after: float) -> type[Server]:
    class Limiting(Server):
        times: ClassVar[list[float]] = []

        def do_POST(self) -> None:
            now = time.monotonic()
            recent = [moment for moment in self.times if now - moment < recovers_after]
            if len(recent) < burst:
                self.times.append(now)
            self.answer(422 if len(recent) < burst else 429)

    return Limiting


@pytest.mark.parametrize(
    ("handler", "good", "found"),
    [
        (limiting(5, 0.6), True, "429; 422 after"),
        (limiting(1000, 1), False, "0 of 20 requests to /login were told 429"),
        (limiting(5, 60), False, "429 after"),
    ],
)
def test_rate_limit(handler: type[Server], good: bool, found: str) -> None:
    limit: dict[str, Any] = {"path": "/login", "method": "POST", "requests": 20}
    with site_of(handler) as site:
        (seen,) = security_web.observe_rate_limit(site, limit, recovers=2)
    assert seen.good is good
    assert found in seen.found


def test_who_is_told_429_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(Server):
        left: ClassVar[list[int]] = [1, 1]

        def do_GET(self) -> None:
            self.answer(429 if self.left and self.left.pop() else 401)

    monkeypatch.setattr(security_web, "PATIENCE", (0.01, 0.01, 0.01))
    with site_of(Busy) as site:
        (seen,) = security_web.observe_protected(site, ["/private"])
    assert seen.good
