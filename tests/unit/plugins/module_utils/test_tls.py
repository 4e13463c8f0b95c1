# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS: real handshakes with a server that shows good and bad certificates."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import tls
from ansible_collections.residency.scheduler.plugins.module_utils.http_probe import Endpoint, probe

x509 = pytest.importorskip("cryptography.x509")
hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")

HOST = "scheduler.example.org"


def make(folder: Path, *, names: tuple[str, ...] = (HOST,), first: float = -1, last: float = 89, file: str = "chain.pem") -> Path:
    """Write a self-signed certificate and its key, valid from *first* to *last* days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0] if names else "nobody")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=first))
        .not_valid_after(now + timedelta(days=last))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(entry) for entry in names]), critical=False)
    made = builder.sign(key, hashes.SHA256())
    (folder / file).write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / file


@contextlib.contextmanager
def serving(pem: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Iterator[str]:
    """Serve one answer per connection by TLS, and yield the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.maximum_version = version
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _peer = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
                secured.recv(4096)
                secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def verdicts(pem: Path, *, trusted: bool = False, certificate_file: Path | None = None, ca_file: Path | None = None) -> dict[str, str]:
    """Return the findings that are no pass, by subject."""
    with serving(pem) as address:
        endpoint = Endpoint(
            "page",
            f"https://{HOST}/",
            connect_to=address,
            timeout=3,
            tls=True,
            validate_certs=trusted,
            ca_file=str(ca_file) if ca_file else None,
            certificate_file=str(certificate_file) if certificate_file else None,
        )
        checks, _answers = probe(endpoint)
    return {check.subject.removeprefix("page: "): f"{check.verdict}: {check.found}" for check in checks if check.verdict != "pass"}


def test_a_good_certificate_passes(tmp_path: Path) -> None:
    pem = make(tmp_path)
    assert verdicts(pem, certificate_file=pem) == {}
    assert verdicts(pem, trusted=True, ca_file=pem) == {}


@pytest.mark.parametrize(
    ("names", "first", "last", "subject", "found"),
    [
        ((HOST,), -90, -1, "certificate's lifetime", "fail: expired "),
        ((HOST,), 1, 90, "certificate's lifetime", "fail: valid only from "),
        ((HOST,), -80, 10, "certificate's lifetime", "fail: 10 of 90 days left"),
        ((HOST,), -65, 25, "certificate's lifetime", "warn: 25 of 90 days left"),
        (("other.example.org",), -1, 89, "certificate's name", "fail: for other.example.org"),
        ((), -1, 89, "certificate's name", "fail: for no name at all"),
    ],
)
def test_a_bad_certificate_is_told(names: tuple[str, ...], first: float, last: float, subject: str, found: str, tmp_path: Path) -> None:
    told = verdicts(make(tmp_path, names=names, first=first, last=last))
    assert list(told) == [subject]
    assert told[subject].startswith(found)


def test_a_chain_that_nobody_trusts(tmp_path: Path) -> None:
    told = verdicts(make(tmp_path), trusted=True)
    assert "self-signed certificate" in told["certificate's chain"]
    assert "self-signed certificate" in told[f"GET https://{HOST}/"]


def test_the_server_shows_another_certificate_than_the_one_on_disk(tmp_path: Path) -> None:
    told = verdicts(make(tmp_path), certificate_file=make(tmp_path, file="renewed.pem"))
    assert list(told) == ["certificate on disk"]


def test_no_tls_at_all(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint("page", f"https://{HOST}/", connect_to=f"127.0.0.1:{listener.getsockname()[1]}", timeout=0.3, tls=True)
        checks, _answers = probe(endpoint)
    assert [check.verdict for check in checks] == ["fail", "fail"]
    assert checks[1].found == "no answer in time"


def test_an_old_protocol_is_told() -> None:
    certificate = tls.Certificate((HOST,), datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), "f")
    served = tls.Served("TLSv1.1", certificate, "")
    checks = tls.judge_served("page", HOST, served, None, trusted=True, now=datetime(2025, 2, 1, tzinfo=UTC))
    assert [check.subject for check in checks if check.verdict != "pass"] == ["page: TLS version"]


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (("a.example.org",), "a.example.org", True),
        (("A.Example.ORG",), "a.example.org", True),
        (("*.example.org",), "a.example.org", True),
        (("*.example.org",), "a.b.example.org", False),
        (("*.example.org",), "example.org", False),
        (("*",), "localhost", False),
        ((), "a.example.org", False),
    ],
)
def test_which_hosts_a_certificate_covers(names: tuple[str, ...], host: str, covered: bool) -> None:
    assert tls.covers(names, host) is covered
