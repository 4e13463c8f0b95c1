# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command with a deadline, and hand back all that it said."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem


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

    Shell variables beat ``--env-file`` in Compose, so a stray COMPOSE_FILE would describe another project.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith("COMPOSE_")}
    return {**kept, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "GIT_TERMINAL_PROMPT": "0"}


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
        stdout=redact(result.stdout[-4000:], secrets),
        stderr=redact(result.stderr[-4000:], secrets),
    )


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return *text* with each of *secrets* blotted out, the longest first."""
    for secret in sorted({value for value in secrets if len(value) >= 4}, key=len, reverse=True):
        text = text.replace(secret, "********")
    return text
