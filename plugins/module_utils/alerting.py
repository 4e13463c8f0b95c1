# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell people what changed: a finding when it appears, again after a while, and its end. What was told is kept on the disk."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import notification
from ansible_collections.residency.scheduler.plugins.module_utils.backups import AHEAD
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.notification import Channel, Message
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: A timer may be a little early.
_EARLY = timedelta(minutes=10)
_STATE = "alerts.json"


@dataclass(frozen=True)
class Entry:
    """A finding that is known.

    :ivar since: when it was seen first; ISO 8601.
    :ivar runs: how often in a row it was seen; 0 once it has ended, until that is told.
    :ivar told: when people were told of it last; empty for never.
    """

    subject: str
    expected: str
    found: str
    remedy: str
    since: str
    runs: int = 0
    told: str = ""


@dataclass(frozen=True)
class Decision:
    """What to tell, and what is known then.

    :ivar untold: what is known where nothing could be told.
    :ivar told: what is known once it was told.
    """

    new: tuple[Entry, ...]
    again: tuple[Entry, ...]
    ended: tuple[Entry, ...]
    untold: Mapping[str, Entry]
    told: Mapping[str, Entry]

    def note(self, known: dict[str, Entry], event: str) -> None:
        """Note in *known* that the message of this *event*, ``alert`` or ``resolved``, reached somebody."""
        for entry in self.ended if event == "resolved" else ():
            del known[entry.subject]
        known.update({entry.subject: self.told[entry.subject] for entry in (*self.new, *self.again) if event == "alert"})


def decide(
    before: Mapping[str, Entry], failed: Sequence[Check], now: datetime, failures: int, remind: timedelta, *, whole: bool = True
) -> Decision:
    """Return what has changed since *before*, the findings of the run before by subject. Pure.

    :arg failures: how many runs in a row have to find the same before it is told.
    :arg remind: after how long it is told again.
    :arg whole: whether everything was looked at; else nothing of before has ended.
    """
    known: dict[str, Entry] = {} if whole else dict(before)
    for check in failed:
        old = before.get(check.subject, Entry(check.subject, "", "", "", now.isoformat(timespec="seconds")))
        known[check.subject] = replace(old, expected=check.expected, found=check.found, remedy=check.remedy, runs=old.runs + 1)
    new = [entry for entry in known.values() if not entry.told and entry.runs >= failures]
    again = [entry for entry in known.values() if entry.told and _is_due(now - datetime.fromisoformat(entry.told), remind)]
    # One that nobody was told of ends without a word.
    ended = [replace(entry, runs=0) for subject, entry in before.items() if subject not in known and entry.told]
    stamp = now.isoformat(timespec="seconds")
    told = {**known, **{entry.subject: replace(entry, told=stamp) for entry in [*new, *again]}}
    return Decision(tuple(new), tuple(again), tuple(ended), {**known, **{entry.subject: entry for entry in ended}}, told)


def _is_due(since: timedelta, remind: timedelta) -> bool:
    # A time that is yet to come was noted while the clock was ahead.
    return since >= remind - _EARLY or since < -AHEAD


def messages(decision: Decision, facts: Mapping[str, str]) -> list[Message]:
    """Return what to send: one message for what is there, and one for what has ended. Pure.

    :arg facts: ``host`` and ``project`` at least.
    """
    sent = []
    alarming = [*decision.new, *decision.again]
    if alarming:
        lines = [line for entry in decision.new for line in _tell(entry)]
        lines += ["Still not mended:", *(line for entry in decision.again for line in _tell(entry))] if decision.again else []
        sent.append(Message("alert", _subject(facts, "", alarming), tuple(lines), {**facts, "findings": str(len(alarming))}))
    if decision.ended:
        lines = [f"- {entry.subject}: was {entry.found} (since {entry.since})" for entry in decision.ended]
        subject = _subject(facts, "resolved: ", decision.ended)
        sent.append(Message("resolved", subject, tuple(lines), {**facts, "findings": str(len(decision.ended))}))
    return sent


