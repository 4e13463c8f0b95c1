"""No alarm on a healthy stack: verified again and again under load, and right after a slow start.

RESIDENCY_VERIFICATIONS says how often (default 3; each makes some ninety checks).
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from deployed_server import Server

REQUESTS_A_SECOND = 20


@contextmanager
def load(url: str) -> Iterator[list[str]]:
    """Ask for pages all the while, at a steady rate; yield what went wrong."""
    wrong: list[str] = []
    over = threading.Event()
    # Certificates have tests of their own.
    blind = ssl._create_unverified_context()

    def ask() -> None:
        while not over.wait(4 / REQUESTS_A_SECOND):
            try:
                with urllib.request.urlopen(f"{url}/login", context=blind, timeout=10) as answer:
                    answer.read()
            except OSError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=ask, daemon=True) for _number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        over.set()
        for thread in threads:
            thread.join(15)


def test_under_load(server: Server) -> None:
    checks = 0
    # The published port on loopback, or the server's own address.
    address = server.host["ansible_host"]
    url = "https://127.0.0.1:8443" if address == "127.0.0.1" else f"https://{address}"
    with load(url) as wrong:
        for _number in range(int(os.environ.get("RESIDENCY_VERIFICATIONS", "3"))):
            outcome = server.verify(verify_log_seconds=5)
            assert outcome.rc == 0, outcome.told()
            checks += sum(len(line["evidence"]) for line in outcome.report["lines"])
    print(f"{checks} checks without an alarm")
    assert wrong == []
    assert checks > 200


def test_right_after_a_slow_start(server: Server) -> None:
    server.ssh("docker restart -t 5 residency-scheduler-backend residency-scheduler-celery-beat >/dev/null")
    started = time.monotonic()
    outcome = server.verify(verify_log_seconds=5)
    assert outcome.rc == 0, outcome.told()
    assert time.monotonic() - started < 90
