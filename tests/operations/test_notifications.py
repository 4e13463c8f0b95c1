"""Who is told of a deployment, a way back and a maintenance: a real server, and real receivers of mail and webhooks on the controller.

All runs tell as much as Ansible can (-vvvvv, --diff), and none may show an address of a webhook, a header's value or a password.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployed_server import HOME, ROOT, Server, ansible
from leaks import search
from receivers import MailServer, WebServer, certificate, mail_server, web_server

DEMO = yaml.safe_load((ROOT / "inventories/demo/group_vars/scheduler.yml").read_text(encoding="utf-8"))["scheduler_env"]
NAME = "Residency Scheduler localhost"


@dataclass
class Told:
    """What a run printed, and what the receivers got of it."""

    rc: int
    output: str
    mails: list[tuple[str, str]]
    posts: list[dict[str, Any]]
    chat: list[str]

    def says(self) -> str:
        """Return what was printed, without the line ends by which Ansible folds it."""
        return " ".join(self.output.split())

    def events(self) -> list[str]:
        """Return the events in the order in which the webhook got them."""
        return [post["event"] for post in self.posts]

    def mail(self, subject: str) -> str:
        """Return the text of the one mail with this subject."""
        found = [text for line, text in self.mails if line == f"{NAME}: {subject}"]
        assert len(found) == 1, self.mails
        return found[0]


@dataclass
class Desk:
    """A controller with channels to a mail server, a chat and a webhook."""

    server: Server
    mail: MailServer
    web: WebServer
    folder: Path
    secrets: dict[str, str]
    channels: list[dict[str, Any]] = field(default_factory=list)

    def play(self, playbook: str, *options: str, release: int = 2, **variables: Any) -> Told:
        """Run a playbook.

        :arg release: the processes of a worker, so that each number is another release of the same version; the server's first has 1.
        """
        mails, posts = len(self.mail.mails), len(self.web.posts)
        settings = {"notify_channels": self.channels, "scheduler_env": {**DEMO, "CELERY_WORKER_CONCURRENCY": release}}
        settings |= {"scheduler_reports_dir": str(self.server.reports), "verify_bake": 1, "scheduler_version": "v1.1.0", **variables}
        extra = self.folder / "extra.json"
        extra.write_text(json.dumps(settings), encoding="utf-8")
        command = [*ansible("ansible-playbook"), "-i", str(self.server.inventory), f"playbooks/{playbook}", "-vvvvv", "--diff"]
        log, kept = self.folder / "log", self.folder / "facts"
        environment = {**os.environ, "ANSIBLE_LOG_PATH": str(log), "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile"}
        environment |= {"ANSIBLE_CACHE_PLUGIN_CONNECTION": str(kept)}
        if playbook == "rollback.yml":
            del settings["scheduler_version"]
            extra.write_text(json.dumps(settings), encoding="utf-8")
        answer = subprocess.run(
            [*command, "-e", f"@{extra}", *options], capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=420
        )
        output = answer.stdout + answer.stderr
        (self.folder / f"{time.time():.0f}-{playbook}.log").write_text(output, encoding="utf-8")
        texts = {"what was printed": output, "Ansible's log": log.read_text(encoding="utf-8")}
        texts |= {path.name: path.read_text(encoding="utf-8") for folder in (kept, self.server.reports) for path in folder.glob("*.*")}
        assert search({**self.secrets, **self.server.secrets}, texts) == []
        log.unlink()
        new = self.web.posts[posts:]
        return Told(
            answer.returncode,
            output,
            [(mail.subject, mail.text) for mail in self.mail.mails[mails:]],
            [post.document for post in new if "event" in post.document],
            [post.document["text"] for post in new if "text" in post.document],
        )


@pytest.fixture(name="desk", scope="module")
def desk_fixture(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The controller's channels, with secrets of their own."""
    folder = tmp_path_factory.mktemp("desk")
    context, ca_file = certificate(folder / "certificate")
    known = {name: secrets.token_hex(16) for name in ("password", "slack", "webhook", "header")}
    mail = MailServer(context=context, login=("scheduler", known["password"]))
    with mail_server(mail), web_server(WebServer()) as web:
        desk = Desk(server, mail, web, folder, known)
        addresses = {"from": "Scheduler <scheduler@example.org>", "to": ["operators@example.org"]}
        login = {"user": "scheduler", "password": known["password"], "ca_file": str(ca_file)}
        desk.channels = [
            {"name": "operators", "kind": "mail", "host": "127.0.0.1", "port": mail.port, **addresses, **login},
            {"name": "chat", "kind": "slack", "url": web.url(f"/services/{known['slack']}"), "events": ["failure", "rollback"]},
            {"name": "hook", "kind": "webhook", "url": web.url(f"/{known['webhook']}"), "headers": {"X-Token": known["header"]}},
        ]
        yield desk
        if os.environ.get("RESIDENCY_LONG_TESTS"):
            # Other tests find the server as it was.
            assert desk.play("deploy.yml", release=1).rc == 0


