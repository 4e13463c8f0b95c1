# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the public address shows to anybody: headers, redirects, hidden files, foreign origins, the rate limit, TLS."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from ansible_collections.residency.scheduler.plugins.module_utils import security_tls, tls
from ansible_collections.residency.scheduler.plugins.module_utils.http_probe import (
    TOO_MANY_REQUESTS,
    Answer,
    Endpoint,
    address_of,
    fetch,
)
from ansible_collections.residency.scheduler.plugins.module_utils.security import Observation, unmade

#: A class of answer: its name, the method, the path.
ANSWERS_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "path": {"type": "str", "required": True},
    "method": {"type": "str", "default": "GET"},
}
#: Referrer policies that tell another site no path.
REFERRER_GOOD = {"no-referrer", "same-origin", "origin", "strict-origin", "origin-when-cross-origin", "strict-origin-when-cross-origin"}
#: Seconds to wait after each answer 429.
PATIENCE = (0.5, 1.0, 2.0)
_UNSAFE_SOURCES = {"*", "http:", "https:", "data:", "'unsafe-inline'", "'unsafe-eval'"}
_VERSION = re.compile(r"/\s*v?\d|\d+\.\d+")
_MADE_UP_TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."  # a JWT without a signature ("alg": "none"), for the user admin


@dataclass(frozen=True)
class Site:
    """The public address, and how to reach it from this host.

    :ivar plain_connect_to: where its port 80 is reached; empty where there is none to ask.
    :ivar trusted: whether the certificate has to be one that browsers trust.
    """

    url: str
    connect_to: str | None
    plain_connect_to: str
    trusted: bool
    ca_file: str | None
    timeout: float

    def endpoint(self, path: str, method: str = "GET", **headers: str) -> Endpoint:
        """Return what to ask below the address; the certificate is judged apart."""
        return Endpoint(
            name=path,
            url=urljoin(self.url, path),
            method=method,
            connect_to=self.connect_to,
            validate_certs=False,
            timeout=self.timeout,
            send_headers=headers,
        )

    @property
    def host(self) -> str:
        """Return the public name."""
        return str(urlsplit(self.url).hostname)


