# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which old TLS versions and weak ciphers does a server still accept?

Asked by a ClientHello of our own: the OpenSSL of a hardened host refuses to offer what is to be refused by the server, and a
refusal at home would look like one over there.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Mapping

#: Versions on the wire.
VERSIONS: Mapping[str, int] = {"TLS 1.0": 0x0301, "TLS 1.1": 0x0302, "TLS 1.2": 0x0303}
#: What any server of the last twenty years that speaks an old version can agree to.
OLD_SUITES: Mapping[int, str] = {
    0xC014: "ECDHE-RSA-AES256-SHA",
    0xC013: "ECDHE-RSA-AES128-SHA",
    0xC00A: "ECDHE-ECDSA-AES256-SHA",
    0xC009: "ECDHE-ECDSA-AES128-SHA",
    0x0039: "DHE-RSA-AES256-SHA",
    0x0033: "DHE-RSA-AES128-SHA",
    0x0035: "AES256-SHA",
    0x002F: "AES128-SHA",
    0x000A: "DES-CBC3-SHA",
    0x0005: "RC4-SHA",
}
#: No forward secrecy, no authenticated encryption, or broken: none of them is in Mozilla's intermediate configuration.
WEAK_SUITES: Mapping[int, str] = {
    **OLD_SUITES,
    0xC028: "ECDHE-RSA-AES256-SHA384",
    0xC027: "ECDHE-RSA-AES128-SHA256",
    0xC024: "ECDHE-ECDSA-AES256-SHA384",
    0xC023: "ECDHE-ECDSA-AES128-SHA256",
    0x009D: "AES256-GCM-SHA384",
    0x009C: "AES128-GCM-SHA256",
    0x003D: "AES256-SHA256",
    0x003C: "AES128-SHA256",
    0xC012: "ECDHE-RSA-DES-CBC3-SHA",
    0x0016: "DHE-RSA-DES-CBC3-SHA",
    0x0004: "RC4-MD5",
}
_HANDSHAKE, _ALERT, _SERVER_HELLO = 22, 21, 2
_UNRECOGNIZED_NAME = 112


def accepted(address: tuple[str, int], host: str, version: str, suites: Mapping[int, str], timeout: float) -> str:
    """Offer one *version* with *suites*, and return the suite that the server chose; empty where it refused.

    :raises OSError: no connection, or no answer in time. A connection that is closed or reset is a refusal.
    :raises ValueError: the answer is no TLS.
    """
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.sendall(client_hello(host, VERSIONS[version], tuple(suites)))
        try:
            header = _read(connection, 5)
            body = _read(connection, struct.unpack(">H", header[3:5])[0]) if len(header) == 5 else b""
        except ConnectionError:
            return ""
    return _chosen(header, body, VERSIONS[version], suites)


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def _chosen(header: bytes, body: bytes, version: int, suites: Mapping[int, str]) -> str:
    if not header:
        return ""
    if header[0] == _ALERT:
        if body[1:2] == bytes([_UNRECOGNIZED_NAME]):
            raise ValueError("the server knows no such name")  # and so has refused neither version nor suites
        return ""
    if header[0] != _HANDSHAKE or len(body) < 39 or body[0] != _SERVER_HELLO:
        raise ValueError("the answer is no TLS")
    # ServerHello: type, 3 bytes of length, version, 32 bytes of random, session id with its length, suite.
    (chosen,) = struct.unpack(">H", body[4:6])
    start = 39 + body[38]
    if chosen != version or len(body) < start + 2:
        return ""
    (suite,) = struct.unpack(">H", body[start : start + 2])
    return suites.get(suite, f"suite {suite:04x}")


def client_hello(host: str, version: int, suites: tuple[int, ...]) -> bytes:
    """Return a ClientHello in a record of its own (RFC 5246, 7.4.1.2) with the extensions that servers insist on."""
    extensions = b"".join(
        (
            # server_name, of which an address is none (RFC 6066, 3)
            b"" if _is_address(host) else _extension(0, _vector(b"\0" + _vector(host.encode("idna"), 2), 2)),
            _extension(10, _vector(struct.pack(">3H", 29, 23, 24), 2)),  # supported_groups: x25519, P-256, P-384
            _extension(11, _vector(b"\0", 1)),  # ec_point_formats
            # signature_algorithms: ECDSA, RSA-PSS and RSA with SHA-256, RSA and ECDSA with SHA-1; unknown before TLS 1.2
            _extension(13, _vector(struct.pack(">5H", 0x0403, 0x0804, 0x0401, 0x0201, 0x0203), 2)) if version >= 0x0303 else b"",
            _extension(0xFF01, b"\0"),  # renegotiation_info
        )
    )
    body = struct.pack(">H", version) + os.urandom(32) + _vector(b"", 1)
    body += _vector(struct.pack(f">{len(suites)}H", *suites), 2) + _vector(b"\0", 1) + _vector(extensions, 2)
    message = b"\1" + struct.pack(">I", len(body))[1:] + body
    return bytes([_HANDSHAKE]) + struct.pack(">H", 0x0301) + _vector(message, 2)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">H", kind) + _vector(data, 2)


def _vector(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width, "big") + data
