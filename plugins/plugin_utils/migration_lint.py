# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The review of pending migrations: what squawk says of their SQL, and which of it stops a deployment. Pure.

Rules: https://squawkhq.com/docs/rules. Squawk itself calls nearly all of them warnings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: The release of squawk-cli that the rules below were read from.
SQUAWK = "2.70.0"
FAILED = "The review of the pending migrations failed"
#: Rules whose findings lose data, break the code that still runs, or take a table away from its readers or writers.
ERRORS = frozenset({
    "adding-field-with-default",
    "adding-foreign-key-constraint",
    "adding-not-nullable-field",
    "adding-required-field",
    "adding-serial-primary-key-field",
    "ban-alter-domain-with-add-constraint",
    "ban-concurrent-index-creation-in-transaction",
    "ban-drop-column",
    "ban-drop-database",
    "ban-drop-domain",
    "ban-drop-extension",
    "ban-drop-function",
    "ban-drop-schema",
    "ban-drop-sequence",
    "ban-drop-table",
    "ban-drop-type",
    "ban-drop-view",
    "ban-set-schema",
    "ban-truncate-cascade",
    "changing-column-type",
    "constraint-missing-not-valid",
    "disallowed-unique-constraint",
    "renaming-column",
    "renaming-object",
    "renaming-table",
    "syntax-error",
})  # fmt: skip
EXCLUDED = (
    # Matters of style, which a deployment cannot mend.
    "ban-char-field",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamptz",
    # Every migration has both, see database_lock_timeout and database_statement_timeout.
    "require-lock-timeout",
    "require-statement-timeout",
    # Alembic begins and commits around what it prints.
    "ban-uncommitted-transaction",
    "transaction-nesting",
)
#: PostgreSQL refuses these statements, however empty the table is.
_REFUSED = frozenset({"ban-concurrent-index-creation-in-transaction", "syntax-error"})

#: Comments and quoted texts, whose semicolons end nothing, and the semicolons that do.
_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?\*/|\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"[^"]*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|;""", re.DOTALL
)
_NAME = r"""((?:"[^"]+"|\w+)(?:\.(?:"[^"]+"|\w+))?)"""
#: With IF NOT EXISTS the table may be an old one, full of rows.
_CREATES = re.compile(rf"CREATE (?:TEMP |TEMPORARY |UNLOGGED )?TABLE (?!IF NOT EXISTS){_NAME}", re.IGNORECASE)
#: TRUNCATE is left out: its CASCADE reaches other tables. So is a DROP of several tables.
_CHANGES = re.compile(
    r"(?:ALTER TABLE (?:IF EXISTS )?(?:ONLY )?|CREATE (?:UNIQUE )?INDEX (?:\S+ )*?ON (?:ONLY )?|DROP TABLE (?:IF EXISTS )?(?!.*,))" + _NAME,
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Statement:
    """One statement of a revision.

    :ivar end: where it ends in the SQL.
    :ivar text: the statement on one line, without comments.
    :ivar on_new_table: whether it changes a table that the same revision created before: that one is empty, and no code uses it yet.
    """

    end: int
    text: str
    on_new_table: bool


@dataclass(frozen=True)
class Finding:
    """One finding of squawk.

    :ivar level: ``error`` or ``warn``.
    :ivar line: line of the revision's SQL, from 1.
    :ivar allowed: whether the inventory allows this rule for this revision.
    """

    revision: str
    rule: str
    level: str
    message: str
    statement: str
    line: int
    help: str
    allowed: bool

    @property
    def stops(self) -> bool:
        """Tell whether it stops the deployment."""
        return self.level == "error" and not self.allowed

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def command(executable: str, postgres_version: str, transactional: bool) -> list[str]:
    """Return the command that reviews the SQL on its standard input."""
    words = [executable, "--reporter", "json", *(f"--exclude={rule}" for rule in EXCLUDED)]
    words += [f"--pg-version={postgres_version}"] if postgres_version else []
    return words + (["--assume-in-transaction"] if transactional else ["--no-assume-in-transaction"])


def visible(step: Mapping[str, Any]) -> bool:
    """Tell whether a step's SQL is known: a revision that asks the database has none beforehand."""
    sql = str(step.get("sql") or "").strip()
    return bool(sql) and not sql.startswith("-- no SQL")


def for_review(sql: str) -> str:
    """Return the SQL as squawk gets it: only the inventory allows what squawk would refuse, not a comment in the migration."""
    return sql.replace("squawk-ignore", "squawk_ignore")


def allowances(allow: Mapping[Any, Any]) -> dict[str, list[str]]:
    """Return the allowed rules by revision; a revision of digits only is a number to YAML."""
    for revision, rules in allow.items():
        if not isinstance(rules, list):
            why = f"what is allowed for {revision} is no list of rules, but {rules!r}"
            raise Problem(FAILED, why, f"Write database_lint_allow: {{{revision}: [RULE]}}.")
    return {str(revision): [str(rule) for rule in rules] for revision, rules in allow.items()}


