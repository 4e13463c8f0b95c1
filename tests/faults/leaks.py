"""Canary secrets, and the search for them: in what runs print and keep, in process lists and temporary files meanwhile, on the server.

A canary is made of pieces that no program changes, whatever it does to the characters between them. So a piece is looked for as it is, in
base64 and in hexadecimal, and finds the whole in any quoting, and a part of it as well.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import string
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deployed_server import HOME, PROJECT, STATE, Server

ALPHABET = string.ascii_letters + string.digits
#: What stands between the pieces of a canary: nothing that breaks a URL where the application puts it into one.
BETWEEN = {
    "DB_PASSWORD": ["-", "~"],
    "REDIS_PASSWORD": [".", "_"],
    "SECRET_KEY": ["$", " # ", "%@:/", "${HOME} "],
    "ADMIN_PASSWORD": ['{"', '": "', "\\n\\", "&&`'", '"}'],
    "WEBHOOK_TOKEN": ["' ; echo \"", "é <>&", "\\t|"],
    "SIGNING_KEY": ["\n", "\n# ", "\n"],
}
#: The application's own habit: its Redis and its health check take the password as an argument.
HABIT = re.compile(r"redis-server|redis-cli(\0| )-a")
#: Where secrets have to be.
KEPT = re.compile(
    rf"{HOME}/\.env|{STATE}/(releases/[^/]+/\.env|secrets\.json)|/var/lib/docker/containers/.*\.json|(/run/(docker/)?|/var/lib/)containerd/.*"
)
#: Samples the machine it runs on until a file appears; reads its settings from standard input behind the program.
SAMPLER = r"""
import json, os, sys, time
task = json.loads(SETTINGS)
own, hits, young, seen = os.readlink("/proc/self/ns/pid"), {}, {}, set()

def look(place, data):
    # Most of what is looked at is the same again and again.
    if hash(data) in seen:
        return
    seen.add(hash(data))
    for needle, name in task["needles"].items():
        if needle.encode() in data:
            hits.setdefault(name + " in " + place, data.replace(needle.encode(), b"***")[:200].decode("utf-8", "replace"))

def read(path):
    try:
        with open(path, "rb") as stream:
            return stream.read(1000000)
    except OSError:
        return b""

def processes():
    now = time.monotonic()
    there = set(filter(str.isdigit, os.listdir("/proc")))
    for pid in there - young.keys():
        young[pid] = now
    for pid in young.keys() - there:
        del young[pid]
    # Each is looked at for a second: right after its start it may be another program still.
    for pid in [pid for pid, since in young.items() if now - since < 1]:
        words = read("/proc/" + pid + "/cmdline")
        try:
            ours = os.readlink("/proc/" + pid + "/ns/pid") == own
        except OSError:
            continue
        if ours or not any(habit in words.replace(b"\0", b" ") for habit in (b"redis-server", b"redis-cli -a")):
            look("the process list: " + words[:40].replace(b"\0", b" ").decode("utf-8", "replace"), words)
        if ours:
            look("an environment of " + words[:40].replace(b"\0", b" ").decode("utf-8", "replace"), read("/proc/" + pid + "/environ"))

def temporary():
    for top in task["temporary"]:
        for folder, _folders, names in os.walk(os.path.expanduser(top)):
            # In these Docker hands over a container's own environment.
            for name in (name for name in names if not name.startswith("runc-process")):
                look("the temporary file " + os.path.join(folder, name), read(os.path.join(folder, name)))

rounds = 0
while not os.path.exists(task["end"]) and os.getppid() != 1:
    processes()
    temporary()
    rounds += 1
    time.sleep(0.1)
