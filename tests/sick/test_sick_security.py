"""Each way in which a real stack can be insecure is caught by name, with a remedy; and the shipped one passes.

A verification takes its time, and these ways do not touch each other: several at once make the stack insecure, one verification has to
name each of them, and all are mended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deployed_server import Outcome, Server
from test_sick_stacks import READY, P

HOME = f"/opt/{P}"
TOMORROW = str(datetime.now(UTC).date() + timedelta(days=1))
PASSWORD = f"""$(sed -n "s/^DB_PASSWORD=//p" {HOME}/.env | tr -d "'")"""
CONF = f"{HOME}/nginx/nginx.conf"


def aside(name: str, options: str, *, of_project: bool = False) -> tuple[str, str]:
    """Return the scripts that start a container and remove it; one of the project, by its labels, is no part of the stack either."""
    labels = f"--label com.docker.compose.project={P} --label com.docker.compose.service={name}" if of_project else ""
    start = f"docker run -d --name {name} -u 1001 -m 64m --restart unless-stopped --entrypoint sleep {labels}"
    return f"{start} {options} residency-bed/redis:7 600", f"docker rm -f {name}"


def nginx(expression: str) -> tuple[str, str]:
    """Return the scripts that change nginx's configuration in place, since it is mounted by its inode, and put it back."""
    return (
        f"sed -E '{expression}' {CONF} >/root/nginx.conf; cat /root/nginx.conf >{CONF}; {READY}",
        f"git -C {HOME} show HEAD:nginx/nginx.conf >{CONF}; {READY}",
    )


#: An image with a copy of .env that the next step of its build removes, and a container of it.
BAKED = f"""
folder=$(mktemp -d)
cp {HOME}/.env "$folder/settings"
printf 'FROM residency-bed/redis:7\\nUSER root\\nWORKDIR /srv/app\\nCOPY settings .\\nRUN rm settings\\n' >"$folder/Dockerfile"
docker build --quiet --tag baked "$folder"
rm -r "$folder"
{aside("baked", "", of_project=True)[0].replace("residency-bed/redis:7", "baked")}
"""


@dataclass(frozen=True)
class Insecure:
    """A way to be insecure; the failed check with this id has to tell ``found``."""

    name: str
    make: str
    mend: str
    id: str
    found: str


AROUND_IT = [
    Insecure("a port past the proxy", *aside("wide", "-p 9999:9999"), "network.published:wide:9999", "on 0.0.0.0:9999"),
    Insecure(
        "the socket in a container",
        *aside("docked", "-v /var/run/docker.sock:/socket"),
        "network.socket_mounted:docked",
        "mounts /.*docker.sock",
    ),
    Insecure(
        "a socket for everybody", "chmod 666 /run/docker.sock", "chmod 660 /run/docker.sock", "network.socket_mode", "docker.sock 0666"
    ),
    Insecure("a privileged container", *aside("mighty", "--privileged", of_project=True), "containers.privileged:mighty", "^privileged"),
    Insecure(
        "a secret where nobody needs it",
        *aside("knowing", f'-e DATABASE_URL="postgresql://u:{PASSWORD}@db/x"', of_project=True),
        "secrets.container:knowing",
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
        "a secret in a layer, removed by the next",
        BAKED,
        "docker rm -f baked; docker image rm baked",
        "secrets.image:baked",
        "DB_PASSWORD in /srv/app/settings",
    ),
    Insecure(
        "debug mode",
        f"cp -a {HOME}/.env /root/env; sed -i 's/^DEBUG=.*/DEBUG=1/' {HOME}/.env",
        f"cp -a /root/env {HOME}/.env; rm /root/env",
        "settings.debug:env file",
        "DEBUG=1",
    ),
]
AT_THE_DOOR = [
    Insecure(
        "TLS of 1999",
        *nginx("s/ssl_protocols .*/ssl_protocols TLSv1 TLSv1.1 TLSv1.2;/; s/ssl_ciphers .*/ssl_ciphers ALL:@SECLEVEL=0;/"),
        "tls.old_protocol",
        "TLS 1.0 accepted with ",
    ),
    Insecure(
        "headers that errors come without",
        *nginx("s/(add_header Content-Security-Policy .*) always;/\\1;/"),
        "headers.csp",
        r"not found \(404\): missing; wrong method \(405\): missing",
    ),
    Insecure("no rate limit", *nginx("/zone=login burst/d"), "headers.rate_limit", "0 of 40 requests"),
]
#: These are of severity medium.
SEVERITIES = {"headers.csp": "high", "headers.rate_limit": "high"}


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
    case = AROUND_IT[0]
    waiver = {"check": case.id, "reason": "Until the gateway is moved", "until": TOMORROW}
    try:
        server.ssh(case.make)
        outcome = server.verify(verify_log_seconds=5, verify_security_waivers=[waiver])
    finally:
        server.ssh(case.mend)
    assert outcome.rc == 0, outcome.told()
    assert by_id(outcome)[case.id]["waived"]
    assert by_id(outcome)[case.id]["verdict"] == "warn"


@pytest.mark.parametrize("cases", [AROUND_IT, AT_THE_DOOR], ids=["around it", "at the door"])
def test_each_is_caught_by_name(cases: list[Insecure], server: Server, subtests: pytest.Subtests) -> None:
    try:
        for case in cases:
            server.ssh(case.make)
        outcome = server.verify(verify_log_seconds=5, verify_security_severities=SEVERITIES)
    finally:
        for case in reversed(cases):
            server.ssh(case.mend)
    assert outcome.rc != 0, outcome.told()
    for case in cases:
        with subtests.test(case.name):
            named = [check for check in outcome.names("", case.found) if check.get("id") == case.id]
            assert named, outcome.told()
            assert named[0]["remedy"]
            assert named[0]["subject"] in outcome.output