def _subject(facts: Mapping[str, str], word: str, entries: Sequence[Entry]) -> str:
    more = f", and {len(entries) - 1} more" if len(entries) > 1 else ""
    return f"{facts['project']} on {facts['host']}: {word}{entries[0].subject}{more}"


def _tell(entry: Entry) -> list[str]:
    lines = [f"- {entry.subject}: expected {entry.expected}, found {entry.found} (since {entry.since})"]
    return [*lines, f"  What to do: {entry.remedy}"] if entry.remedy else lines


class Alerts:
    """What is known and was told, in *folder*; each kind of run knows of its own findings only."""

    def __init__(self, folder: str, channels: Sequence[Channel], facts: Mapping[str, str], remind: timedelta, spare: str = "") -> None:
        """Keep what is known in *folder*.

        :arg spare: a file in memory that takes its place while the disk is full or read-only: otherwise a finding would never be seen for
            the second time, or be told with each run.
        """
        self._folder, self._channels, self._facts, self._remind, self._spare = folder, channels, facts, remind, spare

    def tell(self, source: str, failed: Sequence[Check], now: datetime, failures: int, *, whole: bool = True) -> list[str]:
        """Tell what has changed in the findings of *source*; return what was told, and which channel did not take it.

        :arg whole: see :func:`decide`.
        """
        with self._locked():
            state = self._read()
            before = {subject: Entry(**entry) for subject, entry in state["sources"].get(source, {}).items()}
            decision = decide(before, failed, now, failures, self._remind, whole=whole)
            said: list[str] = []
            known = dict(decision.untold)
            for message in messages(decision, self._facts):
                deliveries = notification.deliver(self._channels, message)
                state["undelivered"] = {
                    **{name: why for name, why in state["undelivered"].items() if name not in {item.channel for item in deliveries}},
                    **{item.channel: item.problem for item in deliveries if item.problem},
                }
                # Where no channel took it, the next run tries again.
                if not deliveries or any(not item.problem for item in deliveries):
                    decision.note(known, message.event)
                said += [f"{message.event}: {message.subject}", *message.lines]
                said += [f"Telling it by {item.channel} failed: {item.problem}" for item in deliveries if item.problem]
            state["sources"][source] = {subject: asdict(entry) for subject, entry in known.items()}
            self._write(json.dumps(state, indent=2, sort_keys=True) + "\n")
        return said

    def known(self) -> list[Entry]:
        """Return the findings that people were told of and that have not ended."""
        entries = [Entry(**entry) for source in self._read()["sources"].values() for entry in source.values()]
        return [entry for entry in entries if entry.told and entry.runs]

    def deliveries(self) -> list[Check]:
        """Return a failed check for each channel that did not take the last message."""
        remedy = "Correct the channel in the inventory (notify_channels), and run monitoring.yml again; or mend what receives it."
        names = {channel.name for channel in self._channels}
        undelivered = self._read()["undelivered"]
        return [
            judge(f"channel {name}: delivery", False, "the last message taken", why, remedy, topic="channels")
            for name, why in undelivered.items()
            if name in names
        ]

    @property
    def _path(self) -> str:
        return os.path.join(self._folder, _STATE)

    def _write(self, text: str) -> None:
        try:
            write_text(self._path, text, 0o600)
        except Problem:
            if not self._spare:
                raise
            write_text(self._spare, text, 0o600)
            return
        if self._spare and os.path.exists(self._spare):
            os.unlink(self._spare)

    def _read(self) -> dict[str, Any]:
        try:
            spare = read_text(self._spare) if self._spare else ""
            state = json.loads(spare or read_text(self._path) or "{}")
            return {"sources": dict(state.get("sources") or {}), "undelivered": dict(state.get("undelivered") or {})}
        except (ValueError, AttributeError, TypeError, Problem):
            # Told once more is better than never again.
            return {"sources": {}, "undelivered": {}}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Not to be written: the disk may be read-only.
        descriptor = os.open(f"{self._path}.lock", os.O_RDONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
