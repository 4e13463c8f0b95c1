"""The ten invariants, looked at from outside after every fault by this same program. It imports nothing of the collection."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from deployed_server import HOME, PROJECT, STATE, Server
from leaks import HABIT, search
from ledger_client import LedgerClient

#: What a server says of itself, as one JSON document.
LOOK = f"""
python3 - <<'END'
import glob, hashlib, json, os, ssl, subprocess, urllib.request

def run(*words):
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()

def psql(database, sql):
    return run("docker", "exec", "{PROJECT}-db", "psql", "-U", "scheduler", "-d", database, "-Atc", sql).splitlines()

records = {{}}
for path in glob.glob("{STATE}/releases/*/record.json"):
    record = json.load(open(path))
    records[record["id"]] = dict(record, verdict="candidate")
good = None
for line in open("{STATE}/releases/history.jsonl").read().splitlines():
    event = json.loads(line)
    if event["id"] in records and event["verdict"] != "pruned":
        records[event["id"]].update(event)
        good = event["id"] if event["verdict"] == "good" else good
containers = json.loads(run("docker", "inspect", *run("docker", "ps", "-aq").split()) or "[]")
try:
    address = "https://localhost/api/v1/version"
    version = json.load(urllib.request.urlopen(address, timeout=10, context=ssl._create_unverified_context()))
except OSError as error:
    version = {{"version": str(error), "revision": ""}}
temporary = [name for folder in ("{STATE}", "{STATE}/compose", "{STATE}/releases", "{HOME}") for name in glob.glob(folder + "/.*")]
print(json.dumps({{
    "serving": records.get(good, {{}}),
    "records": list(records.values()),
    "head": run("git", "-C", "{HOME}", "rev-parse", "HEAD"),
    "dirty": run("git", "-C", "{HOME}", "status", "--porcelain"),
    "env": hashlib.sha256(open("{HOME}/.env", "rb").read()).hexdigest(),
    "containers": {{
        item["Name"].lstrip("/"): [item["Config"]["Labels"].get("com.docker.compose.service", ""), item["Image"], item["State"]["Status"]]
        for item in containers
    }},
    "images": run("docker", "image", "ls", "--no-trunc", "--format", "{{{{.ID}}}}").split(),
    "version": version,
    "databases": psql("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate"),
    "revision": psql("residency_scheduler", "SELECT version_num FROM alembic_version"),
    "temporary": temporary,
    "partial": glob.glob("{STATE}/backups/*/.partial*") + glob.glob("{STATE}/releases/.partial*"),
    "markers": [name for name in ("drained", "checkout-in-progress") if os.path.exists("{STATE}/" + name)],
    "processes": run("ps", "axww", "-o", "args"),
}}))
END
"""
#: The tasks that change what runs; before the first of them the release of before has to answer every request.
CHANGES = (
    "password of the release, before it is replaced",
    "Start db",
    "Start backend",
    "Start frontend",
    "Start nginx",
    "Run the pending revisions",
    "Stop what uses the database",
)
#: Hidden files that belong where they are.
AT_HOME = {".env", ".env.example", ".git", ".gitignore", ".github", ".dockerignore"}


@dataclass(frozen=True)
class Task:
    """A task of a run: its number from 1, its name, when it began in seconds since the epoch, and whether it changed something."""

    number: int
    name: str
    began: float
    changed: bool


@dataclass(frozen=True)
class Run:
    """A playbook's run: its exit code (negative for a signal), all it printed, seconds, its tasks, and when a fault befell the server."""

    playbook: str
    rc: int
    output: str
    seconds: float
    tasks: list[Task] = field(default_factory=list)
    suffered: float | None = None

    def began(self, name: str) -> float | None:
        """Return when the first task whose name holds *name* began, in seconds since the epoch."""
        return next((task.began for task in self.tasks if name in task.name), None)

    def changed(self) -> int:
        """Return how many tasks changed something."""
        found = re.search(r"changed=(\d+)", self.output)
        return int(found.group(1)) if found else -1


def look(server: Server) -> dict[str, Any]:
    """Return what the server says of itself."""
    return dict(json.loads(server.ssh(LOOK)))


