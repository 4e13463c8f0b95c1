# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificate does a server show, for whom, for how long still, and is it the one on disk?"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge

#: Parts of a certificate's lifetime that have to be left: below the first a warning, below the second a failure.
WARN_BELOW, FAIL_BELOW = 1 / 3, 1 / 6
#: Protocol versions that Mozilla's intermediate configuration allows.
GOOD_VERSIONS = ("TLSv1.2", "TLSv1.3")


@dataclass(frozen=True)
class Certificate:
    """What a certificate says: the names it is for, its validity, a fingerprint of the whole, and whether nobody else signed it."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint: str
    self_signed: bool = False


@dataclass(frozen=True)
class Served:
    """What a handshake showed.

    :ivar chain_error: why the chain or the name is not trusted, in the words of OpenSSL; empty when it is.
    """

    version: str
    certificate: Certificate
    chain_error: str


def handshake(address: tuple[str, int], host: str, timeout: float, ca_file: str | None) -> Served:
    """Shake hands twice: once trusting anything, to see the certificate, and once as a browser would.

    :raises OSError: no connection, or no TLS at all.
    """
    with socket.create_connection(address, timeout=timeout) as plain:
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE
        with blind.wrap_socket(plain, server_hostname=host) as secured:
            version, der = str(secured.version()), secured.getpeercert(binary_form=True) or b""
    return Served(version, parse(der), _chain_error(address, host, timeout, ca_file))


def _chain_error(address: tuple[str, int], host: str, timeout: float, ca_file: str | None) -> str:
    with socket.create_connection(address, timeout=timeout) as plain:
        try:
            with ssl.create_default_context(cafile=ca_file).wrap_socket(plain, server_hostname=host):
                return ""
        except ssl.SSLCertVerificationError as error:
            return str(error.verify_message)


def parse(der: bytes) -> Certificate:
    """Parse a certificate in DER form."""
    from cryptography import x509

    return _certificate(x509.load_der_x509_certificate(der))


def read(path: str) -> Certificate:
    """Read the first certificate of a PEM file."""
    from cryptography import x509

    with open(path, "rb") as stream:
        return _certificate(x509.load_pem_x509_certificate(stream.read()))


def is_key_of(key_path: str, certificate_path: str) -> bool:
    """Tell whether a PEM file has the private key of another one's first certificate.

    :raises OSError: a file cannot be read.
    :raises TypeError: the key has a passphrase.
    :raises ValueError: it holds no key.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    with open(key_path, "rb") as stream:
        key = load_pem_private_key(stream.read(), password=None).public_key()
    with open(certificate_path, "rb") as stream:
        certified = x509.load_pem_x509_certificate(stream.read()).public_key()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return bool(key.public_bytes(*form) == certified.public_bytes(*form))


def _certificate(parsed: Any) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    return Certificate(
        names=tuple(names),
        not_before=_utc(parsed, "not_valid_before"),
        not_after=_utc(parsed, "not_valid_after"),
        fingerprint=parsed.fingerprint(SHA256()).hex(),
        self_signed=parsed.issuer == parsed.subject,
    )


def _utc(parsed: Any, name: str) -> datetime:
    # cryptography before 42 (Debian 12 has 38) knows times without a zone only; later ones deprecate them.
    aware = getattr(parsed, f"{name}_utc", None)
    return aware if isinstance(aware, datetime) else getattr(parsed, name).replace(tzinfo=UTC)


def covers(names: tuple[str, ...], host: str) -> bool:
    """Tell whether one of the certificate's names is for *host*; a wildcard stands for exactly one label (RFC 6125)."""
    wanted = host.lower().rstrip(".")
    parent = wanted.partition(".")[2]
    return any(name.lower() == wanted or (name.startswith("*.") and parent and name[2:].lower() == parent) for name in names)


def judge_served(name: str, host: str, served: Served, on_disk: Certificate | None, *, trusted: bool, now: datetime) -> list[Check]:
    """Judge a handshake. Pure.

    :arg on_disk: the certificate that the server should show; None when that is not to be compared.
    :arg trusted: whether the chain has to be trusted; a self-signed one is not.
    """
    certificate = served.certificate
    checks = [
        judge(
            f"{name}: TLS version",
            served.version in GOOD_VERSIONS,
            " or ".join(GOOD_VERSIONS),
            served.version,
            "Set ssl_protocols TLSv1.2 TLSv1.3 in the proxy.",
            topic="tls",
        ),
        judge(
            f"{name}: certificate's name",
            covers(certificate.names, host),
            f"a certificate for {host}",
            f"for {', '.join(certificate.names) or 'no name at all'}",
            "Install the certificate of this domain, or correct scheduler_domain.",
            topic="tls",
        ),
        _judge_lifetime(name, certificate, now),
    ]
    if trusted:
        checks.append(
            judge(
                f"{name}: certificate's chain",
                not served.chain_error,
                "trusted",
                served.chain_error or "trusted",
                "Install the full chain, leaf first, then the intermediates.",
                topic="tls",
            )
        )
    if on_disk is not None:
        checks.append(
            judge(
                f"{name}: certificate on disk",
                certificate.fingerprint == on_disk.fingerprint,
                f"the certificate on disk, {on_disk.fingerprint[:16]}",
                f"{certificate.fingerprint[:16]}",
                "The proxy still shows the one it read at its start: nginx -s reload.",
                topic="tls",
            )
        )
    return checks


def _judge_lifetime(name: str, certificate: Certificate, now: datetime) -> Check:
    lifetime = (certificate.not_after - certificate.not_before).total_seconds()
    left = (certificate.not_after - now).total_seconds()
    days = f"{left / 86400:.0f} of {lifetime / 86400:.0f} days left"
    if now < certificate.not_before:
        verdict, found = "fail", f"valid only from {certificate.not_before:%Y-%m-%d %H:%M} UTC"
    elif left <= 0:
        verdict, found = "fail", f"expired {certificate.not_after:%Y-%m-%d %H:%M} UTC"
    else:
        share = left / lifetime if lifetime > 0 else 0.0
        verdict, found = ("fail" if share < FAIL_BELOW else "warn" if share < WARN_BELOW else "pass"), days
    return judge(
        f"{name}: certificate's lifetime",
        verdict == "pass",
        "a third of its lifetime left",
        found,
        "Renew the certificate, and reload the proxy.",
        otherwise=verdict,
        topic="tls",
    )
