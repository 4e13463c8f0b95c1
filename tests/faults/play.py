"""Runs playbooks against the server, and kills them where a test wants it.

RESIDENCY_FAULT_OUTPUT names a folder that keeps what each run printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deployed_server import ROOT, Server, ansible
from oracle import Run, Task

#: Which of so many equal parts of the faults this process tries, from 1: several processes, each with a server of its own, share them.
PART, PARTS = (int(number) for number in (os.environ.get("RESIDENCY_FAULT_PART") or "1/1").split("/"))
#: Whether all faults are tried, or a sample.
ALL = bool(os.environ.get("RESIDENCY_FAULT_ALL"))
#: How many places of each playbook are cut, see test_kill_points; empty for none.
POINTS = os.environ.get("RESIDENCY_FAULT_POINTS") or ("all" if ALL else "")
#: The server that the tests make.
NAME = f"residency-faults-{PART}"
#: Seconds after which a run is too slow, whatever happened to it.
DEADLINE = 600.0
#: Seconds; the bake time is long enough in molecule's scenarios, where something happens in it.
BAKE = 8
Item = TypeVar("Item")


@dataclass(frozen=True)
class Prepared:
    """A server, how its first deployments and the way back went, and where a secret was seen meanwhile."""

    server: Server
    runs: list[Run]
    leaks: list[str]


def my_part(faults: Sequence[Item]) -> list[Item]:
    """Return those of *faults* that this process tries."""
    return list(faults[PART - 1 :: PARTS])


def play(
    server: Server,
    playbook: str,
    *options: str,
    kill_at: int = 0,
    kill_after: float = 0.0,
    kill_in: str = "",
    fault: tuple[str, Callable[[], None]] | None = None,
    kept: Path | None = None,
) -> Run:
    """Run a playbook and return how it went.

    :arg fault: what happens half a second after the first task whose name holds this text began.
    :arg kill_at: number of the task before which ansible-playbook ends by SIGKILL; 0 for none.
    :arg kill_after: seconds into that task instead of before it.
    :arg kill_in: part of the name of a task in which it ends so.
    :arg kept: where Ansible keeps log, facts and temporary files of a run that tells as much as it can, with all differences.
    """
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        journal.touch()
        environment = {
            **os.environ,
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/faults/callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "kill_switch",
            "RESIDENCY_JOURNAL": str(journal),
            "RESIDENCY_KILL_AT": str(kill_at),
            "RESIDENCY_KILL_AFTER": str(kill_after),
        }
        command = [*ansible("ansible-playbook"), "-i", str(server.inventory), f"playbooks/{playbook}", *options]
        command += ["-e", json.dumps({"scheduler_reports_dir": str(server.reports), "verify_bake": BAKE})]
        if kept:
            command += ["-vvvvv", "--diff"]
            environment |= {"ANSIBLE_LOG_PATH": str(kept / "log"), "ANSIBLE_LOCAL_TEMP": str(kept / "tmp")}
            environment |= {"ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(kept / "facts")}
        started, suffered = time.monotonic(), None
        with tempfile.TemporaryFile() as output:
            # A file, not a pipe: what a killed run leaves behind must not be waited for.
            running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=ROOT)
            while running.poll() is None:
                if kill_in and kill_in in journal.read_text(encoding="utf-8"):
                    time.sleep(0.5)
                    running.kill()
                if fault and fault[0] in journal.read_text(encoding="utf-8"):
                    time.sleep(0.5)
                    suffered = time.time()
                    fault[1]()
                    fault = None
                time.sleep(0.05)
            seconds = time.monotonic() - started
            output.seek(0)
            text = output.read().decode("utf-8", "replace")
        events = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    if os.environ.get("RESIDENCY_FAULT_OUTPUT"):
        folder = Path(os.environ["RESIDENCY_FAULT_OUTPUT"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{time.time():.0f}-{playbook}.log").write_text(text, encoding="utf-8")
    changed = {event["changed"] for event in events if "changed" in event}
    tasks = [Task(event["number"], event["task"], event["time"], event["number"] in changed) for event in events if "task" in event]
    return Run(playbook, running.returncode, text, seconds, tasks, suffered)


def kept_by(runs: Sequence[Run], kept: Path, server: Server) -> dict[str, str]:
    """Return what runs printed, what Ansible kept of them, and their reports: texts by name."""
    files = [path for folder in (kept, server.reports) for path in folder.rglob("*") if path.is_file()]
    printed = {f"what {run.playbook} printed, run {number}": run.output for number, run in enumerate(runs, 1)}
    return printed | {path.name: path.read_text(encoding="utf-8", errors="replace") for path in files}
