"""ansible-test sanity and units, on a true copy of the collection, with proof of what was looked at.

`sanity.py [2.19|newest]`: with ansible-core 2.19 of .venv, or the newest of .venv-newest; both when neither is named.
`--only sanity` or `--only units` runs that part alone.

ansible-test works only in a folder .../ansible_collections/residency/scheduler, and where it finds links it skips them and is green
about nothing. So: the files of the checkout are copied, ansible-test is asked which files it sees, a broken module planted in
a second copy has to fail, and the unit tests are counted.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from steps import CACHE, ROOT, environment, tracked

#: What the copy leaves out: links, and programs of their own that ansible-test has no business with.
LEFT_OUT = ("collections", "playbooks/collections", "tests/reference_app", "tests/bed", "tests/tools", "tests/benchmarks")
#: A home of its own for ansible-test, where setup.sh put the stand-in for the get-pip script that it would fetch.
HOME = CACHE / "ansible-test"
VENVS = {"2.19": ".venv", "newest": ".venv-newest"}
BROKEN_MODULE = "plugins/modules/planted_to_fail.py"


class EmptyGreen(Exception):
    """The run was green, but did not look at what it should have."""


@dataclass(frozen=True)
class Bench:
    """A venv with ansible-test, and the copy it works on."""

    name: str
    venv: str
    copy: Path

    @property
    def python(self) -> str:
        """Return the venv's Python version, e.g. 3.11."""
        words = [str(ROOT / self.venv / "bin" / "python"), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def run(self, *words: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        """Run ansible-test in the copy. The venv's Python comes first on PATH: a version manager's shims would fail."""
        variables = {**environment(self.venv), "HOME": str(HOME)}
        for name in ("ANSIBLE_CONFIG", "ANSIBLE_NOCOLOR", "NO_COLOR", "PYTHONPATH", "XDG_CACHE_HOME"):
            variables.pop(name, None)
        pipe = subprocess.PIPE if quiet else None
        return subprocess.run(
            ["ansible-test", *words],
            cwd=self.copy,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            check=False,
        )


def make_copy(name: str) -> Path:
    """Copy the checkout's files, those not yet committed too, and return the collection's folder."""
    clone = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    copy = CACHE / "ansible-test-copy" / f"{clone}-{name}" / "ansible_collections" / "residency" / "scheduler"
    shutil.rmtree(copy, ignore_errors=True)
    for path in tracked():
        if not any(path.is_relative_to(folder) for folder in LEFT_OUT):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, copy / path, follow_symlinks=False)
    # A repository of its own: ansible-test would ask one further up, such as a home folder's, which files there are.
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=copy, check=True)
    return copy


def prove_files(bench: Bench) -> str:
    """Raise EmptyGreen unless ansible-test sees every file of the collection's plugins."""
    answer = bench.run("env", "--list-files", quiet=True)
    seen = {line.strip() for line in answer.stdout.splitlines()}
    wanted = {str(path) for path in tracked("plugins") if path.suffix == ".py"}
    if not wanted or wanted - seen:
        raise EmptyGreen(f"ansible-test does not see {', '.join(sorted(wanted - seen)) or 'any plugin'}: {answer.stderr[-500:]}")
    return f"{len(seen)} files seen, {len(wanted)} of plugins among them"


def prove_failure(bench: Bench) -> str:
    """Raise EmptyGreen unless a broken module in a second copy makes the sanity tests fail, and is named."""
    second = Bench(bench.name, bench.venv, make_copy(f"{bench.name}-planted"))
    (second.copy / BROKEN_MODULE).write_text("def broken(:\n", encoding="utf-8")
    answer = second.run("sanity", "--local", "--python", second.python, "--color", "no", "--test", "compile", quiet=True)
    if answer.returncode == 0 or BROKEN_MODULE not in answer.stdout + answer.stderr:
        raise EmptyGreen(f"a broken module was not found: exit code {answer.returncode}, {(answer.stdout + answer.stderr)[-500:]}")
    return "a planted broken module fails"


def sanity(bench: Bench) -> str:
    """Run all sanity tests."""
    seen = prove_files(bench)
    planted = prove_failure(bench)
    if bench.run("sanity", "--local", "--python", bench.python, "--color", "no").returncode:
        raise subprocess.SubprocessError("ansible-test sanity failed")
    return f"{seen}; {planted}"


def units(bench: Bench) -> str:
    """Run the unit tests, and count them."""
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in tracked("tests/unit/*.py")]
    written = sum(len(re.findall(r"^ *def test_", text, re.MULTILINE)) for text in texts)
    if not written:
        raise EmptyGreen("there are no unit tests")
    code = bench.run("units", "--local", "--python", bench.python, "--color", "no").returncode
    results = [ElementTree.parse(path).getroot() for path in (bench.copy / "tests/output/junit").glob("*.xml")]
    ran = sum(int(suite.get("tests", 0)) for result in results for suite in result.iter("testsuite"))
    if code:
        raise subprocess.SubprocessError("ansible-test units failed")
    if ran < written:
        raise EmptyGreen(f"{written} test functions are written, {ran} tests ran")
    return f"{ran} tests of {written} functions ran"


def main() -> int:
    """Run the parts asked for; 1 if any failed."""
    parser = argparse.ArgumentParser(description="ansible-test on a true copy")
    parser.add_argument("core", nargs="?", choices=sorted(VENVS))
    parser.add_argument("--only", choices=["sanity", "units"])
    options = parser.parse_args()
    parts = {"sanity": sanity, "units": units}
    failed = 0
    for core in [options.core] if options.core else list(VENVS):
        for name in [options.only] if options.only else list(parts):
            # Two runs on one copy would pull it from under each other.
            lock = CACHE / "lock" / f"ansible-test-{core}-{name}.lock"
            lock.parent.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            with lock.open("w") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                bench = Bench(f"{core}-{name}", VENVS[core], make_copy(f"{core}-{name}"))
                try:
                    evidence = parts[name](bench)
                except (EmptyGreen, subprocess.SubprocessError) as error:
                    failed, evidence = 1, f"FAILED: {error}"
            seconds = time.monotonic() - started
            print(f"{name} with ansible-core {core} on Python {bench.python}, {seconds:.1f} s: {evidence}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
