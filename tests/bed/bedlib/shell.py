"""Running commands, and the one error that a user gets to see."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


class BedError(Exception):
    """Says what failed, why, and what to do."""


@dataclass(frozen=True)
class Completed:
    """What a command left behind."""

    code: int
    output: str
    errors: str

    @property
    def ok(self) -> bool:
        return self.code == 0


def say(message: str) -> None:
    """Tell the person at the terminal what is going on; standard output is for results."""
    print(f"== {message}", file=sys.stderr, flush=True)


def attempt(command: Iterable[str], *, data: bytes | None = None, timeout: float = 60) -> Completed:
    """Run a command and return what came of it, whatever that is."""
    words = list(command)
    try:
        done = subprocess.run(words, input=data or b"", capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError:
        return Completed(127, "", f"{words[0]}: command not found; ./dev setup installs what the bed needs")
    except subprocess.TimeoutExpired:
        return Completed(124, "", f"no answer within {timeout:.0f} seconds")
    return Completed(done.returncode, _text(done.stdout), _text(done.stderr))


def run(command: Iterable[str], *, data: bytes | None = None, timeout: float = 60) -> str:
    """Run a command that has to succeed, and return its output without the last line end."""
    words = list(command)
    done = attempt(words, data=data, timeout=timeout)
    if not done.ok:
        tail = "\n  ".join((done.errors or done.output).strip().splitlines()[-15:])
        raise BedError(f"`{' '.join(words)}` failed with exit code {done.code}:\n  {tail}")
    return done.output.rstrip("\n")


def pipe(producer: list[str], consumer: list[str], timeout: float) -> None:
    """Run ``producer | consumer``; both have to succeed."""
    with subprocess.Popen(producer, stdout=subprocess.PIPE) as source:
        try:
            sink = subprocess.run(consumer, stdin=source.stdout, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            source.kill()
            raise BedError(f"`{' '.join(consumer)}` took more than {timeout:.0f} seconds") from error
    if source.returncode or sink.returncode:
        raise BedError(f"`{' '.join(producer)} | {' '.join(consumer)}` failed with exit codes "
                       f"{source.returncode} and {sink.returncode}:\n  {_text(sink.stderr).strip()}")


def wait_until(condition: Callable[[], bool], seconds: float, failure: str) -> None:
    """Wait for a condition; after so many seconds fail, and say what was waited for in vain."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BedError(f"{failure} (waited {seconds:.0f} s)")
        time.sleep(0.1)


def as_root(command: list[str]) -> list[str]:
    """Return the command as root has to call it."""
    return command if os.geteuid() == 0 else ["sudo", *command]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")