def hook(desk: Desk, name: str, *tasks: dict[str, Any]) -> str:
    """Write a hook, and return its path."""
    path = desk.folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(list(tasks)), encoding="utf-8")
    return str(path)


def note(text: str) -> dict[str, Any]:
    """Return a task that writes down on the server that it was run, and which release is checked out then."""
    return {
        "name": f"Note {text}",
        "ansible.builtin.shell": f"echo {text} {{{{ scheduler_version }}}} >>/run/hooks",
        "changed_when": False,
    }


@pytest.mark.long
def test_a_change_is_told_and_hooks_run_and_a_second_run_is_silent(desk: Desk) -> None:
    desk.server.ssh("rm -f /run/hooks")
    hooks = {name: hook(desk, name, note(name)) for name in ("before_preflight", "after_images", "before_services", "after_verify")}
    maintenance = {"notify_maintenance": "A setting is changed.", "notify_maintenance_until": "22:30"}
    planned = desk.play("deploy.yml", "--check", scheduler_hooks=hooks, **maintenance)
    assert planned.rc == 0, planned.output[-3000:]
    assert (planned.mails, planned.posts, planned.chat) == ([], [], [])
    assert f"Would tell operators, mail to operators@example.org by 127.0.0.1:{desk.mail.port}: {NAME}:" in planned.says()

    changed = desk.play("deploy.yml", scheduler_hooks=hooks, **maintenance)
    assert changed.rc == 0, changed.output[-3000:]
    assert changed.events() == ["start", "maintenance", "success", "maintenance"]
    assert "Services that change: " in changed.mail("the deployment of v1.1.0 begins")
    assert "celery-worker" in changed.mail("the deployment of v1.1.0 begins")
    assert "A setting is changed." in changed.mail("maintenance until 22:30")
    assert "serves, verified: " in changed.mail("v1.1.0 serves")
    assert "v1.1.0 serves." in changed.mail("the maintenance is over")
    assert changed.chat == []
    assert all(mail.secured and mail.user == "scheduler" for mail in desk.mail.mails)
    assert desk.web.posts[-1].headers["X-Token"] == desk.secrets["header"]
    names = [line.split() for line in desk.server.ssh("cat /run/hooks").splitlines()]
    assert names == [[name, "v1.1.0"] for name in ("before_preflight", "after_images", "before_services", "after_verify")]

    again = desk.play("deploy.yml", **maintenance)
    assert again.rc == 0, again.output[-3000:]
    assert "changed=0 " in again.output
    assert (again.mails, again.posts, again.chat) == ([], [], [])


def test_a_maintenance_is_announced_beforehand(desk: Desk) -> None:
    told = desk.play("announce.yml", notify_maintenance="Tonight at 22:00 a new release comes.", notify_maintenance_until="22:30")
    assert told.rc == 0, told.output[-3000:]
    assert told.events() == ["maintenance"]
    assert "Tonight at 22:00 a new release comes." in told.mail("maintenance announced until 22:30")
    assert desk.play("announce.yml").rc == 2


