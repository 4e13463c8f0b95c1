# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords against what PostgreSQL keeps of them."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import scram

PASSWORD, UNICODE = "q8Yt2mZpLr5vWx0c", "naïve ﬁ Ⅸ pass"
#: Recorded from pg_authid of PostgreSQL 15.
STORED = (
    "SCRAM-SHA-256$4096:iqWUfrZvVum6/JkQwZKcxA=="
    "$WCNPs7ufWjfLE00bgq7yfa5Dny6HmrwngKGeh+fKSrs=:gSkgdtRLFHUA7zgwkp1C3xoZ+lwj/3Yyr4LJ1iXGnH4="
)
STORED_UNICODE = (
    "SCRAM-SHA-256$4096:OxMYINMpZWnIoSb4DlgMSw=="
    "$It9w2fekjucJ3r8Xij5kQeiLtZHh/BpT0ndFl8HtTdQ=:kAxzUCMlFetxwqOU8eiuF+j3yK7ugQUSUlLK2RIFHPc="
)
STORED_MD5 = "md5796dfda1d2e0ad89df0a446eeaf645a8"


@pytest.mark.parametrize(
    ("password", "role", "stored", "expected"),
    [
        (PASSWORD, "t1", STORED, True),
        (PASSWORD, "any", STORED, True),
        (PASSWORD + "x", "t1", STORED, False),
        (UNICODE, "t4", STORED_UNICODE, True),
        (PASSWORD, "t2", STORED_MD5, True),
        (PASSWORD, "t1", STORED_MD5, False),
        (PASSWORD, "t3", None, False),
        (PASSWORD, "t1", "", False),
        (PASSWORD, "t1", PASSWORD, False),
        (PASSWORD, "t1", STORED.replace("iqWU", "i~~U"), False),
    ],
)
def test_matches(password: str, role: str, stored: str | None, expected: bool) -> None:
    assert scram.matches(password, role, stored) is expected


def test_a_verifier_is_the_one_that_postgresql_makes() -> None:
    salt = base64.b64decode("iqWUfrZvVum6/JkQwZKcxA==")
    assert scram.verifier(PASSWORD, salt) == STORED
    assert scram.verifier(PASSWORD, b"0" * 16) != scram.verifier(PASSWORD, b"1" * 16)