def at_once(endpoints: Sequence[Endpoint]) -> list[Answer]:
    """Ask all of *endpoints*, eight at a time; who is told 429 waits and asks again, since that answer says nothing else."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(_patiently, endpoints))


def _patiently(endpoint: Endpoint) -> Answer:
    for seconds in PATIENCE:
        answer = fetch(endpoint)
        if answer.status != TOO_MANY_REQUESTS:
            return answer
        time.sleep(seconds)
    return fetch(endpoint)


# ---- headers -------------------------------------------------------------------------------------------------------------


def observe_headers(site: Site, classes: Sequence[Mapping[str, str]], thresholds: Mapping[str, Any]) -> list[Observation]:
    """Ask for each class of answer, and judge the headers of all of them."""
    answers = at_once([site.endpoint(item["path"], item.get("method") or "GET") for item in classes])
    return judge_headers({item["name"]: answer for item, answer in zip(classes, answers, strict=True)}, thresholds)


def judge_headers(answers: Mapping[str, Answer], thresholds: Mapping[str, Any]) -> list[Observation]:
    """Judge the headers of *answers*, by the name of their class. Pure."""
    rules: dict[str, Callable[[Mapping[str, str]], str]] = {
        "headers.hsts": lambda headers: _hsts_fault(headers.get("strict-transport-security"), thresholds["hsts_seconds"]),
        "headers.csp": lambda headers: _csp_fault(headers.get("content-security-policy")),
        "headers.csp_unsafe": lambda headers: _csp_unsafe(headers.get("content-security-policy")),
        "headers.nosniff": lambda headers: _one_of(headers.get("x-content-type-options"), {"nosniff"}),
        "headers.framing": _framing_fault,
        "headers.referrer": lambda headers: _referrer_fault(headers.get("referrer-policy")),
        "headers.permissions": lambda headers: "" if headers.get("permissions-policy", "").strip() else "missing",
        "headers.version": _version_told,
    }
    silent = {name: answer.error for name, answer in answers.items() if answer.error}
    if silent or not answers:
        why = "; ".join(f"{name}: {error}" for name, error in silent.items()) or "no class of answer was given"
        return [unmade(rule, why) for rule in rules]
    told = ", ".join(f"{name} ({answer.status})" for name, answer in answers.items())
    observations = []
    for rule, judge in rules.items():
        faults = {name: fault for name, answer in answers.items() if (fault := judge(answer.headers))}
        found = "; ".join(f"{name} ({answers[name].status}): {fault}" for name, fault in faults.items())
        seconds = max(answer.seconds for answer in answers.values())
        observations.append(Observation(rule, not faults, found or f"good in {told}", seconds=seconds))
    return observations


def _hsts_fault(value: str | None, least: int) -> str:
    if value is None:
        return "missing"
    match = re.search(r'(?:^|;)\s*max-age\s*=\s*"?(\d+)', value, re.IGNORECASE)
    return "" if match and int(match.group(1)) >= least else repr(value[:80])


def _directives(policy: str | None) -> dict[str, list[str]]:
    words = [part.split() for part in (policy or "").split(";") if part.strip()]
    return {first.lower(): [item.lower() for item in rest] for first, *rest in words}


def _csp_fault(value: str | None) -> str:
    if value is None:
        return "missing"
    return "" if {"default-src", "script-src"} & set(_directives(value)) else f"neither default-src nor script-src in {value[:80]!r}"


def _csp_unsafe(value: str | None) -> str:
    directives = _directives(value)
    sources = directives.get("script-src", directives.get("default-src", []))
    unsafe = _UNSAFE_SOURCES & set(sources)
    if any(item.startswith(("'nonce-", "'sha256-", "'sha384-", "'sha512-")) for item in sources):
        unsafe -= {"'unsafe-inline'"}  # browsers that know nonces ignore it
    return f"scripts from {', '.join(sorted(unsafe))}" if unsafe else ""


def _framing_fault(headers: Mapping[str, str]) -> str:
    ancestors = _directives(headers.get("content-security-policy")).get("frame-ancestors")
    if ancestors is not None:  # stronger than X-Frame-Options where both are there
        return f"frame-ancestors {' '.join(ancestors)}" if {"*", "http:", "https:"} & set(ancestors) else ""
    return _one_of(headers.get("x-frame-options"), {"deny", "sameorigin"})


def _one_of(value: str | None, good: set[str]) -> str:
    if value is None:
        return "missing"
    return "" if value.strip().lower() in good else repr(value[:80])


def _referrer_fault(value: str | None) -> str:
    # The last policy that a browser knows is the one that counts.
    return _one_of(value.rpartition(",")[2] if value is not None else None, REFERRER_GOOD)


def _version_told(headers: Mapping[str, str]) -> str:
    told = [f"Server: {headers['server']}"] if _VERSION.search(headers.get("server", "")) else []
    told += [f"{name}: {headers[name]}" for name in ("x-powered-by", "x-aspnet-version", "x-runtime") if headers.get(name)]
    return ", ".join(told)[:120]


# ---- redirect, hidden files, origins, Host --------------------------------------------------------------------------------


def observe_redirect(site: Site) -> list[Observation]:
    """Ask for a page by http; one permanent redirect has to lead to https on the same host."""
    path = "/login?next=1"
    plain = replace(site.endpoint(path), url=f"http://{site.host}{path}", connect_to=site.plain_connect_to)
    answer = fetch(plain)
    if answer.error:
        # Nobody who answers there leaks nothing.
        refused = "refused" in answer.error.lower()
        return [Observation("headers.https", True, "port 80 is closed")] if refused else [unmade("headers.https", answer.error)]
    location = urljoin(plain.url, answer.headers.get("location", ""))
    target = urlsplit(location)
    good = answer.status in (301, 308) and target.scheme == "https" and target.hostname == site.host
    found = f"{answer.status}" + (f" to {location}" if answer.headers.get("location") else "")
    return [Observation("headers.https", good, found, seconds=answer.seconds)]


def observe_hidden(site: Site, paths: Sequence[str]) -> list[Observation]:
    """Ask for files that no visitor should see. A page that answers to any path at all is none of them."""
    if not paths:
        return []
    *asked, anything = at_once([site.endpoint(path) for path in [*paths, "/.no-such-file"]])
    answers = dict(zip(paths, asked, strict=True))
    catches_all = 200 <= anything.status < 300 and _is_page(anything)
    silent = [f"{path}: {answer.error}" for path, answer in answers.items() if answer.error]
    if silent:
        return [unmade("headers.hidden_files", "; ".join(silent))]
    open_to_all = [f"{path}: {answer.status}" for path, answer in answers.items() if _shown(answer, catches_all)]
    told = ", ".join(open_to_all or [f"{path}: {answer.status}" for path, answer in answers.items()])
    return [Observation("headers.hidden_files", not open_to_all, told, seconds=max(answer.seconds for answer in answers.values()))]


def _shown(answer: Answer, catches_all: bool) -> bool:
    return 200 <= answer.status < 300 and not (catches_all and _is_page(answer))


def _is_page(answer: Answer) -> bool:
    return answer.headers.get("content-type", "").startswith("text/html")


def observe_protected(site: Site, paths: Sequence[str]) -> list[Observation]:
    """Ask for what needs a login: without a token, and with one that nobody signed. A login page is a refusal too."""
    if not paths:
        return []
    asked = {path: site.endpoint(path) for path in paths}
    asked |= {f"{path} with a made-up token": site.endpoint(path, Authorization=f"Bearer {_MADE_UP_TOKEN}") for path in paths}
    answers = dict(zip(asked, at_once(list(asked.values())), strict=True))
    open_to_all = [f"{name}: {answer.status}" for name, answer in answers.items() if 200 <= answer.status < 300]
    if open_to_all:
        return [Observation("headers.protected", False, ", ".join(open_to_all))]
    told = {name: answer.error or str(answer.status) for name, answer in answers.items()}
    odd = [f"{name}: {text}" for name, text in told.items() if text not in ("401", "403", "302", "303", "307")]
    if odd:
        return [unmade("headers.protected", f"{', '.join(odd)}; name paths that are there in protected_paths")]
    return [Observation("headers.protected", True, ", ".join(f"{name}: {text}" for name, text in told.items()))]


def foreign_origins(host: str) -> list[str]:
    """Return origins that are not ours, those that careless comparisons take for ours too."""
    return ["https://foreign.example", "null", f"https://{host}.foreign.example", f"https://foreign{host}", f"http://{host}:1"]


def observe_origins(site: Site, path: str) -> list[Observation]:
    """Ask with foreign origins, once as a request with a cookie and once as a browser's question beforehand."""
    origins = foreign_origins(site.host)
    asked = [site.endpoint(path, Origin=origin, Cookie="session=none") for origin in origins]
    ask_first = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    asked += [site.endpoint(path, "OPTIONS", Origin=origin, **ask_first) for origin in origins]
    answers = at_once(asked)
    silent = [answer.error for answer in answers if answer.error]
    if silent:
        return [unmade("headers.cors_credentials", silent[0]), unmade("headers.cors", silent[0])]
    open_to: dict[str, bool] = {}
    for endpoint, answer in zip(asked, answers, strict=True):
        origin = endpoint.send_headers["Origin"]
        allowed = answer.headers.get("access-control-allow-origin", "").strip()
        with_credentials = answer.headers.get("access-control-allow-credentials", "").strip().lower() == "true"
        if allowed in (origin, "*"):
            # Browsers refuse credentials together with *.
            open_to[origin] = open_to.get(origin, False) or (with_credentials and allowed != "*")
    trusting = [origin for origin, credentials in open_to.items() if credentials]
    none = f"none of {', '.join(origins)}"
    return [
        Observation("headers.cors_credentials", not trusting, f"allowed: {', '.join(trusting)}" if trusting else none),
        Observation("headers.cors", not open_to, f"allowed: {', '.join(open_to)}" if open_to else none),
    ]