def digest(state: dict[str, Any]) -> dict[str, Any]:
    """Return what has to be the same after a run that changes nothing."""
    kept = ("head", "env", "containers", "images", "revision", "databases")
    return {key: sorted(state[key]) if isinstance(state[key], list) else state[key] for key in kept}


def violations(server: Server, runs: list[Run], client: LedgerClient, deadline: float) -> list[str]:
    """Return every invariant that does not hold now that the last of *runs* has ended well.

    :arg runs: the cut or failed run, the same command again, and the same once more.
    :arg deadline: seconds that one run may take.
    """
    state, (*_first, second, third) = look(server), runs
    told = [f"1 data: {line}" for line in client.lost(next((run.suffered for run in runs if run.suffered), None))]
    told += [f"2 one version: {line}" for line in one_version(state)]
    told += [f"3 truthful exit: {run.playbook} said {run.rc}" for run in (second, third) if run.rc != 0]
    began = changed_at(runs)
    failed = client.failed_before(began)
    if failed:
        first = failed[0]
        told.append(
            f"4 the old version serves: {len(failed)} writes failed before the change, one {began - first.answered:.1f} s before it, "
            f"{first.answered - first.sent:.1f} s after it was sent: {first.said}"
        )
    told += [f"5 again: changed={third.changed()}"] if third.changed() != 0 else []
    told += [f"6 the way back: {line}" for line in way_back(state)]
    texts = {f"run {number}, {run.playbook}": run.output for number, run in enumerate(runs, 1)}
    processes = "\n".join(line for line in state["processes"].splitlines() if not HABIT.search(line))
    texts |= {"the process list": processes, "the records": json.dumps(state["records"], indent=0)}
    told += [f"7 secrets: {line}" for line in search(server.secrets, texts)]
    told += [f"9 time: {run.playbook} took {run.seconds:.0f} s" for run in runs if run.seconds > deadline]
    told += [f"10 litter: {line}" for line in litter(state)]
    return told


def changed_at(runs: list[Run]) -> float:
    """Return when a run began to change what runs, or a fault befell what runs, in seconds since the epoch."""
    times = [run.began(name) for run in runs for name in CHANGES] + [run.suffered for run in runs]
    return min((moment for moment in times if moment is not None), default=float("inf"))


def one_version(state: dict[str, Any]) -> list[str]:
    """Compare commit, running images, record and what the application reports."""
    record = state["serving"]
    wanted = {service: image["id"] for service, image in record["images"].items()}
    told = []
    if state["head"] != record["commit"]:
        told.append(f"the checkout is at {state['head'][:12]}, the record says {record['commit'][:12]}")
    told += [f"local changes: {state['dirty']}"] if state["dirty"] else []
    for name, (service, image, status) in state["containers"].items():
        told += [f"{name} is {status}"] if status != "running" else []
        told += [f"{name} runs another image than the record says"] if wanted.get(service) != image else []
    told += [f"{service} does not run" for service in wanted if service not in {item[0] for item in state["containers"].values()}]
    if "v" + str(state["version"].get("version")) != record["version"]:
        told.append(f"the application says {state['version']}, the record {record['version']}")
    if sorted(record.get("revision") or []) != sorted(state["revision"]):
        told.append(f"the database stands at {state['revision']}, the record says {record.get('revision')}")
    return told


def way_back(state: dict[str, Any]) -> list[str]:
    """Look for the images of each release that is good."""
    return [
        f"{record['version']} lacks the image of {service}"
        for record in state["records"]
        if record["verdict"] == "good"
        for service, image in record["images"].items()
        if image["id"] not in state["images"]
    ]


def litter(state: dict[str, Any]) -> list[str]:
    """Look for what a run left behind."""
    told = [f"the database {name}" for name in state["databases"] if name not in ("postgres", "residency_scheduler")]
    told += [f"the container {name}" for name, item in state["containers"].items() if not name.startswith(f"{PROJECT}-") or not item[0]]
    told += [f"the container {name}" for name in state["containers"] if name.endswith("-stand-in")]
    told += [f"the file {name}" for name in state["temporary"] if name.rsplit("/", 1)[-1] not in AT_HOME]
    return told + [f"the folder {name}" for name in state["partial"]] + [f"the marker {name}" for name in state["markers"]]