print(json.dumps({"hits": hits, "rounds": rounds}))
"""


def canaries() -> dict[str, str]:
    """Return new secrets by name, each of several pieces of twelve letters and digits."""

    def piece() -> str:
        return "".join(secrets.choice(ALPHABET) for _turn in range(12))

    return {name: piece() + "".join(between + piece() for between in betweens) for name, betweens in BETWEEN.items()}


def needles(values: Mapping[str, str]) -> dict[str, str]:
    """Return what to look for, each with its name.

    >>> sorted(needles({"A": "x1234567890"}).values())[0]
    'A'
    """
    found = {}
    for name, value in values.items():
        for piece in re.findall(r"[A-Za-z0-9]{10,}", value):
            data = piece.encode()
            found |= {piece: name, data.hex(): f"{name} in hexadecimal"}
            for before in range(3):
                # The outer characters depend on what stands around the piece.
                code = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
                found[code[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]] = f"{name} in base64"
    return found


def search(values: Mapping[str, str], texts: Mapping[str, str]) -> list[str]:
    """Return which secret was found in which text, with the line."""
    wanted = needles(values)
    pattern = re.compile("|".join(map(re.escape, wanted)))
    return [
        f"{wanted[match.group()]} in {place}: {pattern.sub('***', line)[max(0, match.start() - 150) :][:300]}"
        for place, text in texts.items()
        for line in text.splitlines()
        if (match := pattern.search(line))
    ]


class Watch:
    """Looks at process lists, environments and temporary files of the server and of this machine, from ``with`` to its end."""

    def __init__(self, server: Server, temporary: Iterable[Path]) -> None:
        self._server = server
        self._end = f"/run/leak-search-{secrets.token_hex(4)}"
        self._here = [str(path) for path in temporary]
        self._said: list[str] = []
        self.found: list[str] = []

    def __enter__(self) -> Watch:
        there = self._program(["/tmp", "/var/tmp", "~/.ansible"], self._end)
        # The whole program by standard input: it must not find itself.
        here = self._program(self._here, self._end)
        self._threads = [
            threading.Thread(target=lambda: self._said.append(self._server.ssh(f"python3 - <<'END'\n{there}\nEND\n", timeout=3600))),
            threading.Thread(target=lambda: self._said.append(_python(here))),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def _program(self, temporary: list[str], end: str) -> str:
        settings = json.dumps({"needles": needles(self._server.secrets), "temporary": temporary, "end": end})
        return f"SETTINGS = {settings!r}\n{SAMPLER}"

    def __exit__(self, *_failure: object) -> None:
        Path(self._end).touch()
        self._server.ssh(f"touch {self._end}")
        for thread in self._threads:
            thread.join(timeout=60)
        Path(self._end).unlink()
        self._server.ssh(f"rm {self._end}")
        answers = [json.loads(text) for text in self._said]
        assert len(answers) == 2, "the watch has ended before its time"
        assert all(answer["rounds"] > 3 for answer in answers), answers
        self.found = [f"{place}: {text}" for answer in answers for place, text in answer["hits"].items()]


def _python(program: str) -> str:
    return subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=True).stdout


def on_the_server(server: Server, since: float) -> list[str]:
    """Return where on the server a secret lies that should not: files, journal, Docker's events, images, and containers without need of it.

    :arg since: seconds since the epoch from which Docker's events are searched.
    """
    wanted = "\n".join(needles(server.secrets))
    grep = "grep -rlaF --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev -f /dev/fd/3 / 2>/dev/null"
    files = server.ssh(f"{grep} 3<<'END' || true\n{wanted}\nEND\n", timeout=600).splitlines()
    told = [f"a secret in the file {path}" for path in files if not KEPT.fullmatch(path)]
    open_files = server.ssh("stat --format '%a %U %n' " + " ".join(path for path in files if path.startswith((HOME, STATE))) + " || true")
    told += [f"a file with a secret that others can read: {line}" for line in open_files.splitlines() if not line.startswith("600 root ")]
    events: list[dict[str, Any]] = [
        json.loads(line) for line in server.ssh(f"docker events --since {since:.0f} --until 0s --format json").splitlines()
    ]
    inspect = "docker ps --all --quiet | xargs --no-run-if-empty docker inspect"
    containers = {item["Name"].lstrip("/"): item for item in json.loads(server.ssh(inspect) or "[]")}
    needless = {name: item for name, item in containers.items() if name.removeprefix(f"{PROJECT}-") in ("frontend", "nginx")}
    assert len(needless) == 2, sorted(containers)
    images = "docker image ls --quiet | sort --unique"
    texts = {
        "Docker's events": "\n".join(json.dumps(event) for event in events if not HABIT.search(json.dumps(event))),
        "the journal": server.ssh("journalctl --no-pager --quiet --output export --all || true"),
        "the images": server.ssh(f"for id in $({images}); do docker image inspect $id; docker image history --no-trunc $id; done"),
        **{f"docker inspect {name}": json.dumps(item, indent=0) for name, item in needless.items()},
    }
    return told + search(server.secrets, texts)
