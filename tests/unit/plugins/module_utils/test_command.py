# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands, with real processes."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import dotenv
from ansible_collections.residency.scheduler.plugins.module_utils.command import (
    CommandResult,
    SubprocessRunner,
    clean_environment,
    redact,
    require,
)
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

# Starts a child that would outlive it, tells its number, and waits.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Tell whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_words_exit_code_and_input() -> None:
    script = "import sys; print(sys.stdin.read().upper()); print('oops', file=sys.stderr); sys.exit(3)"
    result = SubprocessRunner().run([sys.executable, "-c", script], stdin="häl", timeout=30)
    assert (result.rc, result.stdout, result.stderr, result.timed_out) == (3, "HÄL\n", "oops\n", False)
    assert result.seconds > 0


def test_output_that_is_no_utf_8_is_kept() -> None:
    result = SubprocessRunner().run([sys.executable, "-c", r"import sys; sys.stdout.buffer.write(b'a\xffb')"], timeout=30)
    assert result.stdout == "a\ufffdb"


def test_a_time_out_ends_the_whole_group_and_keeps_what_was_said() -> None:
    started = time.monotonic()
    result = SubprocessRunner().run([sys.executable, "-c", PARENT], timeout=2)
    assert result.timed_out
    assert result.rc == -9
    assert time.monotonic() - started < 20
    child = int(result.stdout)
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_a_missing_program_is_a_problem_that_names_it() -> None:
    with pytest.raises(Problem, match="no-such-program") as caught:
        SubprocessRunner().run(["no-such-program", "x"])
    assert "Install no-such-program" in caught.value.message()
    assert caught.value.details["cmd"] == ["no-such-program", "x"]


def test_the_environment_cannot_redirect_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "/elsewhere.yml")
    result = SubprocessRunner().run([sys.executable, "-c", "import os; print(sorted(os.environ))"], timeout=30)
    assert "COMPOSE_FILE" not in result.stdout
    assert os.environ["COMPOSE_FILE"] == "/elsewhere.yml"


def test_clean_environment() -> None:
    cleaned = clean_environment({"PATH": "/bin", "COMPOSE_PROJECT_NAME": "x", "LC_ALL": "de_DE", "DOCKER_HOST": "unix:///x"})
    ours = {"LC_ALL": "C.UTF-8", "NO_COLOR": "1", "GIT_TERMINAL_PROMPT": "0", "BUILDX_GIT_INFO": "false"}
    assert cleaned == {"PATH": "/bin", "DOCKER_HOST": "unix:///x", **ours}


@pytest.mark.parametrize(
    ("rc", "timed_out", "stdout", "stderr", "why"),
    [
        (1, False, "", "it broke\n", "exit code 1: it broke"),
        (2, False, "only here\n", "", "exit code 2: only here"),
        (3, False, "", "", "exit code 3: no output"),
        (-9, True, "partial", "", "it did not end within 61 s"),
        (0, True, "", "", "it did not end within 61 s"),
        (1, False, "", "the password is hunter22\n", "exit code 1: the password is ********"),
    ],
)
def test_require_fails(rc: int, timed_out: bool, stdout: str, stderr: str, why: str) -> None:
    result = CommandResult(("tool", "x"), rc, stdout, stderr, 61.2, timed_out)
    with pytest.raises(Problem) as caught:
        require(result, "Doing it failed", "Do it better.", ["hunter22"])
    assert caught.value.message() == f"Doing it failed: {why}. Do it better."
    assert caught.value.details["rc"] == rc
    assert "hunter22" not in str(caught.value.details)


def test_require_passes_a_success_on() -> None:
    result = CommandResult(("true",), 0, "x", "", 0.1)
    assert require(result, "Doing it failed", "Do it better.") is result


def test_last_lines_prefers_the_errors_and_cuts() -> None:
    assert CommandResult(("x",), 1, "out", "1\n2\n3\n", 0.1).last_lines(2) == "2\n3"


@pytest.mark.parametrize(
    ("text", "secrets", "expected"),
    [
        ("a hunter22 b hunter22", ["hunter22"], "a ******** b ********"),
        ("hunter2233", ["hunter22", "hunter2233"], "********"),
        ("abc", ["abc"], "abc"),  # three letters would blot out half of the text
        ("text", ["", "absent"], "text"),
    ],
)
def test_redact(text: str, secrets: list[str], expected: str) -> None:
    assert redact(text, secrets) == expected


AWKWARD = "kX3'$q9 \"#w7%\\é@:/"
SEVERAL_LINES = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n}\n-----END KEY-----"


@pytest.mark.parametrize("secret", [AWKWARD, SEVERAL_LINES, "plainpassword"])
@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        json.dumps,
        lambda text: json.dumps({"a": text, "b": 1}, ensure_ascii=False),
        shlex.quote,
        lambda text: dotenv.render({"NAME": text}),
        lambda text: text.replace("$", "$$"),
        lambda text: text.replace("$", "\\$"),
        quote,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
        lambda text: "\n".join(f"backend | {line}" for line in text.splitlines()),
    ],
    ids=[
        *("raw", "repr", "JSON", "JSON in UTF-8", "shell", ".env", "Compose", "double quotes"),
        *("URL", "form", "URL, whole", "base64", "base64 for URLs", "log"),
    ],
)
def test_redact_knows_the_forms(secret: str, show: Callable[[str], str]) -> None:
    shown = redact(f"before {show(secret)} after", [secret])
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert not [word for word in re.findall(r"\w{3,}", secret) if word in shown]


def test_a_secret_at_the_cut_of_a_long_output_is_blotted_out() -> None:
    output = f"{'x' * 10}hunter22{'y' * 3996}"
    with pytest.raises(Problem) as caught:
        require(CommandResult(("tool",), 1, output, output, 0.1), "Doing it failed", "Do it better.", ["hunter22"])
    assert "er22" not in str(caught.value.details["stdout"] + caught.value.details["stderr"])