def statements(sql: str) -> list[Statement]:
    """Return the statements of a revision, in order."""
    bare = _TOKEN.sub(lambda token: " " * len(token[0]) if token[0].startswith(("--", "/*")) else token[0], sql)
    found: list[Statement] = []
    created: set[str] = set()
    start = 0
    for end in [*(token.start() for token in _TOKEN.finditer(sql) if token[0] == ";"), len(sql)]:
        text = " ".join(bare[start:end].split())
        changes = _CHANGES.match(text)
        found.append(Statement(end, text, changes is not None and changes[1] in created))
        if creates := _CREATES.match(text):
            created.add(creates[1])
        elif changes and text.upper().startswith("DROP"):
            created.discard(changes[1])  # Under the name of a temporary table there may be a real one.
        start = end + 1
    return found


def _position(sql: str, line: int, column: int) -> int:
    """Return the index of squawk's line and column, both from 0; its columns are bytes of UTF-8."""
    lines = sql.split("\n")
    return sum(len(text) + 1 for text in lines[:line]) + len(lines[line].encode()[:column].decode(errors="ignore"))


def parse(text: str, step: Mapping[str, Any], allow: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Return the findings in squawk's JSON; a ValueError where it is none.

    Squawk by itself forgives only some changes of a table that the same SQL created, and none outside of a transaction.
    """
    sql = str(step["sql"])
    revision = str(step["revision"])
    known = statements(sql)
    found = []
    for item in json.loads(text or "[]"):
        try:
            rule, line = str(item["rule_name"]), int(item["line"])
            position = _position(sql, line, int(item["column"]))
            message, advice = str(item["message"]), str(item.get("help") or "")
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"its answer has another form: {str(item)[:200]}") from error
        statement = next(statement for statement in known if position <= statement.end)
        if statement.on_new_table and rule not in _REFUSED:
            continue
        found.append(
            Finding(
                revision=revision,
                rule=rule,
                level="error" if rule in ERRORS else "warn",
                message=message,
                statement=statement.text[:120],
                line=line + 1,
                help=advice,
                allowed=rule in (allow.get(revision) or ()),
            )
        )
    return found


#: What squawk does not report, by the first words of what alembic_migrate says that a step destroys.
_OWN_RULES = {"empties the table": "truncate-table", "deletes rows": "delete-rows"}


def own_findings(step: Mapping[str, Any], allow: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Return the findings of our own rules: rows that a step takes away."""
    revision = str(step["revision"])
    found = []
    for what in step.get("destroys") or []:
        for words, rule in _OWN_RULES.items():
            if str(what).startswith(words):
                allowed = rule in (allow.get(revision) or ())
                advice = "Keep them in a table of their own, or restore the backup to get them back."
                found.append(Finding(revision, rule, "error", "Rows are lost.", str(what), 1, advice, allowed))
    return found


def check(step: Mapping[str, Any], findings: Sequence[Finding], seconds: float) -> Check:
    """Return the evidence of one revision's review."""
    subject, expected = f"database: review of {step['revision']}", "nothing that loses data or locks tables for long"
    if not visible(step):
        remedy = "Read the revision; the rehearsal shows what it does."
        return Check(subject, "warn", expected, "its SQL cannot be rendered without the database", seconds, remedy, "migration_lint")
    told = [f"{item.rule}{' (allowed)' if item.allowed else ''}: {item.statement}" for item in findings]
    verdict = "fail" if any(item.stops for item in findings) else "warn" if findings else "pass"
    return Check(subject, verdict, expected, "; ".join(told) or "nothing", seconds, _helps(findings), "migration_lint")


def _helps(findings: Sequence[Finding]) -> str:
    return " ".join(dict.fromkeys(item.help for item in findings if item.help))


def refusal(findings: Sequence[Finding]) -> str:
    """Return why the deployment stops and what to do; empty if it does not."""
    stopping = [item for item in findings if item.stops]
    if not stopping:
        return ""
    lines = [f"  - {item.revision}, {item.rule}: {item.statement}\n    {item.message} {item.help}".rstrip() for item in stopping]
    rules: dict[str, list[str]] = {}
    for item in stopping:
        if item.rule not in rules.setdefault(item.revision, []):
            rules[item.revision].append(item.rule)
    allow = ", ".join(f"{_key(revision)}: [{', '.join(names)}]" for revision, names in rules.items())
    return (
        f"{FAILED}:\n" + "\n".join(lines) + "\nNothing was changed. Correct the release; or, where that "
        f"is meant, and the code that still runs can bear it, allow exactly this: database_lint_allow: {{{allow}}}"
    )


def _key(revision: str) -> str:
    """Return a revision as a key in YAML, to which digits and underscores are a number."""
    return f'"{revision}"' if re.fullmatch(r"[\d_]+", revision) else revision
