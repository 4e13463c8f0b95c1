"""A folder as AWX makes one for a job, and runs of it by ansible-runner.

project/ is a clone; inventory/ holds hosts and variables; env/ what the job's credentials inject: extra variables, environment, passwords.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from deployed_server import Server
from in_place import clone
from steps import CACHE

VAULT_PASSWORD = "vault-canary-Wq5rT8yU"
#: Variables of the inventory that are the server's own; its secrets come by a credential.
SECRET = "scheduler_secrets"


@dataclass(frozen=True)
class Job:
    """How a job went.

    :ivar status: as ansible-runner says it: successful, failed, canceled, timeout.
    :ivar published: what set_stats handed on.
    """

    status: str
    rc: int
    output: str
    published: dict[str, Any]
    changed: int


class Project:
    """A private data folder of ansible-runner for a deployed server."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        with clone() as checkout:
            shutil.copytree(checkout, folder / "project", symlinks=True)
        for name in ("inventory", "env", "home"):
            (folder / name).mkdir()
        self._write_inventory()
        secrets = dict(server.secrets)
        # One of them lies encrypted in the inventory, so that the job needs the vault's password too.
        vaulted = secrets.pop("SECRET_KEY")
        words = [_tool("ansible-vault"), "encrypt_string", "--vault-password-file", "/dev/stdin", "--name", "vaulted_key", vaulted]
        answer = subprocess.run(words, input=VAULT_PASSWORD, capture_output=True, text=True, check=True)
        self._write("inventory/group_vars/scheduler/vault.yml", answer.stdout)
        self.extravars = {SECRET: {**secrets, "SECRET_KEY": "{{ vaulted_key }}"}, "awx_user_name": "operator", "awx_job_id": 17}
        given = {"RESIDENCY_BED_GIT": os.environ.get("RESIDENCY_BED_GIT", ""), "RESIDENCY_CACHE": str(CACHE)}
        self._write("env/envvars", {**given, "ANSIBLE_NOCOLOR": "1"})
        self._write("env/passwords", {"^Vault password.*:\\s*?$": VAULT_PASSWORD})
        self._write("env/cmdline", "--ask-vault-pass")
        self._write("env/settings", {"idle_timeout": 600, "pexpect_timeout": 1})
        (folder / "env/ssh_key").write_text(Path(server.host["ansible_ssh_private_key_file"]).read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "env/ssh_key").chmod(0o600)

    def _write(self, name: str, content: Any) -> None:
        text = content if isinstance(content, str) else yaml.safe_dump(dict(content))
        (self.folder / name).write_text(text, encoding="utf-8")

    def _write_inventory(self) -> None:
        """Write the server's inventory, without what credentials bring."""
        hosts = yaml.safe_load((self.server.inventory / "hosts.yml").read_text(encoding="utf-8"))
        (values,) = hosts["all"]["children"]["scheduler"]["hosts"].values()
        del values["ansible_ssh_private_key_file"]
        self._write("inventory/hosts.yml", hosts)
        variables = self.folder / "inventory/group_vars/scheduler"
        variables.mkdir(parents=True)
        (main,) = (self.server.inventory / "group_vars").glob("scheduler*")
        content = yaml.safe_load((main / "main.yml" if main.is_dir() else main).read_text(encoding="utf-8"))
        del content[SECRET]
        self._write("inventory/group_vars/scheduler/main.yml", content)

    def start(self, ident: str, playbook: str, **variables: Any) -> subprocess.Popen[str]:
        """Start a job, as AWX's dispatcher does, and return the process of ansible-runner."""
        self._write("env/extravars", {**self.extravars, "scheduler_reports_dir": str(self.folder / "reports"), **variables})
        words = [_tool("ansible-runner"), "run", str(self.folder), "--ident", ident, "-p", f"playbooks/{playbook}.yml", "--quiet"]
        # Nothing of ours: AWX starts it in a container.
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(self.folder / "home"), "LC_ALL": "C.UTF-8"}
        with (self.folder / f"{ident}.log").open("w", encoding="utf-8") as log:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True, env=environment)

    def run(self, ident: str, playbook: str, **variables: Any) -> Job:
        """Run a job to its end."""
        self.start(ident, playbook, **variables).wait(timeout=900)
        return self.job(ident)

    def wait_for_task(self, ident: str, words: str, timeout: float = 400) -> None:
        """Wait until a job has begun a task whose name holds *words*, at most *timeout* seconds."""
        end = time.monotonic() + timeout
        stdout = self.folder / "artifacts" / ident / "stdout"
        while not (stdout.exists() and words in stdout.read_text(encoding="utf-8")):
            assert time.monotonic() < end, f"{words} did not begin: {stdout.read_text(encoding='utf-8')[-3000:]}"
            time.sleep(0.2)

    def job(self, ident: str) -> Job:
        """Return how a job went, from its artifacts."""
        folder = self.folder / "artifacts" / ident
        log = (self.folder / f"{ident}.log").read_text(encoding="utf-8")
        assert (folder / "status").exists(), log
        events = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("job_events/*.json")]
        ends = [event["event_data"] for event in events if event["event"] == "playbook_on_stats"]
        return Job(
            (folder / "status").read_text(encoding="utf-8"),
            int((folder / "rc").read_text(encoding="utf-8") or -1) if (folder / "rc").exists() else -1,
            (folder / "stdout").read_text(encoding="utf-8"),
            ends[0].get("artifact_data", {}) if ends else {},
            sum(ends[0]["changed"].values()) if ends else -1,
        )

    def leaks(self, secrets: Mapping[str, str]) -> list[str]:
        """Return where a secret lies that is not what was given to the jobs: artifacts, reports, logs, temporary files."""
        found = []
        for path in self.folder.rglob("*"):
            if not path.is_file() or path.is_relative_to(self.folder / "env") or path.is_relative_to(self.folder / "project"):
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{name} in {path.relative_to(self.folder)}" for name, secret in secrets.items() if secret in text]
        return found


def until(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait until *condition* holds, at most *timeout* seconds, and return whether it does."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.5)
    return condition()


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)
