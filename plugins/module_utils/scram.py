# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What PostgreSQL keeps of a password (``pg_authid.rolpassword``): compare one with it, and make it.

With a verifier made here (RFC 5803) the password itself is in no statement, and so in no log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import unicodedata

#: PostgreSQL's own (src/include/common/scram-common.h).
ITERATIONS = 4096
SALT_BYTES = 16
_SCRAM = re.compile(r"SCRAM-SHA-256\$(\d+):([^$:]+)\$([^$:]+):([^$:]+)")


def matches(password: str, role: str, stored: str | None) -> bool:
    """Tell whether *password* is the one that *stored* was made of."""
    if stored is None:
        return False
    found = _SCRAM.fullmatch(stored)
    if found:
        try:
            salt = base64.b64decode(found.group(2), validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(verifier(password, salt, int(found.group(1))), stored)
    # The old kind. FIPS would refuse md5 for security; this only compares.
    digest = hashlib.md5(f"{password}{role}".encode(), usedforsecurity=False).hexdigest()
    return hmac.compare_digest(f"md5{digest}", stored)


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return what PostgreSQL would keep of *password*."""
    # Of SASLprep (RFC 4013) this is the part that changes letters; plain ASCII, which is all that preflight lets through, stays as it is.
    salted = hashlib.pbkdf2_hmac("sha256", unicodedata.normalize("NFKC", password).encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