def observe_host(site: Site) -> list[Observation]:
    """Ask with the name of another site: whoever is served the application may poison caches and links."""
    ours, answer = at_once([site.endpoint("/"), site.endpoint("/", Host="foreign.example")])
    if ours.error:
        return [unmade("headers.host", ours.error)]
    served = not answer.error and 200 <= answer.status < 300
    return [Observation("headers.host", not served, answer.error or f"{answer.status}", seconds=answer.seconds)]


def observe_rate_limit(site: Site, limit: Mapping[str, Any], recovers: float) -> list[Observation]:
    """Ask too often; some have to be told 429, and a while later the path has to answer again."""
    asked = replace(site.endpoint(limit["path"], limit["method"]), send={} if limit["method"] == "POST" else None)
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(fetch, [asked] * int(limit["requests"])))
    silent = [answer.error for answer in answers if answer.error]
    if silent:
        return [unmade("headers.rate_limit", silent[0])]
    limited = sum(answer.status == TOO_MANY_REQUESTS for answer in answers)
    found = f"{limited} of {len(answers)} requests to {limit['path']} were told 429"
    if not limited:
        return [Observation("headers.rate_limit", False, found)]
    started = time.monotonic()
    while (again := fetch(asked)).status in (0, TOO_MANY_REQUESTS) and time.monotonic() - started < recovers:
        time.sleep(0.5)
    waited = time.monotonic() - started
    good = again.status not in (0, TOO_MANY_REQUESTS)
    found += f"; {again.status or again.error} after {waited:.1f} s"
    return [Observation("headers.rate_limit", good, found, seconds=waited)]


