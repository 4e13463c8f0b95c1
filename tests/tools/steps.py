"""Run named commands, two at a time, and tell in one line each how they went."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".cache" / "logs"
CACHE = Path(
    os.environ.get("RESIDENCY_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "residency-scheduler"
)
#: Lines of a failed step's log that are shown.
TAIL = 80


@dataclass(frozen=True)
class Step:
    """One command.

    :ivar needs: names of steps that have to pass before; if one did not, this one fails without being run.
    """

    name: str
    argv: Sequence[str]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a step went; *why* is empty when it passed."""

    name: str
    seconds: float
    why: str

    def line(self) -> str:
        """Return the outcome as one line."""
        return f"{'FAILED' if self.why else 'ok':6} {self.seconds:7.1f} s  {self.name}{f': {self.why}' if self.why else ''}"


def environment(venv: str = ".venv") -> dict[str, str]:
    """Return an environment in which the tools of *venv* come first and Ansible finds our configuration."""
    return {
        **os.environ,
        "PATH": f"{ROOT / venv / 'bin'}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def tracked(*patterns: str) -> list[Path]:
    """Return the repository's files, those not yet committed too, without ignored ones; relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = sorted(set(listed.stdout.split("\0")) - {""})
    return [Path(name) for name in names if os.path.lexists(ROOT / name)]


def run_all(steps: Sequence[Step], *, log_prefix: str = "", at_once: int = 2) -> list[Outcome]:
    """Run *steps*, each as soon as what it needs has passed, and return the outcomes in their order."""
    LOGS.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, Outcome] = {}
    left = list(steps)
    running: set[Future[Outcome]] = set()
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        while left or running:
            for step in list(left):
                broken = [name for name in step.needs if name in outcomes and outcomes[name].why]
                if broken:
                    left.remove(step)
                    outcomes[step.name] = Outcome(step.name, 0.0, f"not run, because {broken[0]} failed")
                    print(outcomes[step.name].line(), flush=True)
                elif len(running) < at_once and all(name in outcomes for name in step.needs):
                    left.remove(step)
                    running.add(pool.submit(_run, step, log_prefix))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcomes[future.result().name] = future.result()
    return [outcomes[step.name] for step in steps]


def _run(step: Step, log_prefix: str) -> Outcome:
    log = LOGS / f"{log_prefix}{step.name.replace('/', '-').replace(' ', '-')}.log"
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as stream:
        try:
            code = subprocess.run(
                step.argv,
                cwd=ROOT,
                env={**environment(), **step.environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        except OSError as error:
            stream.write(f"{step.argv[0]}: {error}\n")
            code = 127
    outcome = Outcome(step.name, time.monotonic() - started, f"exit code {code}" if code else "")
    report = [outcome.line()]
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        report += [f"    | {line}" for line in lines[-TAIL:]]
        if len(lines) > TAIL:
            report.append(f"    (the last {TAIL} of {len(lines)} lines; all: {log.relative_to(ROOT)})")
    print("\n".join(report), flush=True)
    return outcome


def conclude(outcomes: Sequence[Outcome], *, table: bool = False) -> int:
    """Print the summary and return the exit code."""
    failed = sum(1 for outcome in outcomes if outcome.why)
    if table:
        print("\nSummary")
        for outcome in outcomes:
            print(f"  {outcome.line()}")
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    sys.stdout.flush()
    return 1 if failed or not outcomes else 0
