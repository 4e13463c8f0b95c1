"""How many of twenty writes a second through nginx fail, and for how long, while restore.yml swaps the database under the stack?

outage.py INVENTORY BACKUP, for the demonstration: outage.py inventories/demo residency_scheduler_20251222_020000
"""

from __future__ import annotations

import itertools
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
URL = "https://localhost:8443/api/v1/ledger"
RATE = 20


class Client:
    """Writes numbered rows, and notes when each answer came."""

    def __init__(self) -> None:
        self.good: list[float] = []
        self.failed: list[str] = []
        self._context = ssl._create_unverified_context()

    def write(self, number: int) -> None:
        """Write one row."""
        body = json.dumps({"client": "outage", "number": number}).encode()
        request = urllib.request.Request(URL, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._context):
                self.good.append(time.monotonic())
        except (OSError, urllib.error.URLError) as error:
            self.failed.append(str(error))


def main(inventory: str, backup: str) -> None:
    """Restore under load and print what the load saw."""
    client, done = Client(), threading.Event()

    def load() -> None:
        number, started = 0, time.monotonic()
        while not done.wait(max(0.0, started + number / RATE - time.monotonic())):
            number += 1
            threading.Thread(target=client.write, args=(number,), daemon=True).start()

    thread = threading.Thread(target=load)
    thread.start()
    play = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", inventory, "playbooks/restore.yml"]
    play += ["-e", "rollback_database=restore", "-e", f"rollback_backup={backup}", "-e", f"rollback_confirm={backup}"]
    played = subprocess.run(play, capture_output=True, text=True, check=False, cwd=ROOT)
    done.set()
    thread.join()
    time.sleep(1)
    times = sorted(client.good)
    gap = max(later - earlier for earlier, later in itertools.pairwise(times))
    print(f"exit code {played.returncode}; {len(times)} writes answered, {len(client.failed)} failed; longest gap {gap:.2f} s")
    print("\n".join(sorted(set(client.failed))))


if __name__ == "__main__":
    main(*sys.argv[1:])
