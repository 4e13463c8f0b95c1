# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands whose input or output is a file of any size: nothing of it is held in memory, and no pipe hides a failure."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, clean_environment
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Written:
    """What a command wrote into a file: how it ended, and size in bytes and SHA-256 of what came out of it."""

    result: CommandResult
    size: int
    sha256: str


def write_output(argv: Sequence[str], path: str, timeout: float) -> Written:
    """Run *argv* and write its standard output into the new file *path* (0600), down to the disk.

    The digest is that of the bytes as they came, so that a later reading proves what the disk holds.

    :raises Problem: the file cannot be written; a non-zero exit code is no Problem, the result has it.
    """
    started = time.monotonic()
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as errors, _running(argv, None, subprocess.PIPE, errors, timeout) as (process, expired):
        output = cast(BinaryIO, process.stdout)
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                while chunk := output.read(CHUNK):
                    digest.update(chunk)
                    stream.write(chunk)
                    size += len(chunk)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise Problem(f"Writing {path} failed", error.strerror or str(error), "Look at `df -h` and the folder's mode.") from error
        finally:
            output.close()
        process.wait()
        return Written(_result(argv, process, errors, started, expired), size, digest.hexdigest())


def read_input(argv: Sequence[str], path: str, timeout: float) -> CommandResult:
    """Run *argv* with the file *path* as its standard input; its output is not kept.

    :raises Problem: the file cannot be read.
    """
    started = time.monotonic()
    try:
        source = open(path, "rb")  # noqa: SIM115 (closed below; the error to catch is that of opening alone)
    except OSError as error:
        raise Problem(f"Reading {path} failed", error.strerror or str(error), "Look at the file's mode.") from error
    with source, tempfile.TemporaryFile() as errors:
        with _running(argv, source, subprocess.DEVNULL, errors, timeout) as (process, expired):
            process.wait()
        return _result(argv, process, errors, started, expired)


def digest_file(path: str) -> str:
    """Return the SHA-256 of a file."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise Problem(f"Reading {path} failed", error.strerror or str(error), "Look at the file's mode.") from error


@contextmanager
def _running(
    argv: Sequence[str], stdin: BinaryIO | None, stdout: int, stderr: BinaryIO, timeout: float
) -> Iterator[tuple[subprocess.Popen[bytes], threading.Event]]:
    """Start a process group of its own, and end it as a whole at the deadline or when the block is left early."""
    try:
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            list(argv),
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=clean_environment(dict(os.environ)),
            start_new_session=True,
        )
    except OSError as error:
        raise Problem(f"Running {argv[0]} failed", f"{error.strerror or error}", f"Install {argv[0]} on this host.") from error
    expired = threading.Event()

    def end() -> None:
        expired.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, end)
    timer.start()
    try:
        yield process, expired
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _result(
    argv: Sequence[str], process: subprocess.Popen[bytes], errors: BinaryIO, started: float, expired: threading.Event
) -> CommandResult:
    errors.seek(0)
    said = errors.read().decode("utf-8", "replace")
    return CommandResult(tuple(argv), process.returncode, "", said, time.monotonic() - started, expired.is_set())
