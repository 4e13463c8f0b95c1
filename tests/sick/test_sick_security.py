"""Each way in which a real stack can be insecure is caught by name, with a remedy; and the shipped one passes.

A case makes the stack insecure, verifies, and mends it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deployed_server import Outcome, Server
from test_sick_stacks import READY, P

HOME = f"/opt/{P}"
TOMORROW = str(datetime.now(UTC).date() + timedelta(days=1))
PASSWORD = f"""$(sed -n "s/^DB_PASSWORD=//p" {HOME}/.env | tr -d "'")"""
# Of the project by its labels, and no part of the stack.
OF_PROJECT = f"--label com.docker.compose.project={P} --label com.docker.compose.service=aside"
ASIDE = "docker run -d --name aside -u 1001 -m 64m --restart unless-stopped --entrypoint sleep"
IMAGE = "residency-bed/redis:7 600"
CONF = f"{HOME}/nginx/nginx.conf"


def nginx(expression: str) -> str:
    """Return the script that changes nginx's configuration in place: it is mounted by its inode."""
    return f"cp {CONF} /root/nginx.conf; sed -E '{expression}' /root/nginx.conf > {CONF}; {READY}"


NGINX_BACK = f"cat /root/nginx.conf > {CONF}; {READY}"


@dataclass(frozen=True)
class Insecure:
    """A way to be insecure; the failed check with this id has to tell ``found``."""

    name: str
    make: str
    mend: str
    id: str
    found: str
    variables: dict[str, Any] = field(default_factory=dict)


CASES = [
    Insecure(
        "a port past the proxy",
        f"{ASIDE} -p 9999:9999 {IMAGE}",
        "docker rm -f aside",
        "network.published:aside:9999",
        "on 0.0.0.0:9999",
    ),
    Insecure(
        "the socket in a container",
        f"{ASIDE} -v /var/run/docker.sock:/socket {IMAGE}",
        "docker rm -f aside",
        "network.socket_mounted:aside",
        "mounts /.*docker.sock",
    ),
    Insecure(
        "a socket for everybody", "chmod 666 /run/docker.sock", "chmod 660 /run/docker.sock", "network.socket_mode", "docker.sock 0666"
    ),
    Insecure(
        "a privileged container",
        f"{ASIDE} {OF_PROJECT} --privileged {IMAGE}",
        "docker rm -f aside",
        "containers.privileged:aside",
        "^privileged",
    ),
    Insecure(
        "a secret where nobody needs it",
        f'{ASIDE} {OF_PROJECT} -e DATABASE_URL="postgresql://u:{PASSWORD}@db/x" {IMAGE}',
        "docker rm -f aside",
        "secrets.container:aside",
        "has DB_PASSWORD",
    ),
    Insecure(
        "an env file for everybody", f"chmod 644 {HOME}/.env", f"chmod 600 {HOME}/.env", "secrets.env_mode", r"\.env 0644"
    ),
    Insecure(
        "a secret in git",
        f"echo \"password = {PASSWORD}\" | git -C {HOME} hash-object -w --stdin > /root/object",
        f"name=$(cat /root/object); rm -f {HOME}/.git/objects/${{name:0:2}}/${{name:2}}",
        "secrets.git",
        "DB_PASSWORD in object ",
    ),
    Insecure(
        "debug mode",
        f"cp -a {HOME}/.env /root/env; sed -i 's/^DEBUG=.*/DEBUG=1/' {HOME}/.env",
        f"cp -a /root/env {HOME}/.env; rm /root/env",
        "settings.debug:env file",
        "DEBUG=1",
    ),
    Insecure(
        "TLS of 1999",
        nginx("s/ssl_protocols .*/ssl_protocols TLSv1 TLSv1.1 TLSv1.2;/; s/ssl_ciphers .*/ssl_ciphers ALL:@SECLEVEL=0;/"),
        NGINX_BACK,
        "tls.old_protocol",
        "TLS 1.0 accepted with ",
    ),
    Insecure(
        "headers that errors come without",
        nginx("s/(add_header Content-Security-Policy .*) always;/\\1;/"),
        NGINX_BACK,
        "headers.csp",
        r"not found \(404\): missing; wrong method \(405\): missing",
        variables={"verify_security_severities": {"headers.csp": "high"}},
    ),
    Insecure(
        "no rate limit",
        nginx("/zone=login burst/d"),
        NGINX_BACK,
        "headers.rate_limit",
        "0 of 40 requests",
        variables={"verify_security_severities": {"headers.rate_limit": "high"}},
    ),
]


def by_id(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return the checks of the review by their ids."""
    return {check["id"]: check for line in outcome.report["lines"] for check in line["evidence"] if "id" in check}


def test_the_shipped_stack_passes_with_warnings(server: Server) -> None:
    outcome = server.verify(verify_log_seconds=5)
    assert outcome.rc == 0, outcome.told()
    checks = by_id(outcome)
    high = [name for name, check in checks.items() if check["verdict"] == "warn" and check["severity"] in ("high", "critical")]
    assert not high
    assert not [name for name, check in checks.items() if "could not be checked" in check["found"]]


def test_what_was_accepted_fails_no_more(server: Server) -> None:
    case = CASES[0]
    waiver = {"check": case.id, "reason": "Until the gateway is moved", "until": TOMORROW}
    try:
        server.ssh(case.make)
        outcome = server.verify(verify_log_seconds=5, verify_security_waivers=[waiver])
    finally:
        server.ssh(case.mend)
    assert outcome.rc == 0, outcome.told()
    assert by_id(outcome)[case.id]["waived"]
    assert by_id(outcome)[case.id]["verdict"] == "warn"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_caught_by_name(case: Insecure, server: Server) -> None:
    try:
        server.ssh(case.make)
        outcome = server.verify(verify_log_seconds=5, **case.variables)
    finally:
        server.ssh(case.mend)
    assert outcome.rc != 0, outcome.told()
    named = [check for check in outcome.names("", case.found) if check.get("id") == case.id]
    assert named, outcome.told()
    assert named[0]["remedy"]
    assert named[0]["subject"] in outcome.output


def test_after_all_that_it_is_as_before(server: Server) -> None:
    outcome = server.verify(verify_log_seconds=5)
    assert outcome.rc == 0, outcome.told()
