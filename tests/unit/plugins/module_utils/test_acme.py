# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ACME: when a certificate is issued and by which command, who answers, and the rules of the inventory's settings."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import acme
from ansible_collections.residency.scheduler.plugins.module_utils.acme import Plan, Present
from ansible_collections.residency.scheduler.plugins.module_utils.tls import Certificate

DOMAIN = "scheduler.example.com"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SETTINGS = {"directory": acme.DIRECTORY, "key_type": "ecdsa", "authenticator": []}
COMMAND = tuple(acme.certbot_command("stack", DOMAIN, "/acme/hook.py", SETTINGS))


def certificate(*, begun: int = 10, left: int = 80, name: str = DOMAIN, self_signed: bool = False) -> Certificate:
    return Certificate((name,), NOW - timedelta(days=begun), NOW + timedelta(days=left), "f", self_signed)


GOOD = certificate()


@pytest.mark.parametrize(
    ("present", "plan"),
    [
        (Present(None, None, (), True), Plan("there is none yet", True, False)),
        (Present(GOOD, GOOD, COMMAND, True), Plan("", False, True)),
        (Present(certificate(self_signed=True), GOOD, COMMAND, False), Plan("", True, False)),
        (Present(certificate(self_signed=True), None, (), False), Plan("there is none yet", True, False)),
        (Present(None, GOOD, COMMAND, False), Plan("", True, False)),
        (Present(GOOD, GOOD, (), True), Plan("the present one was issued with other settings", True, True)),
        (Present(GOOD, certificate(name="old.example.com"), COMMAND, False), Plan("the present one is for old.example.com", True, True)),
        (
            Present(certificate(name="old.example.com"), certificate(name="old.example.com"), COMMAND, True),
            Plan("the present one is for old.example.com", True, False),
        ),
        (Present(certificate(begun=61, left=29), certificate(begun=61, left=29), COMMAND, True),
         Plan("the present one ends on 2026-06-30", True, True)),
        (Present(certificate(begun=59, left=31), certificate(begun=59, left=31), COMMAND, True), Plan("", False, True)),
        (Present(certificate(begun=90, left=-1), certificate(begun=90, left=-1), COMMAND, True),
         Plan("the present one ends on 2026-05-31", True, False)),
    ],
)
def test_the_plan(present: Present, plan: Plan) -> None:
    assert acme.decide(DOMAIN, COMMAND, present, NOW) == plan


def test_the_command() -> None:
    line = " ".join(COMMAND)
    assert line.startswith("certbot certonly --non-interactive --agree-tos --cert-name stack --domains scheduler.example.com ")
    assert "/usr/bin/python3 /acme/hook.py challenge" in COMMAND
    assert COMMAND[-2:] == ("--deploy-hook", "/usr/bin/python3 /acme/hook.py deploy")
    other = acme.certbot_command("stack", DOMAIN, "/acme/hook.py", {**SETTINGS, "authenticator": ["--dns-x"]})
    assert "--dns-x" in other
    assert "--manual" not in other


def test_an_account() -> None:
    assert acme.account("a@example.com") == ["--email", "a@example.com"]
    assert acme.account("") == ["--register-unsafely-without-email"]


def test_what_certbot_says(recorded: Callable[[str], str]) -> None:
    said = acme.told(recorded("certbot-4.0-challenge-failed.stdout"), recorded("certbot-4.0-challenge-failed.stderr"))
    assert said.startswith("Certbot failed to authenticate some domains")
    assert "\nDetail: HTTP request failed: 404\n" in said
    assert "Saving debug log" not in said


@pytest.fixture(name="port")
def port_fixture() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def ask(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_the_run_answers_for_itself(tmp_path: Path, port: int) -> None:
    (tmp_path / "challenge").mkdir()
    (tmp_path / "challenge" / "abc-_1").write_text("abc-_1.thumbprint", encoding="utf-8")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    with acme.answering(str(tmp_path / "challenge"), port) as alone:
        assert alone
        assert ask(port, "/.well-known/acme-challenge/abc-_1") == (200, b"abc-_1.thumbprint")
        for path in ("/.well-known/acme-challenge/../secret", "/.well-known/acme-challenge/other", "/secret", "/"):
            assert ask(port, path)[0] == 404
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/")


def test_who_listens_goes_on(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken, acme.answering(str(tmp_path), taken.getsockname()[1]) as alone:
        assert not alone


@pytest.mark.parametrize(
    ("settings", "domain", "subjects"),
    [
        ({"agree_terms": True}, DOMAIN, []),
        ({"agree_terms": True, "email": "a@example.com", "key_type": "rsa", "authenticator": ["--dns-x"]}, DOMAIN, []),
        ({"agree_terms": True, "directory": "https://ca.lan/directory", "ca_file": "/ca.pem"}, "scheduler.lan", []),
        ({"agree_terms": True}, "", []),
        ({}, DOMAIN, ["environment_acme"]),
        ("yes", DOMAIN, ["environment_acme"]),
        ({"agree_terms": "yes"}, DOMAIN, ["environment_acme.agree_terms"]),
        ({"email": "a@example.com"}, DOMAIN, ["environment_acme.agree_terms"]),
        ({"agree_terms": True, "emial": "a@example.com"}, DOMAIN, ["environment_acme.emial"]),
        ({"agree_terms": True, "email": "nobody"}, DOMAIN, ["environment_acme.email"]),
        ({"agree_terms": True, "directory": "http://x.example/"}, DOMAIN, ["environment_acme.directory"]),
        ({"agree_terms": True, "key_type": "dsa"}, DOMAIN, ["environment_acme.key_type"]),
        ({"agree_terms": True, "challenge_dir": "x"}, DOMAIN, ["environment_acme.challenge_dir"]),
        ({"agree_terms": True, "authenticator": "--standalone"}, DOMAIN, ["environment_acme.authenticator"]),
        ({"agree_terms": True, "authenticator": ["standalone"]}, DOMAIN, ["environment_acme.authenticator"]),
        ({"agree_terms": True, "authenticator": [{}]}, DOMAIN, ["environment_acme.authenticator"]),
        ({"agree_terms": True}, "localhost", ["scheduler_domain"]),
        ({"agree_terms": True}, "scheduler.ward.internal", ["scheduler_domain"]),
        ({"agree_terms": True, "directory": "https://ca.ward.internal/directory"}, "scheduler.ward.internal", []),
    ],
)
def test_the_settings(settings: Any, domain: str, subjects: list[str]) -> None:
    findings = acme.check_settings(settings, domain)
    assert [finding.subject for finding in findings] == subjects
    assert all(finding.found and finding.wanted and finding.remedy for finding in findings)
