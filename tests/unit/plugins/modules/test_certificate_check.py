# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""certificate_check, with real certificates: each way in which a pair must not be installed."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.modules import certificate_check

# The certificates are made a moment later.
NOW = datetime.now(UTC) + timedelta(minutes=10)


def make(folder: Path, name: str, *, names: str = "DNS:scheduler.example.com,DNS:*.example.org", days: int = 90) -> None:
    """Make a pair with OpenSSL."""
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days), "-subj", "/CN=x"]
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    subprocess.run(["openssl", "req", *words, *files, "-addext", f"subjectAltName={names}"], check=True, capture_output=True)


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two good pairs, a key with a passphrase, and files that are none of these."""
    folder = tmp_path_factory.mktemp("certificates")
    make(folder, "good")
    make(folder, "other")
    encrypt = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", str(folder / "good.key"), "-out", str(folder / "locked.key")]
    subprocess.run(encrypt, check=True, capture_output=True)
    (folder / "empty.pem").touch()
    return folder


def judged(folder: Path, fullchain: str = "good.pem", privkey: str = "good.key", now: datetime = NOW, **more: Any) -> list[str]:
    parameters = {"fullchain": str(folder / fullchain), "privkey": str(folder / privkey), "domain": "scheduler.example.com"}
    result = certificate_check.run({**parameters, "days": 7, "warn_days": 30, **more}, now)
    assert result["changed"] is False
    assert all(finding["remedy"] and finding["wanted"] for finding in result["findings"])
    return [finding["found"].replace(f"{folder}/", "") for finding in result["findings"]]


@pytest.mark.parametrize("domain", ["scheduler.example.com", "a.example.org"])
def test_a_good_pair(folder: Path, domain: str) -> None:
    assert judged(folder, domain=domain) == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"privkey": "other.key"}, "the key other.key of another certificate"),
        ({"privkey": "good.pem"}, "good.pem, which cannot be read"),
        ({"privkey": "locked.key"}, "locked.key, which cannot be read"),
        ({"privkey": "gone.key"}, "gone.key, which cannot be read (No such file or directory)"),
        ({"fullchain": "empty.pem"}, "empty.pem, which cannot be read"),
        ({"fullchain": "good.key"}, "good.key, which cannot be read"),
        ({"fullchain": "gone.pem"}, "gone.pem, which cannot be read (No such file or directory)"),
        ({"domain": "www.example.com"}, "one for scheduler.example.com, *.example.org"),
        ({"domain": "a.b.example.org"}, "one for scheduler.example.com, *.example.org"),
        ({"now": NOW + timedelta(days=91)}, "one that ended on"),
        ({"now": NOW + timedelta(days=85)}, "one that ends on"),
        ({"now": NOW - timedelta(days=2)}, "one that begins on"),
    ],
)
def test_a_pair_that_must_not_be_installed(folder: Path, given: dict[str, Any], found: str) -> None:
    (told,) = judged(folder, **given)
    assert told.startswith(found)


def test_all_is_told_at_once(folder: Path) -> None:
    assert len(judged(folder, privkey="other.key", domain="x.example.com", now=NOW + timedelta(days=100))) == 3


@pytest.mark.parametrize(("days", "severities"), [(59, []), (61, ["warns"]), (82, ["warns"]), (84, ["stops"]), (91, ["stops"])])
def test_a_certificate_that_ends_soon(folder: Path, days: int, severities: list[str]) -> None:
    files = {"fullchain": str(folder / "good.pem"), "privkey": str(folder / "good.key"), "domain": "scheduler.example.com"}
    result = certificate_check.run({**files, "days": 7, "warn_days": 30}, NOW + timedelta(days=days))
    assert [finding["severity"] for finding in result["findings"]] == severities
