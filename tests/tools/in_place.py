"""Do the playbooks run from a plain clone, from inside playbooks/, and under ansible-runner? As an installed collection: tests/package.

Each way parses every playbook with all its roles (--syntax-check) and must name our own role where it says that it found it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from steps import ROOT, environment, tracked

COLLECTION = "residency.scheduler"


class Failure(Exception):
    """A command that failed, with what it said."""


def call(words: list[str], folder: Path, **variables: str | None) -> str:
    """Run a command in *folder* and return its output; a variable that is None is taken off the environment."""
    merged = {**environment(), **variables}
    clean = {name: value for name, value in merged.items() if value is not None}
    answer = subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if answer.returncode:
        raise Failure(f"{' '.join(words)} in {folder}: exit code {answer.returncode}\n{answer.stdout}{answer.stderr}")
    return answer.stdout + answer.stderr


def playbooks() -> list[str]:
    """Return the names of our playbooks, without suffix."""
    names = sorted(path.stem for path in tracked("playbooks/*.yml") if path.parent == Path("playbooks"))
    if not names:
        raise Failure("there are no playbooks")
    return names


@contextmanager
def clone() -> Iterator[Path]:
    """Yield a copy of the checkout in which nothing is installed, links kept."""
    with tempfile.TemporaryDirectory(prefix="residency-in-place-") as name:
        folder = Path(name) / "clone"
        for path in tracked():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path, follow_symlinks=False)
        yield folder


def from_the_root() -> None:
    """ansible-playbook playbooks/X.yml, by the ansible.cfg that lies there."""
    with clone() as folder:
        for name in playbooks():
            call(["ansible-playbook", "--syntax-check", "-i", "inventories/demo", f"playbooks/{name}.yml"], folder, ANSIBLE_CONFIG=None)


def from_inside_playbooks() -> None:
    """ansible-playbook X.yml inside playbooks/, where no ansible.cfg is found."""
    with clone() as folder:
        for name in playbooks():
            call(
                ["ansible-playbook", "--syntax-check", "-i", "../inventories/demo", f"{name}.yml"],
                folder / "playbooks",
                ANSIBLE_CONFIG=None,
                HOME=str(folder.parent),
            )


def under_runner() -> None:
    """ansible-runner with the clone as its project, as AWX does."""
    with clone() as folder:
        data = folder.parent / "runner"
        data.mkdir()
        folder.rename(data / "project")
        for name in playbooks():
            words = ["ansible-runner", "run", str(data), "--ident", name, "-p", f"playbooks/{name}.yml"]
            cmdline = f"--syntax-check -i {data / 'project/inventories/demo'}"
            call([*words, "--cmdline", cmdline], data, ANSIBLE_CONFIG=None)
            rc = (data / "artifacts" / name / "rc").read_text(encoding="utf-8").strip()
            said = (data / "artifacts" / name / "stdout").read_text(encoding="utf-8")
            if rc != "0" or f"playbook: playbooks/{name}.yml" not in said:
                raise Failure(f"ansible-runner: exit code {rc}, {said}")


def documentation() -> None:
    """ansible-doc finds a module of ours in the clone."""
    with clone() as folder:
        name = min(path.stem for path in tracked("plugins/modules/*.py"))
        if COLLECTION not in call(["ansible-doc", f"{COLLECTION}.{name}"], folder, ANSIBLE_CONFIG=None):
            raise Failure(f"ansible-doc does not name {COLLECTION}.{name}")


WAYS: list[Callable[[], None]] = [from_the_root, from_inside_playbooks, under_runner, documentation]


def main() -> int:
    """Try each way; 1 if any failed."""
    os.umask(0o022)  # Ansible ignores an ansible.cfg in a folder that all may write to
    failed = 0
    for way in WAYS:
        try:
            way()
            print(f"ok      {way.__name__}: {(way.__doc__ or '').strip()}", flush=True)
        except Failure as failure:
            failed = 1
            print(f"FAILED  {way.__name__}: {failure}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
