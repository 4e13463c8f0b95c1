# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command with a deadline, and hand back all that it said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, quote_plus

from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: Fewer characters are found in anything.
_SHORTEST_SECRET = 4
#: A line of a secret with several may be a common word.
_SHORTEST_LINE = 8


@dataclass(frozen=True)
class CommandResult:
    """What a command did: its words, exit code (-9 after a time-out) and seconds."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False

    def last_lines(self, count: int = 20) -> str:
        """Return the last lines of stderr, or of stdout where stderr is empty."""
        text = self.stderr.strip() or self.stdout.strip()
        return "\n".join(text.splitlines()[-count:])


class Runner(Protocol):
    """Runs commands; the unit tests put a recorded one in its place."""

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Run *argv* for at most *timeout* seconds with *stdin* as its standard input."""


class SubprocessRunner:
    """The real runner: a process group of its own, ended as a whole at the deadline."""

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Run *argv*; a program that is missing is a Problem, a non-zero exit is not."""
        started = time.monotonic()
        try:
            # AnsibleModule.run_command knows no deadline.
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=clean_environment(dict(os.environ)),
                start_new_session=True,
            )
        except OSError as error:
            raise Problem(
                f"Running {argv[0]} failed",
                f"{error.strerror or error}",
                f"Install {argv[0]} on this host (the role residency.scheduler.server does).",
                cmd=list(argv),
            ) from error
        timed_out = False
        try:
            out, err = process.communicate(stdin.encode(), timeout=timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return CommandResult(
            argv=tuple(argv),
            rc=process.returncode,
            stdout=out.decode("utf-8", "replace"),
            stderr=err.decode("utf-8", "replace"),
            seconds=time.monotonic() - started,
            timed_out=timed_out,
        )


def clean_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return *environment* without what would silently change a compose project or a parser's input.

    Shell variables beat ``--env-file`` in Compose, so a stray COMPOSE_FILE would describe another project. While Compose builds, it would
    have git tell of the checkout, and hand it all of ``.env`` in its environment (docs.docker.com, BUILDX_GIT_INFO).
    """
    kept = {name: value for name, value in environment.items() if not name.startswith("COMPOSE_")}
    return {**kept, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "GIT_TERMINAL_PROMPT": "0", "BUILDX_GIT_INFO": "false"}


def require(result: CommandResult, what: str, remedy: str, secrets: Sequence[str] = ()) -> CommandResult:
    """Return *result* if the command succeeded; else raise a Problem that quotes its last lines without secrets."""
    if result.rc == 0 and not result.timed_out:
        return result
    if result.timed_out:
        why = f"it did not end within {result.seconds:.0f} s"
    else:
        killed = " (killed; out of memory, OOMKilled, unless somebody ended it)" if result.rc in (137, -9) else ""
        why = f"exit code {result.rc}{killed}: {result.last_lines(20) or 'no output'}"
    raise Problem(
        what,
        redact(why, secrets),
        remedy,
        cmd=list(result.argv),
        rc=result.rc,
        # Blotted out first: a secret that is cut in two would not be found any more.
        stdout=redact(result.stdout, secrets)[-4000:],
        stderr=redact(result.stderr, secrets)[-4000:],
    )


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return *text* with each of *secrets* blotted out, the longest first, in every form that programs show a text in."""
    forms = {form for secret in secrets for form in secret_forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "********")
    return text


def secret_forms(secret: str) -> set[str]:
    """Return the forms in which programs show a secret: itself, its lines, escaped (Python, JSON, shell, ``.env``), in URLs, in base64."""
    plain = {secret, *(line for line in secret.splitlines() if len(line) >= _SHORTEST_LINE)}
    # The outer quotes left out, since more may stand between them.
    escaped = {text[1:-1] for value in plain for text in (repr(value), json.dumps(value), json.dumps(value, ensure_ascii=False))}
    # A quote within single quotes: shlex of Python, other shells, Compose; a dollar as Compose doubles it, and within double quotes.
    quoted = {value.replace("'", other) for value in plain for other in ("'\"'\"'", "'\\''", "\\'")}
    quoted |= {value.replace("$", other) for value in plain for other in ("$$", "\\$")}
    web = {form for value in plain for form in (quote(value), quote(value, safe=""), quote_plus(value))}
    encoded = {code(secret.encode()).decode().rstrip("=") for code in (b64encode, urlsafe_b64encode)}
    return {form for form in plain | escaped | quoted | web | encoded if len(form) >= _SHORTEST_SECRET}
