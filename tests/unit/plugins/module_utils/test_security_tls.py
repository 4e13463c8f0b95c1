# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS as the review sees it: servers that still accept what they should refuse, and certificates of all kinds."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import security_tls, security_web, tls
from ansible_collections.residency.scheduler.plugins.module_utils.security import THRESHOLDS
from ansible_collections.residency.scheduler.plugins.module_utils.security_web import Site

pytest.importorskip("cryptography.x509")

HOST = "scheduler.example.org"


def make(folder: Path, *, rsa: bool = False) -> Path:
    """Write a self-signed certificate and its key."""
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys

    key = rsa_keys.generate_private_key(65537, 2048) if rsa else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=89))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "chain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return folder / "chain.pem"


@contextlib.contextmanager
def serving(pem: Path, least: ssl.TLSVersion, ciphers: str) -> Iterator[Site]:
    """Shake hands with whoever comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.minimum_version = least
    context.set_ciphers(ciphers)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _peer = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), plain:
                plain.settimeout(2)
                context.wrap_socket(plain, server_side=True).close()

    threading.Thread(target=serve, daemon=True).start()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield Site(f"https://{HOST}", address, "", False, None, 3.0)
    finally:
        listener.close()


MODERN = "ECDHE+AESGCM:ECDHE+CHACHA20"


@pytest.mark.parametrize("rsa", [False, True])
def test_a_good_server(rsa: bool, tmp_path: Path) -> None:
    with serving(make(tmp_path, rsa=rsa), ssl.TLSVersion.TLSv1_2, MODERN) as site:
        seen = security_web.observe_tls(site, THRESHOLDS)
    assert {item.rule: item.found for item in seen if not item.good} == {"tls.self_signed": "self-signed certificate"}
    assert {item.rule for item in seen if item.good} >= {"tls.old_protocol", "tls.weak_cipher", "tls.name", "tls.expired", "tls.lifetime"}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("rsa", "least", "found"),
    [
        (True, "TLSv1", "TLS 1.0 accepted with ECDHE-RSA-AES256-SHA, TLS 1.1 accepted with ECDHE-RSA-AES256-SHA"),
        (False, "TLSv1", "TLS 1.0 accepted with ECDHE-ECDSA-AES256-SHA, TLS 1.1 accepted with ECDHE-ECDSA-AES256-SHA"),
        (True, "TLSv1_1", "TLS 1.1 accepted with ECDHE-RSA-AES256-SHA"),
    ],
)
def test_old_protocols(rsa: bool, least: str, found: str, tmp_path: Path) -> None:
    if not (ssl.HAS_TLSv1 and ssl.HAS_TLSv1_1):
        pytest.skip("this Python's OpenSSL serves no TLS 1.0")
    with serving(make(tmp_path, rsa=rsa), ssl.TLSVersion[least], "ALL:@SECLEVEL=0") as site:
        told = {item.rule: item.found for item in security_web.observe_tls(site, THRESHOLDS) if not item.good}
    assert told["tls.old_protocol"] == found
    assert "TLS 1.2 accepted with" in told["tls.weak_cipher"]


@pytest.mark.parametrize(
    ("cipher", "found"),
    [
        ("AES256-GCM-SHA384", "TLS 1.2 accepted with AES256-GCM-SHA384"),  # no forward secrecy
        ("ECDHE-RSA-AES128-SHA", "TLS 1.2 accepted with ECDHE-RSA-AES128-SHA"),  # no authenticated encryption
    ],
)
def test_weak_ciphers(cipher: str, found: str, tmp_path: Path) -> None:
    with serving(make(tmp_path, rsa=True), ssl.TLSVersion.TLSv1_2, f"{cipher}:{MODERN}") as site:
        told = {item.rule: item.found for item in security_web.observe_tls(site, THRESHOLDS) if not item.good}
    assert told["tls.weak_cipher"] == found
    assert "tls.old_protocol" not in told


def test_no_tls_at_all_and_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site(f"https://{HOST}", f"127.0.0.1:{listener.getsockname()[1]}", "", True, None, 0.3)
        seen = security_web.observe_tls(site, THRESHOLDS)
        assert [item.made for item in seen] == [False] * 6
    seen = security_web.observe_tls(site, THRESHOLDS)
    assert [(item.good, item.made) for item in seen] == [(False, False)] * 6


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", ""),
        (b"\x15\x03\x01\x00\x02\x02\x46", ""),  # protocol_version
        (b"\x15\x03\x01\x00\x02\x02\x70", "no such name"),  # unrecognized_name
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 20_000, "no TLS"),
    ],
)
def test_what_a_server_says_instead(data: bytes, fault: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _peer = listener.accept()
            with plain:
                plain.recv(4096)
                plain.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        address = ("127.0.0.1", listener.getsockname()[1])
        if not fault:
            assert security_tls.accepted(address, HOST, "TLS 1.0", security_tls.OLD_SUITES, 3) == ""
        else:
            with pytest.raises(ValueError, match=fault):
                security_tls.accepted(address, HOST, "TLS 1.0", security_tls.OLD_SUITES, 3)


NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "last", "names", "error", "trusted", "told"),
    [
        ((2026, 5, 31), (2026, 8, 29), (HOST,), "", True, set()),
        ((2026, 4, 2), (2026, 6, 26), (HOST,), "", True, {"tls.lifetime_soon"}),
        ((2026, 3, 3), (2026, 6, 10), (HOST,), "", True, {"tls.lifetime_soon", "tls.lifetime"}),
        ((2026, 1, 1), (2026, 5, 1), (HOST,), "certificate has expired", True, {"tls.lifetime_soon", "tls.lifetime", "tls.expired"}),
        ((2026, 7, 1), (2026, 9, 1), (HOST,), "certificate is not yet valid", True, {"tls.lifetime_soon", "tls.lifetime", "tls.expired"}),
        ((2026, 5, 31), (2026, 8, 29), ("other.example",), "Hostname mismatch, certificate is not valid", True, {"tls.name"}),
        ((2026, 5, 31), (2026, 8, 29), (HOST,), "self-signed certificate", True, {"tls.chain"}),
        ((2026, 5, 31), (2026, 8, 29), (HOST,), "self-signed certificate", False, {"tls.self_signed"}),
        ((2026, 5, 31), (2026, 8, 29), (HOST,), "unable to get local issuer certificate", True, {"tls.chain"}),
    ],
)
def test_certificates(
    first: tuple[int, int, int], last: tuple[int, int, int], names: tuple[str, ...], error: str, trusted: bool, told: set[str]
) -> None:
    certificate = tls.Certificate(names, datetime(*first, tzinfo=UTC), datetime(*last, tzinfo=UTC), "f")
    seen = security_web.judge_certificate(tls.Served("TLSv1.3", certificate, error), HOST, THRESHOLDS, NOW, trusted=trusted)
    assert {item.rule for item in seen if not item.good} == told
    assert all(item.found for item in seen)


def test_an_address_is_no_server_name() -> None:
    assert HOST.encode() in security_tls.client_hello(HOST, 0x0303, (1,))
    hello = security_tls.client_hello("192.0.2.1", 0x0303, (1,))
    assert b"192.0.2.1" not in hello
    assert len(hello) == 5 + int.from_bytes(hello[3:5], "big")
