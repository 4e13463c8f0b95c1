"""A deployed server of the test bed, and ways to look at it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STATE, HOME, PROJECT = "/var/lib/residency-scheduler", "/opt/residency-scheduler", "residency-scheduler"
SSH_VARIABLES = ("ansible_host", "ansible_port", "ansible_ssh_private_key_file", "ansible_ssh_common_args")


@dataclass(frozen=True)
class Outcome:
    """What a verification said: exit code, all it printed, the report, and how long it took."""

    rc: int
    output: str
    report: dict[str, Any]
    seconds: float

    def failures(self) -> list[dict[str, Any]]:
        """Return the checks that failed."""
        return [check for line in self.report["lines"] for check in line["evidence"] if check["verdict"] == "fail"]

    def told(self) -> str:
        """Return the failed checks, and the end of what was printed."""
        failures = "\n".join(f"{check['subject']}: {check['found']}" for check in self.failures())
        return f"failed checks:\n{failures}\n...\n{self.output[-1500:]}"

    def names(self, subject: str, found: str) -> list[dict[str, Any]]:
        """Return the failed checks whose subject and finding match these expressions."""
        return [
            check for check in self.failures() if re.search(subject, check["subject"]) and re.search(found, check["found"], re.DOTALL)
        ]


class Server:
    """A deployed server: commands by SSH, and verifications by the playbook."""

    def __init__(self, inventory: Path, reports: Path) -> None:
        self.inventory, self.reports = inventory, reports
        # Asked of Ansible itself, since the inventory's values are templates.
        wanted = {name: "{{ " + name + " | default('') }}" for name in (*SSH_VARIABLES, "scheduler_secrets")}
        command = [*ansible("ansible"), "scheduler", "-i", str(inventory), "-m", "ansible.builtin.debug", "-a", json.dumps({"msg": wanted})]
        settings = {**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=settings).stdout
        self.host = json.loads(answer[answer.index("{") :])["msg"]
        self.secrets = {name: str(value) for name, value in self.host["scheduler_secrets"].items()}
        assert len(self.secrets) >= 3, "the secrets have to be known, to look for them in what is shown"

    def ssh(self, script: str, timeout: float = 120) -> str:
        """Run a shell script on the server; a failure of it, or none of its end within *timeout* seconds, fails the test."""
        words = ["ssh", "-i", self.host["ansible_ssh_private_key_file"], *self.host["ansible_ssh_common_args"].split()]
        words += ["-p", str(self.host["ansible_port"] or 22), f"root@{self.host['ansible_host']}", "bash", "-euo", "pipefail", "-s"]
        answer = subprocess.run(words, input=script, capture_output=True, text=True, check=False, timeout=timeout)
        assert answer.returncode == 0, f"{script}\n{answer.stdout}{answer.stderr}"
        return answer.stdout

    def verify(self, **variables: Any) -> Outcome:
        """Run verify.yml and return what it said."""
        for old in self.reports.glob("*"):
            old.unlink()
        extra = json.dumps({"scheduler_reports_dir": str(self.reports), **variables})
        command = [*ansible("ansible-playbook"), "-i", str(self.inventory), "-e", extra, "playbooks/verify.yml"]
        started = time.monotonic()
        answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
        seconds = time.monotonic() - started
        output = answer.stdout + answer.stderr
        written = list(self.reports.glob("*.json"))
        assert len(written) == 1, output
        text = written[0].read_text(encoding="utf-8")
        assert not [secret for secret in self.secrets.values() if secret in output + text], "a secret was shown"
        return Outcome(answer.returncode, output, json.loads(text), seconds)


def ansible(name: str) -> list[str]:
    """Return the command of the venv's Ansible."""
    return [str(Path(sys.executable).parent / name)]
