# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the unit tests share: recorded outputs, and a runner that plays them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult

# ansible-test does not read pyproject.toml, and imports no module beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


class FakeRunner:
    """Answers commands whose words contain a known sequence, once each in the given order; any other call fails the test."""

    def __init__(self, *answers: tuple[str, CommandResult | str]) -> None:
        self._answers = list(answers)
        self.calls: list[tuple[list[str], str]] = []

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Return the next answer, if it is for this command."""
        assert timeout > 0, "every command has a deadline"
        line = " ".join(argv)
        assert self._answers, f"unexpected command: {line}"
        words, answer = self._answers.pop(0)
        assert words in line, f"expected a command with {words!r}, got: {line}"
        self.calls.append((list(argv), stdin))
        return answer if isinstance(answer, CommandResult) else CommandResult(tuple(argv), 0, answer, "", 0.1)

    def finished(self) -> bool:
        """Tell whether every answer was asked for."""
        return not self._answers


@pytest.fixture(name="recorded")
def recorded_fixture() -> Callable[[str], str]:
    """Return a function that reads a recorded output."""
    return lambda name: (FIXTURES / name).read_text(encoding="utf-8")


@pytest.fixture(name="runner")
def runner_fixture() -> Callable[..., FakeRunner]:
    """Return the class, so that a test says which commands it expects: runner(("docker ps", "..."))."""
    return FakeRunner
