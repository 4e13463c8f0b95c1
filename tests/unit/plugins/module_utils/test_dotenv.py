# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The .env format."""

from __future__ import annotations

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import dotenv


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\n", {"A": "1"}),
        ("A=\n", {"A": ""}),
        ("export A=1\n", {"A": "1"}),
        ("  A = 1  \n", {"A": "1"}),
        ("# A=1\n\n  # B=2\nC=3", {"C": "3"}),
        ("\ufeffA=1\n", {"A": "1"}),
        ("A=one two # a comment\n", {"A": "one two"}),
        ("A=one#two\n", {"A": "one#two"}),
        ("A='one # two'\n", {"A": "one # two"}),
        ("A='one' # two\n", {"A": "one"}),
        ("A='$HOME ${B}'\n", {"A": "$HOME ${B}"}),
        ("A='it\\'s'\n", {"A": "it's"}),
        ("A='one\ntwo'\nB=3\n", {"A": "one\ntwo", "B": "3"}),
        ('A="one two"\n', {"A": "one two"}),
        ('A="one" # two\n', {"A": "one"}),
        ("A='never closed\nB=2", {"A": "never closed\nB=2"}),
        ('A="one # two"\n', {"A": "one # two"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("no assignment\n1A=2\n", {}),
        ("A=a=b\n", {"A": "a=b"}),
        ("A=1\r\nB='2'\r\n", {"A": "1", "B": "2"}),
        ('A="one\\ntwo \\"q\\" \\$x \\\\"\n', {"A": 'one\ntwo "q" $x \\'}),
    ],
)
def test_parse(text: str, values: dict[str, str]) -> None:
    assert dotenv.parse(text) == values


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        " spaces around ",
        "a # b",
        "$word ${word} $$",
        "it's",
        "''",
        '"double"',
        "back\\slash",
        "/+=@:%&?",
        "one\ntwo",
        "é€😀",
        "#",
        "{{ not_jinja }}",
        "ends with \\",
        "a \\' \"b\" $c \\n\\\\",
        "Windows\r\nlines\r\n",
        "-----BEGIN KEY-----\n'#$\n-----END KEY-----\n",
        "\u2028 \x85 \x1c",
        '["http://localhost:3000"]',
    ],
)
def test_a_rendered_value_is_read_back(value: str) -> None:
    values = {"BEFORE": "1", "VALUE": value, "AFTER": "2"}
    assert dotenv.parse(dotenv.render(values)) == values


def test_render_keeps_the_order_and_quotes_everything() -> None:
    text = dotenv.render({"B": "1", "A": "x'y"})
    assert text.splitlines()[1:] == ["B='1'", "A='x\\'y'"]
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("values", "secrets"),
    [
        ({"DB_PASSWORD": "hunter22"}, {"hunter22"}),
        ({"db_password": "hunter22"}, {"hunter22"}),
        ({"SECRET_KEY": "a/b+c"}, {"a/b+c", "a%2Fb%2Bc"}),
        ({"DATABASE_URL": "postgresql://scheduler:hunter22@db:5432/x"}, {"hunter22"}),
        ({"REDIS_URL": "redis://:hunter22@redis:6379/0"}, {"hunter22"}),
        ({"SLACK_WEBHOOK": "https://hooks.invalid/T0"}, {"https://hooks.invalid/T0", "https%3A%2F%2Fhooks.invalid%2FT0"}),
        ({"SENTRY_DSN": "", "API_TOKEN": ""}, set()),
        ({"LOG_LEVEL": "info", "PUBLIC_URL": "https://example.org/"}, set()),
    ],
)
def test_secret_values(values: dict[str, str], secrets: set[str]) -> None:
    assert set(dotenv.secret_values(values)) == secrets


def test_a_secret_without_a_secrets_name_is_noted_in_the_file() -> None:
    values = {"LDAP_BIND_PW": "hunter22", "LOG_LEVEL": "info"}
    text = dotenv.render(values, {"LDAP_BIND_PW"})
    assert dotenv.parse(text) == values
    assert "LDAP_BIND_PW" not in str(dotenv.secret_values(values))
    assert dotenv.secret_values(dotenv.parse(text), dotenv.secret_names(text)) == ("hunter22",)
    assert dotenv.secret_names(dotenv.render(values)) == frozenset()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("your_password_here", True),
        ("change-me", True),
        ("CHANGEME", True),
        ("replace_with_64_hex", True),
        ("<password>", True),
        ("xxxx", True),
        ("secure_random_password", True),
        ("todo", True),
        ("generate_with_openssl", True),
        ("f3a9c1", False),
        ("", False),
        ("todos-are-fine-9f2", False),
    ],
)
def test_is_placeholder(value: str, expected: bool) -> None:
    assert dotenv.is_placeholder(value) is expected


def test_an_example_tells_its_names() -> None:
    text = """# Settings. Make one with: openssl rand -base64 32
A=1
# B=2
#C=${A}
LITERAL='$A'

# Deprecated: use CACHE_URL
# and nothing else.
OLD_CACHE=x
NEXT=y

# deprecated
# GONE_SOON=z
LATER=1 # deprecated, use A
"""
    example = dotenv.read_example(text)
    assert example.defaults == {"A": "1", "LITERAL": "$$A", "OLD_CACHE": "x", "NEXT": "y", "LATER": "1"}
    assert example.known == {"A", "B", "C", "LITERAL", "OLD_CACHE", "NEXT", "GONE_SOON", "LATER"}
    assert example.deprecated == {"OLD_CACHE": "use CACHE_URL", "GONE_SOON": "deprecated", "LATER": "use A"}


def test_names_that_compose_files_use() -> None:
    text = "a: ${A:-x}-${B?why} ${C:?why} $D $$E $${F} '${G:+${H}}'"
    assert dotenv.used_names(text) == ({"A", "B", "C", "D", "G", "H"}, {"C"})


def test_a_default_within_a_reference() -> None:
    defaults = {"A": "${EMPTY:-one}${EMPTY-two}${NONE-three}$$", "EMPTY": ""}
    assert dotenv.expand("A", {}, defaults) == "onethree$"


def test_a_first_line_that_ends_in_a_blank() -> None:
    values = {"KEY": "-----BEGIN KEY----- \nabc\n"}
    assert dotenv.parse(dotenv.render(values)) == values


def test_names_that_a_compose_file_requires() -> None:
    text = "a: x-${A:?why} ${B?} ${C:-${D:?x}} $E $${F:?}\n# ${G:?old}\n  b: x # ${H:?}\n"
    assert dotenv.used_names(text) == (frozenset("ABCDE"), frozenset("A"))