@pytest.mark.long
def test_a_receiver_that_is_dead_fails_nothing_and_is_told(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        channels = desk.channels
        port = silent.getsockname()[1]
        desk.channels = [*channels, {"name": "dead", "kind": "webhook", "url": f"http://127.0.0.1:{port}/{desk.secrets['slack']}"}]
        try:
            changed = desk.play("deploy.yml", release=3, notify_timeout=2)
        finally:
            desk.channels = channels
    assert changed.rc == 0, changed.output[-3000:]
    assert changed.events() == ["start", "success"]
    assert f"The notification by dead failed: 127.0.0.1:{port}: no answer in time." in changed.says()


@pytest.mark.long
def test_a_hook_that_fails_fails_its_stage_and_the_run_goes_back(desk: Desk) -> None:
    failing = {"name": "Warm the caches", "ansible.builtin.fail": {"msg": "The cache does not answer"}}
    hooks = {"before_services": hook(desk, "before", note("before")), "after_services": hook(desk, "after", failing)}
    settings = desk.server.ssh(f"rm -f /run/hooks; cat {HOME}/.env")
    failed = desk.play("deploy.yml", release=4, scheduler_hooks=hooks)
    assert failed.rc == 2, failed.output[-3000:]
    assert failed.events() == ["start", "failure", "rollback"]
    text = failed.mail("the deployment of v1.1.0 failed")
    assert "The deployment of v1.1.0 failed in stage services, at 'Warm the caches'" in text
    assert "It was taken back: v1.1.0 serves again, verified; the database was kept." in text
    assert "Why it failed: The cache does not answer" in text
    # Neither of them was run again on the way back.
    assert desk.server.ssh("cat /run/hooks") == "before v1.1.0\n"
    assert desk.server.ssh(f"cat {HOME}/.env") == settings


@pytest.mark.long
def test_a_bad_release_is_told_with_the_reason_and_what_was_done(desk: Desk) -> None:
    failed = desk.play("deploy.yml", release=3, scheduler_version="bad-worker", notify_maintenance="A new release.")
    assert failed.rc == 2, failed.output[-3000:]
    assert failed.events() == ["start", "maintenance", "failure", "rollback", "maintenance"]
    text = failed.mail("the deployment of bad-worker failed")
    for part in ("failed in stage services", "It was taken back: v1.1.0 serves again", "Left to do: correct", "celery-worker is not"):
        assert part in text
        assert part in failed.says()
    back = failed.mail("v1.1.0 serves again")
    assert "in place of bad-worker" in back
    assert "Why: " in back
    assert "v1.1.0 serves as before." in failed.mail("the maintenance is over")
    assert [line.partition("\n")[0] for line in failed.chat] == [
        f"*{NAME}: the deployment of bad-worker failed*",
        f"*{NAME}: v1.1.0 serves again*",
    ]


def test_what_preflight_finds_is_told_at_once(desk: Desk) -> None:
    hooks = {"before_migration": "/etc/hosts", "after_images": "/nowhere/hook.yml", "after_code": "hook.yml"}
    channels = desk.channels
    refused = desk.play("deploy.yml", release=3, scheduler_hooks=hooks)
    assert refused.rc == 2
    assert refused.events() == ["failure"]
    text = refused.mail("the deployment of v1.1.0 failed")
    for part in ("before_migration", "after_images: found no file", "after_code", "nothing was changed"):
        assert part in text
    desk.channels = [{**channels[1], "url": f"hooks.example.org/{desk.secrets['slack']}"}, {**channels[0], "port": 0}]
    try:
        refused = desk.play("deploy.yml", release=3)
    finally:
        desk.channels = channels
    assert refused.rc == 2
    told = refused.says()
    assert "2 findings stop this deployment; nothing was changed" in told
    assert "notify_channels[0] (chat).url: found a string, wanted https://HOST/PATH" in told
    assert "notify_channels[1] (operators).port: found the number 0" in told
    assert "Nobody was told. Reading notify_channels failed" in told


def test_a_rollback_is_told(desk: Desk) -> None:
    # After a deployment that went back by itself, rollback.yml goes no further.
    assert desk.play("deploy.yml", release=5).rc == 0
    back = desk.play("rollback.yml", release=3, rollback_reason="users cannot log in")
    assert back.rc == 0, back.output[-3000:]
    assert back.events() == ["rollback"]
    text = back.mail("v1.1.0 serves again")
    assert "Why: users cannot log in" in text
    assert "The database was kept." in text
    refused = desk.play("rollback.yml", release=3, rollback_to="v7")
    assert refused.rc == 2
    assert refused.events() == ["failure"]
    assert "v7" in refused.mail("going back from v1.1.0 failed")


@pytest.mark.long
def test_a_restore_and_a_shutdown_are_told(desk: Desk) -> None:
    assert desk.play("backup.yml").rc == 0
    preview = desk.play("restore.yml", rollback_database="restore")
    assert preview.rc == 2
    assert preview.events() == []
    asked = re.search(r"Restoring (\S+) was not confirmed", preview.says())
    assert asked, preview.output[-3000:]
    name = asked[1]
    restored = desk.play("restore.yml", rollback_database="restore", rollback_backup=name, rollback_confirm=name)
    assert restored.rc == 0, restored.output[-3000:]
    assert restored.events() == ["rollback"]
    assert f"The database is that of the backup {name} again." in restored.mail("the database was put back")
    stopped = desk.play("shutdown.yml", services_shutdown_only=["celery-beat"], services_shutdown_reason="a test")
    assert stopped.rc == 0, stopped.output[-3000:]
    assert stopped.events() == ["alert"]
    assert "The way back: ansible-playbook" in stopped.mails[0][1]
