"""How long does a deployment take, against shell scripts that type the same steps? Prints a Markdown table.

Two bare Debian 13 servers of the test bed; on each in turn: v0.9.0 (first), v0.9.0 again (second), v1.0.0 (upgrade), and then the
verification alone, three times. Seconds of one machine say little; read the ratios, which come from the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BED = [sys.executable, str(ROOT / "tests/bed/bed.py")]
RUNS = (("first", "v0.9.0"), ("second", "v0.9.0"), ("upgrade", "v1.0.0"))


def call(words: list[str], *, stdin: str = "") -> str:
    """Run a command; its output is shown only if it fails."""
    answer = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT)
    if answer.returncode:
        sys.exit(f"{' '.join(words)}: exit code {answer.returncode}\n{answer.stdout[-5000:]}{answer.stderr[-5000:]}")
    return answer.stdout


def server(name: str) -> dict[str, str]:
    """Bring a bare server up and return its host variables."""
    call([*BED, "up", name, "--debian", "13", "--fresh"])
    return dict(json.loads(call([*BED, "inventory", name]))[name])


def by_script(host: dict[str, str], script: str, *arguments: str) -> None:
    """Run a shell script on the server."""
    ssh = ["ssh", "-i", host["ansible_ssh_private_key_file"], *host["ansible_ssh_common_args"].split()]
    remote = f"BENCHMARK_REPOSITORY={host['scheduler_repo']} bash -s {' '.join(arguments)}"
    said = call([*ssh, f"root@{host['ansible_host']}", remote], stdin=(ROOT / "tests/benchmarks" / script).read_text(encoding="utf-8"))
    # A command that reads the script's own standard input ends it early, and looks fast.
    if not said.endswith("the last step is done\n"):
        sys.exit(f"{script} ended early:\n{said[-2000:]}")


def by_playbook(inventory: Path, playbook: str, *arguments: str) -> None:
    """Run a playbook."""
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), f"playbooks/{playbook}"]
    call([*command, "-e", f"scheduler_reports_dir={inventory}/reports", *arguments])


def seconds(function: object, *arguments: object) -> float:
    """Return how long a call takes."""
    started = time.monotonic()
    function(*arguments)  # type: ignore[operator]
    return time.monotonic() - started


def main() -> None:
    """Measure and print."""
    call([*BED, "repository"])
    with tempfile.TemporaryDirectory(prefix="residency-benchmark-") as folder:
        inventory = Path(folder)
        names = ("residency-benchmark-script", "residency-benchmark-playbook")
        try:
            script, playbook = (server(name) for name in names)
            hosts = {"all": {"children": {"scheduler": {"hosts": {names[1]: playbook}}}}}
            (inventory / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
            os.symlink(ROOT / "inventories/demo/group_vars", inventory / "group_vars")
            print("| deployment | script, s | playbook, s | ratio |\n|---|---|---|---|")
            for name, version in RUNS:
                typed = seconds(by_script, script, "type_the_steps.sh", version)
                played = seconds(by_playbook, inventory, "deploy.yml", "-e", f"scheduler_version={version}")
                print(f"| {name} ({version}) | {typed:.1f} | {played:.1f} | {played / typed:.2f} |", flush=True)
            for _run in range(3):
                typed = seconds(by_script, script, "type_the_checks.sh")
                played = seconds(by_playbook, inventory, "verify.yml")
                print(f"| verification | {typed:.1f} | {played:.1f} | {played / typed:.2f} |", flush=True)
        finally:
            call([*BED, "down", *names])


if __name__ == "__main__":
    main()
