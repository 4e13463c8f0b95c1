# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bounded HTTP request, and the judgement of its answer against expectations."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from ansible_collections.residency.scheduler.plugins.module_utils import tls
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge, on_topic

REDIRECTS = (301, 302, 303, 307, 308)
TOO_MANY_REQUESTS = 429
#: Seconds after which answers that took too long are asked for once more.
SECOND_TRY_AFTER = 3.0


@dataclass(frozen=True)
class Endpoint:
    """What to ask, and what to expect.

    :ivar url: full URL; its host is sent as Host and SNI.
    :ivar connect_to: "address:port" to connect to in place of the URL's host.
    :ivar json_values: expected values by dotted path ("database.status").
    :ivar headers: regular expressions by header name.
    :ivar max_seconds: limit for the 95th percentile of the answer times; None for no limit.
    :ivar max_bytes: a longer body is a failure, and is not read further.
    :ivar send: a JSON document to send as the body; may hold secrets, and is never quoted.
    :ivar send_headers: further headers to send; one of the usual names ("Host") takes its place.
    :ivar follow: how many redirects to follow; 0 takes a redirect for the answer itself.
    :ivar rate_limited: what an answer 429 is: ``fail``, or ``accept`` (the service is up and guards itself; such an
        answer is not judged further).
    :ivar tls: also judge protocol and certificate.
    :ivar certificate_file: the certificate that the server has to show (PEM); only with ``tls``.
    :ivar topic: what the checks are evidence of.
    """

    name: str
    url: str
    method: str = "GET"
    status: tuple[int, ...] = (200,)
    json_values: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    max_seconds: float | None = None
    timeout: float = 10.0
    max_bytes: int = 1_000_000
    connect_to: str | None = None
    ca_file: str | None = None
    validate_certs: bool = True
    requests: int = 1
    concurrency: int = 1
    send: Mapping[str, Any] | None = None
    send_headers: Mapping[str, str] = field(default_factory=dict)
    follow: int = 0
    rate_limited: str = "fail"
    tls: bool = False
    certificate_file: str | None = None
    topic: str = "endpoints"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, or the reason why there is none (*error* set, status 0)."""

    status: int
    headers: Mapping[str, str]
    body: str
    seconds: float
    error: str = ""


def fetch(endpoint: Endpoint) -> Answer:
    """Send one request and follow as many redirects as allowed, within ``timeout`` seconds in all."""
    started, asked, way = time.monotonic(), endpoint, [endpoint.url]
    while True:
        answer = _fetch_once(asked)
        location = answer.headers.get("location", "")
        seconds = time.monotonic() - started
        if endpoint.follow <= 0 or answer.status not in REDIRECTS or not location:
            return replace(answer, seconds=seconds)
        url = urljoin(asked.url, location)
        if url in way:
            return replace(answer, status=0, seconds=seconds, error=f"redirect loop: {' -> '.join([*way, url])}")
        if len(way) > endpoint.follow:
            return replace(answer, status=0, seconds=seconds, error=f"more than {endpoint.follow} redirects: {' -> '.join([*way, url])}")
        way.append(url)
        asked = _redirected(asked, url, max(0.1, endpoint.timeout - seconds))


def _redirected(asked: Endpoint, url: str, timeout: float) -> Endpoint:
    """Return what to ask after a redirect: by GET, and at the same address as long as the host is the same."""
    old, new = urlsplit(asked.url), urlsplit(url)
    connect_to = None
    if asked.connect_to and new.hostname == old.hostname:
        same_port = (new.scheme, new.port) == (old.scheme, old.port)
        port = asked.connect_to.rpartition(":")[2] if same_port else str(new.port or (443 if new.scheme == "https" else 80))
        connect_to = f"{asked.connect_to.rpartition(':')[0]}:{port}"
    return replace(asked, url=url, connect_to=connect_to, timeout=timeout, method="GET", send=None)


def _fetch_once(endpoint: Endpoint) -> Answer:
    """Send one request, follow no redirect, read at most ``max_bytes`` within ``timeout`` seconds in all."""
    started = time.monotonic()
    connection: http.client.HTTPConnection | None = None
    late: threading.Timer | None = None
    try:
        connection = _connect(endpoint)
        # http.client limits each read, not their sum: a header of one byte a second would stretch the deadline for ever.
        late = threading.Timer(max(0.0, endpoint.timeout - (time.monotonic() - started)), connection.sock.shutdown, [socket.SHUT_RDWR])
        late.daemon = True
        late.start()
        target = urlsplit(endpoint.url)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        host = target.netloc.rpartition("@")[2]
        headers = {"Host": host, "User-Agent": "residency.scheduler", **endpoint.send_headers}
        body_out = None
        if endpoint.send is not None:
            body_out = json.dumps(endpoint.send).encode()
            headers["Content-Type"] = "application/json"
        connection.request(endpoint.method, path, body=body_out, headers=headers)
        response = connection.getresponse()
        body = _read(response, endpoint)
        if time.monotonic() - started >= endpoint.timeout:
            raise TimeoutError  # what was cut in time may look like an end
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            body.decode("utf-8", "replace"),
            time.monotonic() - started,
        )
    except (OSError, http.client.HTTPException, ValueError) as error:
        seconds = time.monotonic() - started
        return Answer(0, {}, "", seconds, _reason(error if seconds < endpoint.timeout else TimeoutError()))
    finally:
        if late is not None:
            late.cancel()
        if connection is not None:
            connection.close()


def _connect(endpoint: Endpoint) -> http.client.HTTPConnection:
    target = urlsplit(endpoint.url)
    host, port = _host(target), target.port or (443 if target.scheme == "https" else 80)
    sock = socket.create_connection(address_of(endpoint), timeout=endpoint.timeout)
    if target.scheme == "https":
        try:
            sock = _tls_context(endpoint.ca_file, endpoint.validate_certs).wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
    connection = http.client.HTTPConnection(host, port, timeout=endpoint.timeout)
    connection.sock = sock
    return connection


def _host(target: SplitResult) -> str:
    if target.scheme not in ("http", "https") or not target.hostname:
        raise ValueError(f"{target.geturl()!r} is not an http or https URL")
    return target.hostname


def address_of(endpoint: Endpoint) -> tuple[str, int]:
    """Return the address and the port to connect to."""
    target = urlsplit(endpoint.url)
    if not endpoint.connect_to:
        return _host(target), target.port or (443 if target.scheme == "https" else 80)
    address, _colon, port = endpoint.connect_to.rpartition(":")
    return address.strip("[]"), int(port)


@lru_cache(maxsize=16)
def _tls_context(ca_file: str | None, validate: bool) -> ssl.SSLContext:
    # Made once: reading the system's certificates takes longer than many an answer, and would be measured with it.
    if validate:
        return ssl.create_default_context(cafile=ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _read(response: http.client.HTTPResponse, endpoint: Endpoint) -> bytes:
    chunks: list[bytes] = []
    size = 0
    # read1 gives back what has come, so that an endless body ends at the limit.
    while chunk := response.read1(65536):
        chunks.append(chunk)
        size += len(chunk)
        if size > endpoint.max_bytes:
            raise ValueError(f"the body is longer than {endpoint.max_bytes} bytes")
    # read1 raises nothing when the connection ends before the announced length.
    if response.length:
        raise ValueError(f"the body was cut: {response.length} bytes are missing")
    return b"".join(chunks)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "no answer in time"
    return str(error) or type(error).__name__


def probe(endpoint: Endpoint) -> tuple[list[Check], list[Answer]]:
    """Send all requests of *endpoint*, at most ``concurrency`` at once, and judge every answer.

    A first answer that is wrong decides: what does not work need not be asked a hundred times. All together may take
    three times as long as one of them. Good answers that took too long are asked for once more, after a while: a moment
    in which the host was busy with something else is no slow service.
    """
    answers = _ask(endpoint)
    checks = evaluate(endpoint, answers)
    if [check.verdict for check in checks] == ["pass", "fail"]:
        time.sleep(SECOND_TRY_AFTER)
        answers = _ask(endpoint)
        checks = evaluate(endpoint, answers)
    return (checks + _probe_tls(endpoint) if endpoint.tls else checks), answers


def _ask(endpoint: Endpoint) -> list[Answer]:
    answers = [fetch(endpoint)]
    if endpoint.requests > 1 and not _problems(endpoint, answers[0]):
        until = time.monotonic() + 3 * endpoint.timeout
        with ThreadPoolExecutor(max_workers=max(1, min(endpoint.concurrency, endpoint.requests))) as pool:
            more = pool.map(lambda _number: fetch(endpoint) if time.monotonic() < until else None, range(endpoint.requests - 1))
            answers += [answer for answer in more if answer is not None]
    return answers


def _probe_tls(endpoint: Endpoint) -> list[Check]:
    host = str(urlsplit(endpoint.url).hostname)
    try:
        served = tls.handshake(address_of(endpoint), host, endpoint.timeout, endpoint.ca_file)
        on_disk = tls.read(endpoint.certificate_file) if endpoint.certificate_file else None
    except (OSError, ValueError, ImportError) as error:
        remedy = f"Repeat with `openssl s_client -connect {':'.join(map(str, address_of(endpoint)))} -servername {host}`."
        return [judge(f"{endpoint.name}: TLS", False, "a certificate", _reason(error), remedy, topic="tls")]
    return tls.judge_served(endpoint.name, host, served, on_disk, trusted=endpoint.validate_certs, now=datetime.now(UTC))


def evaluate(endpoint: Endpoint, answers: list[Answer]) -> list[Check]:
    """Judge *answers*; the first one that is wrong is the one that is quoted. Pure."""
    limited: list[Answer] = []
    judged: list[Answer] = []
    for answer in answers:
        accepted = endpoint.rate_limited == "accept" and answer.status == TOO_MANY_REQUESTS
        (limited if accepted else judged).append(answer)
    subject = f"{endpoint.name}: {endpoint.method} {endpoint.url}"
    if not judged:
        remedy = "Verify again in a minute, or ask less often."
        found = f"{TOO_MANY_REQUESTS} to each of {len(limited)}: it is up, and limits the rate"
        return [Check(subject, "warn", expectation(endpoint), found, limited[0].seconds, remedy, endpoint.topic)]
    worst = next((answer for answer in judged if _problems(endpoint, answer)), judged[0])
    problems = _problems(endpoint, worst)
    wrong = len([answer for answer in judged if _problems(endpoint, answer)])
    found = "; ".join(problems) if problems else f"{worst.status}, {len(worst.body)} bytes"
    if len(answers) > 1:
        found = f"{wrong} of {len(judged)} answers wrong: {found}" if wrong else f"{len(judged)} times {found}"
    if limited:
        found += f"; {len(limited)} more were {TOO_MANY_REQUESTS}, rate limited"
    checks = [
        judge(
            subject,
            not problems,
            expectation(endpoint),
            found,
            _remedy(endpoint, worst.status),
            worst.seconds,
        )
    ]
    if endpoint.max_seconds is not None and not wrong:
        slowest = percentile([answer.seconds for answer in judged], 95)
        checks.append(
            judge(
                f"{endpoint.name}: response time",
                slowest <= endpoint.max_seconds,
                f"95 % of {len(judged)} within {endpoint.max_seconds:g} s",
                f"{slowest:.3f} s",
                "Look at the load of the server (`docker stats`) and at the slow queries of the database.",
                slowest,
            )
        )
    return on_topic(checks, endpoint.topic)


def _remedy(endpoint: Endpoint, status: int) -> str:
    where = urlsplit(endpoint.url).path or "/"
    if status in (502, 504):
        return (
            f"The proxy reaches no service for {where}. If the service itself is healthy, the proxy holds its address of before:"
            " docker compose exec nginx nginx -s reload."
        )
    return f"Read the log of the service behind {where}; repeat with `curl -v {endpoint.url}`."


def expectation(endpoint: Endpoint) -> str:
    """Return what is expected of *endpoint*, in words."""
    parts = ["status " + " or ".join(str(code) for code in endpoint.status)]
    parts += [f"{path} = {json.dumps(value)}" for path, value in endpoint.json_values.items()]
    parts += [f"header {name} ~ {pattern}" for name, pattern in endpoint.headers.items()]
    parts += [f"body ~ {endpoint.body}"] if endpoint.body else []
    return ", ".join(parts)


def _problems(endpoint: Endpoint, answer: Answer) -> list[str]:
    if answer.error:
        return [answer.error]
    problems = [] if answer.status in endpoint.status else [f"status {answer.status}"]
    for name, pattern in endpoint.headers.items():
        value = answer.headers.get(name.lower())
        if value is None or not re.search(pattern, value):
            problems.append(f"header {name} is {'missing' if value is None else repr(value)}")
    if endpoint.body and not re.search(endpoint.body, answer.body):
        problems.append(f"the body does not match: {answer.body[:80]!r}")
    return problems + _json_problems(endpoint, answer)


def _json_problems(endpoint: Endpoint, answer: Answer) -> list[str]:
    if not endpoint.json_values:
        return []
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return [f"the body is not JSON: {answer.body[:80]!r}"]
    problems = []
    for path, wanted in endpoint.json_values.items():
        value = _at(document, path)
        if value != wanted:
            problems.append(f"{path} is {'missing' if value is None else json.dumps(value)[:80]}")
    return problems


def _at(document: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(document, list) and key.isdigit() and int(key) < len(document):
            document = document[int(key)]
        elif isinstance(document, dict):
            document = document.get(key)
        else:
            return None
    return document


def percentile(values: list[float], percent: float) -> float:
    """Return the nearest-rank percentile of *values*; 0.0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]
