# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one of our scripts with the application's own Python, inside its container.

The script goes in by standard input: nothing is copied into the container, and nothing shows in a process list. Its
answer is the one line that starts with the marker; all else that the application prints is kept for error messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, Runner, redact, require
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

MARKER = "residency.scheduler:"
#: Makes modules of the texts, in their order, and calls the last one.
PROGRAM = """
import json, os, sys, threading, types

if {limit}:
    # A signal would not do: nothing is told of one while a library waits for the network.
    _end = threading.Timer({limit}, os._exit, (124,))
    _end.daemon = True
    _end.start()
for _name, _text in json.loads({texts}).items():
    _package = sys.modules.setdefault(_name.rpartition(".")[0], types.ModuleType(_name.rpartition(".")[0]))
    _module = sys.modules[_name] = types.ModuleType(_name)
    setattr(_package, _name.rpartition(".")[2], _module)
    exec(compile(_text, _name, "exec"), _module.__dict__)
print("{marker}" + json.dumps(sys.modules["{script}"].main(**json.loads({parameters}))))
"""


def source(script: ModuleType, parameters: Mapping[str, Any], helpers: Sequence[ModuleType] = (), limit: float = 0) -> str:
    """Return the text of a program that calls *script*'s ``main`` with *parameters*.

    :arg helpers: modules of ours that the script imports; they are found under their own names.
    :arg limit: seconds after which the program ends itself; 0 for never.
    """
    texts = {module.__name__: _text(module) for module in (*helpers, script)}
    given = {"texts": json.dumps(json.dumps(texts)), "parameters": json.dumps(json.dumps(parameters))}
    return PROGRAM.format(script=script.__name__, marker=MARKER, limit=limit, **given)


def _text(module: ModuleType) -> str:
    """Return a module's text. The loader is asked, not the file: on a managed host our modules lie in a zip archive."""
    loader: Any = module.__loader__
    return str(loader.get_source(module.__name__))


def run(
    argv: Sequence[str],
    script: ModuleType,
    parameters: Mapping[str, Any],
    runner: Runner,
    *,
    what: str,
    remedy: str,
    helpers: Sequence[ModuleType] = (),
    secrets: Sequence[str] = (),
    timeout: float = 60.0,
    limit: float = 0,
) -> dict[str, Any]:
    """Run *script* by *argv* (a command that starts Python and reads its program from standard input).

    :arg limit: seconds after which the script ends itself: where *argv* is a client's, its end does not end what it started.
    :raises Problem: the command failed, or gave no answer; it quotes the last lines without secrets.
    """
    result = runner.run(argv, stdin=source(script, parameters, helpers, limit), timeout=timeout)
    answer = parse_answer(result)
    if answer is None:
        require(result, what, remedy, secrets)
        raise Problem(what, "the script gave no answer", remedy, stdout=redact(result.stdout, secrets)[-2000:])
    return answer


def parse_answer(result: CommandResult) -> dict[str, Any] | None:
    """Return the script's answer, or None if it ended before it could give one."""
    for line in reversed(result.stdout.splitlines()):
        if line.startswith(MARKER):
            answer = json.loads(line[len(MARKER):])
            return answer if isinstance(answer, dict) else None
    return None
