"""What do users see of an upgrade and of a rollback, against the checklist's steps typed by a script? Prints a Markdown table.

Two Debian 13 servers of the test bed with v1.0.0; on each in turn the way to v1.1.0 and back, without a change of the database, while a
client asks twenty times a second through nginx which version serves.
"""

from __future__ import annotations

import itertools
import json
import os
import ssl
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark import BED, ROOT, by_script, call, server

sys.path[:0] = [str(ROOT / "tests/sick"), str(ROOT / "tests/faults")]
from deployed_server import Server  # noqa: E402 (of the folders above)
from play import play  # noqa: E402

RATE = 20
#: When rollback.yml has decided which way leads back.
DECISION = "Tell which way was found"


class Client:
    """Asks for the version, and notes when each answer came."""

    def __init__(self, address: str) -> None:
        self.answers: list[tuple[float, str]] = []
        self.failed = 0
        self._url, self._stop = f"https://{address}/api/v1/version", threading.Event()
        self._context = ssl._create_unverified_context()

    def _ask(self) -> None:
        try:
            with urllib.request.urlopen(self._url, timeout=10, context=self._context) as answer:
                self.answers.append((time.time(), str(json.load(answer)["version"])))
        except OSError:
            self.failed += 1

    def _run(self) -> None:
        started = time.monotonic()
        for number in itertools.count():
            if self._stop.wait(max(0.0, started + number / RATE - time.monotonic())):
                return
            threading.Thread(target=self._ask, daemon=True).start()

    def during(self, work: Callable[[], Any]) -> Any:
        """Ask while *work* runs, and five seconds longer."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            result = work()
            time.sleep(5)
        finally:
            self._stop.set()
            thread.join()
        time.sleep(1)
        return result

    def gap(self) -> float:
        """Return the longest time between two answers in seconds."""
        times = sorted(moment for moment, _version in self.answers)
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def first(self, version: str, since: float) -> float:
        """Return after how many seconds *version* answered first."""
        return min(moment for moment, found in self.answers if found == version and moment > since) - since


def main() -> None:
    """Measure and print."""
    call([*BED, "repository"])
    names = ("residency-benchmark-script", "residency-benchmark-playbook")
    with tempfile.TemporaryDirectory(prefix="residency-benchmark-") as folder:
        inventory = Path(folder)
        try:
            typed, played = (server(name) for name in names)
            hosts = {"all": {"children": {"scheduler": {"hosts": {names[1]: played}}}}}
            (inventory / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
            os.symlink(ROOT / "inventories/demo/group_vars", inventory / "group_vars")
            os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
            ours = Server(inventory, inventory / "reports")
            by_script(typed, "type_the_steps.sh", "v1.0.0")
            first = play(ours, "deploy.yml", "-e", "scheduler_version=v1.0.0")
            print("| change | longest gap typed, s | ours, s | ratio | failed typed | ours |\n|---|---|---|---|---|---|")
            for kind, version in (("upgrade", "v1.1.0"), ("rollback", "v1.0.0")):
                by_hand, by_us = Client(typed["ansible_host"]), Client(played["ansible_host"])
                by_hand.during(lambda: by_script(typed, "type_the_change.sh", kind, version))  # noqa: B023 (called at once)
                words = ["deploy.yml", "-e", f"scheduler_version={version}"] if kind == "upgrade" else ["rollback.yml"]
                run = by_us.during(lambda: play(ours, *words))  # noqa: B023 (called at once)
                if first.rc or run.rc:
                    sys.exit(run.output[-5000:])
                row = f"{by_hand.gap():.1f} | {by_us.gap():.1f} | {by_us.gap() / by_hand.gap():.2f} | {by_hand.failed} | {by_us.failed}"
                print(f"| {kind} | {row} |", flush=True)
                if kind == "rollback":
                    print(
                        f"\nFirst answer of {version} after the decision: {by_us.first(version[1:], run.began(DECISION)):.1f} s", flush=True
                    )
        finally:
            call([*BED, "down", *names])


if __name__ == "__main__":
    main()
