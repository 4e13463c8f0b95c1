"""Writes numbered rows and orders numbered Celery tasks through nginx all the while, and knows which of them were acknowledged."""

from __future__ import annotations

import itertools
import json
import ssl
import threading
import time
import urllib.request
import uuid
from dataclasses import dataclass

#: Writes in a second. Each tenth of them orders a task of half a second besides.
RATE = 10
#: Seconds that a server which is being stopped still accepts tasks, at most.
IN_WORK = 15


@dataclass(frozen=True)
class Answer:
    """One write: its number, when it was sent and answered (seconds since the epoch), and what was answered: a status, or an error."""

    number: int
    sent: float
    answered: float
    said: str

    @property
    def good(self) -> bool:
        """Tell whether the row was acknowledged."""
        return self.said == "201"


class LedgerClient:
    """A client with a name of its own."""

    def __init__(self, address: str) -> None:
        self.name = f"faults-{uuid.uuid4().hex[:8]}"
        self._url = f"https://{address}/api/v1/"
        self._blind = ssl._create_unverified_context()
        self._stop = threading.Event()
        self._numbers = itertools.count(1)
        self.answers: list[Answer] = []
        self.ordered: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LedgerClient:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        started = time.monotonic()
        for turn in itertools.count(1):
            if self._stop.wait(max(0.0, started + turn / RATE - time.monotonic())):
                return
            threading.Thread(target=self._write, args=(next(self._numbers),), daemon=True).start()

    def _write(self, number: int) -> None:
        sent = time.time()
        said = self._post("ledger", {"client": self.name, "number": number})
        self.answers.append(Answer(number, sent, time.time(), said))
        if number % 10 == 0 and self._post("jobs", {"client": self.name, "number": number, "seconds": 0.5}) == "202":
            self.ordered[number] = time.time()

    def _post(self, path: str, body: dict[str, object]) -> str:
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._blind) as answer:
                return str(answer.status)
        except OSError as error:
            return str(error)

    def _found(self, path: str) -> list[int]:
        with urllib.request.urlopen(f"{self._url}{path}?client={self.name}", timeout=30, context=self._blind) as answer:
            return list(json.load(answer)["numbers"])

    def lost(self, suffered: float | None = None, patience: float = 60.0) -> list[str]:
        """Return what was acknowledged and is not there, and what is there and was never sent; tasks in work may take *patience* s.

        :arg suffered: when the server itself was stopped. What is in work then, or not on Redis's disk yet, is lost by the settings of the
            application, whatever a deployment does: its Celery acknowledges early, its Redis writes each second.
        """
        rows, sent = set(self._found("ledger")), {answer.number for answer in self.answers}
        acknowledged = {answer.number for answer in self.answers if answer.good}
        told = [f"row {number} was acknowledged and is lost" for number in sorted(acknowledged - rows)]
        told += [f"row {number} was never sent" for number in sorted(rows - sent)]
        until = time.monotonic() + patience
        ordered = {number for number, moment in self.ordered.items() if suffered is None or not -3 < moment - suffered < IN_WORK}
        while ordered - set(self._found("jobs")) and time.monotonic() < until:
            time.sleep(1)
        return told + [f"task {number} was accepted and is lost" for number in sorted(ordered - set(self._found("jobs")))]

    def failed_before(self, moment: float) -> list[Answer]:
        """Return the writes that were answered badly before *moment*."""
        return [answer for answer in self.answers if not answer.good and answer.answered < moment]

    def longest_gap(self) -> float:
        """Return the longest time in seconds between two good answers."""
        times = sorted(answer.answered for answer in self.answers if answer.good)
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)
