# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The review of pending migrations: what squawk says of their SQL, and which of it stops a deployment. Pure.

Rules: https://squawkhq.com/docs/rules. Squawk itself calls nearly all of them warnings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check

#: The release of squawk-cli that the rules below were read from.
SQUAWK = "2.70.0"
#: Rules whose findings lose data, break the code that still runs, or take a table away from its readers or writers.
ERRORS = frozenset({
    "adding-field-with-default",
    "adding-foreign-key-constraint",
    "adding-not-nullable-field",
    "adding-required-field",
    "adding-serial-primary-key-field",
    "ban-concurrent-index-creation-in-transaction",
    "ban-drop-column",
    "ban-drop-database",
    "ban-drop-table",
    "ban-truncate-cascade",
    "changing-column-type",
    "constraint-missing-not-valid",
    "disallowed-unique-constraint",
    "renaming-column",
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


def parse(text: str, step: Mapping[str, Any], allow: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Return the findings in squawk's JSON; a ValueError where it is none."""
    lines = str(step["sql"]).splitlines()
    revision = str(step["revision"])
    found = []
    for item in json.loads(text or "[]"):
        rule, line = str(item["rule_name"]), int(item["line"])
        found.append(
            Finding(
                revision=revision,
                rule=rule,
                level="error" if rule in ERRORS else "warn",
                message=str(item["message"]),
                statement=" ".join(" ".join(lines[line:]).partition(";")[0].split())[:120],
                line=line + 1,
                help=str(item.get("help") or ""),
                allowed=rule in (allow.get(revision) or ()),
            )
        )
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
    allow = ", ".join(f"{revision}: [{', '.join(names)}]" for revision, names in rules.items())
    return (
        "The review of the pending migrations failed:\n" + "\n".join(lines) + "\nNothing was changed. Correct the release; or, where that "
        f"is meant, and the code that still runs can bear it, allow exactly this: database_lint_allow: {{{allow}}}"
    )