# ---- TLS -----------------------------------------------------------------------------------------------------------------


def observe_tls(site: Site, thresholds: Mapping[str, Any]) -> list[Observation]:
    """Shake hands well, and badly."""
    address = address_of(site.endpoint("/"))
    return [*_certificate(site, address, thresholds), *_protocols(site, address)]


def _certificate(site: Site, address: tuple[str, int], thresholds: Mapping[str, Any]) -> list[Observation]:
    try:
        served = tls.handshake(address, site.host, site.timeout, site.ca_file)
    except (OSError, ValueError, ImportError) as error:
        return [unmade(rule, str(error)) for rule in ("tls.name", "tls.expired", "tls.lifetime", "tls.chain")]
    return judge_certificate(served, site.host, thresholds, datetime.now(UTC), trusted=site.trusted)


def judge_certificate(
    served: tls.Served, host: str, thresholds: Mapping[str, Any], now: datetime, *, trusted: bool
) -> list[Observation]:
    """Judge the certificate that was served. Pure."""
    certificate = served.certificate
    valid = certificate.not_before <= now < certificate.not_after
    whole = (certificate.not_after - certificate.not_before).total_seconds()
    left = (certificate.not_after - now).total_seconds()
    share = left / whole if valid and whole > 0 else 0.0
    days = f"{left / 86400:.0f} of {whole / 86400:.0f} days left"
    # Validity and name have rules of their own.
    chain = "" if any(word in served.chain_error for word in ("expired", "not yet valid", "mismatch")) else served.chain_error
    return [
        Observation("tls.name", tls.covers(certificate.names, host), f"for {', '.join(certificate.names) or 'no name at all'}"),
        Observation("tls.expired", valid, f"from {certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"),
        Observation("tls.lifetime", share >= thresholds["lifetime_fail"], days),
        Observation("tls.lifetime_soon", share >= thresholds["lifetime_warn"], days),
        Observation("tls.self_signed" if chain and not trusted else "tls.chain", not chain, chain or "trusted"),
    ]


def _protocols(site: Site, address: tuple[str, int]) -> list[Observation]:
    observations = []
    tries = {"tls.old_protocol": ("TLS 1.0", "TLS 1.1"), "tls.weak_cipher": ("TLS 1.2",)}
    for rule, versions in tries.items():
        suites = security_tls.OLD_SUITES if rule == "tls.old_protocol" else security_tls.WEAK_SUITES
        try:
            chosen = {version: security_tls.accepted(address, site.host, version, suites, site.timeout) for version in versions}
        except (OSError, ValueError) as error:
            observations.append(unmade(rule, "no answer in time" if isinstance(error, (socket.timeout, TimeoutError)) else str(error)))
            continue
        bad = [f"{version} accepted with {suite}" for version, suite in chosen.items() if suite]
        observations.append(Observation(rule, not bad, ", ".join(bad) or f"refused with {' and '.join(versions)}"))
    return observations
