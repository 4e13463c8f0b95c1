"""Reads the ledger through nginx five times a second for 80 seconds; prints status and seconds of each reader."""

import ssl
import threading
import time
import urllib.request

CONTEXT = ssl._create_unverified_context()


def read() -> None:
    """Read once, and print how it went."""
    started = time.monotonic()
    try:
        with urllib.request.urlopen("https://localhost/api/v1/ledger?client=reader", timeout=30, context=CONTEXT) as answer:
            status = str(answer.status)
    except OSError as error:
        status = type(error).__name__
    print(status, round(time.monotonic() - started, 2), flush=True)


readers = []
for _number in range(400):
    readers.append(threading.Thread(target=read))
    readers[-1].start()
    time.sleep(0.2)
for reader in readers:
    reader.join()
