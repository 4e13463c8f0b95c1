# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that nobody gave: made once, kept on the server for ever after, and made anew only where that is asked for.

The release that serves is the truth: a kept secret follows its ``.env``, also after the way back. Only one that is named for a rotation
goes ahead of it, and is noted: the same command again goes on with it, and makes no other.
"""

from __future__ import annotations

import json
import os
import secrets
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import dotenv, ledger
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

MODE = 0o600
#: Of 62 letters and digits this many have 285 bits.
LENGTH = 48
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Server:
    """What a server has of secrets.

    :ivar kept: those that were made here, by name.
    :ivar rotated: names whose rotation was begun, and that were named for one in every run since.
    :ivar serving: the ``.env`` of the release that serves; empty where none does.
    :ivar settled: whether there is a release, or a database: then a secret that is missing was lost, and is not made.
    """

    kept: Mapping[str, str] = field(default_factory=dict)
    rotated: frozenset[str] = frozenset()
    serving: Mapping[str, str] = field(default_factory=dict)
    settled: bool = False


@dataclass(frozen=True)
class Plan:
    """What the next deployment does about secrets.

    :ivar values: of the required ones that nobody gave.
    :ivar made: names of those that are made now.
    :ivar lost: names without a value, which are not made, since the server is settled.
    :ivar changed: names that were given with another value than the one that serves, and not for a rotation.
    :ivar done: names whose rotation is done already.
    :ivar kept: what is kept from now on.
    :ivar rotated: names whose rotation is noted from now on.
    """

    values: Mapping[str, str]
    made: tuple[str, ...]
    lost: tuple[str, ...]
    changed: tuple[str, ...]
    done: tuple[str, ...]
    kept: Mapping[str, str]
    rotated: tuple[str, ...]


def decide(
    given: Mapping[str, Any],
    required: Sequence[str],
    rotate: Collection[str],
    server: Server,
    make: Callable[[], str],
    generate: bool,
) -> Plan:
    """Return the value of each required secret that was not given, and what has to be kept. Pure, but for *make*.

    :arg given: a name with an empty value was meant to be given, and is not made.
    :arg make: returns a new secret.
    :arg generate: whether secrets may be made at all.
    """
    values, made, lost, done = dict[str, str](), list[str](), list[str](), list[str]()
    for name in (name for name in required if name not in given):
        kept, serving = server.kept.get(name), server.serving.get(name)
        if kept is not None and name in rotate and name in server.rotated:
            values[name] = kept
            done += [name] if kept == serving else []
        elif kept is not None and name not in rotate:
            values[name] = serving or kept
        elif generate and (name in rotate or not server.settled):
            values[name] = make()
            made.append(name)
        else:
            lost.append(name)
    served = {name: server.serving[name] == value for name, value in given.items() if value and name in server.serving}
    changed = [name for name, same in served.items() if not same and name not in rotate]
    done += [name for name, same in served.items() if same and name in rotate]
    others = {name: value for name, value in server.kept.items() if name not in given}
    rotated = sorted(name for name in values if name in rotate)
    return Plan(values, tuple(made), tuple(lost), tuple(sorted(changed)), tuple(done), {**others, **values}, tuple(rotated))


def make() -> str:
    """Return a new secret of letters and digits, which every URL takes as they are."""
    return "".join(secrets.choice(_ALPHABET) for _position in range(LENGTH))


def path(state_dir: str) -> str:
    """Return where the secrets are kept."""
    return os.path.join(state_dir, "secrets.json")


def read(state_dir: str) -> Server:
    """Return what is kept, and the environment of the last good release.

    :raises Problem: a file cannot be read, or is none of ours.
    """
    text = read_text(path(state_dir))
    try:
        content = json.loads(text or '{"secrets": {}, "rotated": []}')
        kept, rotated = {str(name): str(value) for name, value in content["secrets"].items()}, frozenset(map(str, content["rotated"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        remedy = "Move it away, and give the secrets in scheduler_secrets; those of the release that serves are in its .env."
        # Not the parser's words, which may quote a secret.
        raise Problem("Reading the kept secrets failed", f"{path(state_dir)} is no such file", remedy) from error
    good = ledger.last_good(ledger.read_records(state_dir))
    serving = dotenv.parse(read_text(os.path.join(ledger.folder(state_dir, str(good["id"])), ".env"))) if good else {}
    return Server(kept, rotated, serving, settled=good is not None)


def write(state_dir: str, plan: Plan) -> None:
    """Keep what is planned."""
    write_text(path(state_dir), json.dumps({"secrets": plan.kept, "rotated": plan.rotated}, indent=2, sort_keys=True) + "\n", MODE)
