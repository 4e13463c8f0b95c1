"""Certificates by ACME on a real server, of a real ACME server: issued, renewed without an outage, and kept where none is to be had."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from deployed_server import ROOT, Server, ansible
from test_sick_stacks import P

DOMAIN = "scheduler.residency.test"
OTHER = "other.residency.test"
STATE = f"/var/lib/{P}"
TLS, HOOK, LOCK = f"{STATE}/tls", f"/usr/bin/python3 {STATE}/acme/hook.py", f"/run/{P}/{P}.lock"
CONF = f"/opt/{P}/nginx/nginx.conf"
NGINX = f"$(docker ps -q --filter label=com.docker.compose.project={P} --filter label=com.docker.compose.service=nginx)"
UNIT = "/etc/systemd/system/certbot.service.d"
FORCED = "/run/systemd/system/certbot.service.d"
#: The renewal as certbot's timer starts it, except that it is not due.
RENEW = f"""
mkdir -p {FORCED}
printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/certbot -q renew --force-renewal --no-random-sleep-on-renew\\n' >{FORCED}/forced.conf
systemctl daemon-reload
systemctl start certbot.service
"""


@dataclass
class Authority:
    """The ACME server, which can be stopped and started."""

    folder: Path
    address: str
    port: int
    server: str
    _process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        names = [f"{name}={self.server}" for name in (DOMAIN, OTHER)]
        words = [sys.executable, str(ROOT / "tests/sick/acme_server.py"), str(self.folder), self.address, str(self.port), *names]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((self.address, self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < until, (self.folder / "log").read_text(encoding="utf-8")
                time.sleep(0.2)

    def stop(self) -> None:
        """Stop it."""
        if self._process:
            self._process.terminate()
            self._process.wait()

    def variables(self, domain: str = DOMAIN, **more: Any) -> dict[str, Any]:
        """Return the inventory's variables."""
        settings = {"agree_terms": True, "email": "operations@example.com", "directory": f"https://{self.address}:{self.port}/directory"}
        acme = {**settings, "ca_file": str(self.folder / "ca.pem"), **more}
        return {"scheduler_domain": domain, "environment_certificate": "acme", "environment_acme": acme}


def play(server: Server, name: str, variables: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook."""
    extra = json.dumps({"scheduler_reports_dir": str(server.reports), **variables})
    command = [*ansible("ansible-playbook"), "-i", str(server.inventory), "-e", extra, name, *words]
    # Wide, so that no message is broken where a test looks for it.
    settings = {**os.environ, "COLUMNS": "1000"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300, env=settings)


def stage(server: Server, variables: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the stage that has certificates issued, alone."""
    return play(server, "tests/sick/environment.yml", variables, *words)


def ended_well(answer: subprocess.CompletedProcess[str], changed: int | None = None) -> None:
    """Require exit code 0, and so many changes."""
    assert answer.returncode == 0, answer.stdout[-5000:] + answer.stderr[-2000:]
    if changed is not None:
        assert f" changed={changed} " in answer.stdout, answer.stdout[-5000:]


def get(address: str) -> tuple[int, str]:
    """Ask for the page; return the status, and the serial number of the certificate that was shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, timeout=10, context=context)
    try:
        connection.connect()
        shown = ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(binary_form=True))
        connection.request("GET", "/", headers={"Host": DOMAIN})
        return connection.getresponse().status, serial_of(shown)
    finally:
        connection.close()


def serial_of(pem: str) -> str:
    """Return a certificate's serial number."""
    answer = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, check=True, capture_output=True, text=True)
    return answer.stdout.strip()


class Load(threading.Thread):
    """Ten requests a second, each over a connection of its own."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address, self.ended = address, threading.Event()
        self.answers: list[tuple[int | str, str]] = []

    def run(self) -> None:
        """Ask until it is ended."""
        while not self.ended.wait(0.1):
            try:
                self.answers.append(get(self.address))
            except OSError as error:
                self.answers.append((str(error), ""))

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_words: object) -> None:
        self.ended.set()
        self.join()


@pytest.fixture(name="authority", scope="module")
def authority_fixture(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """The ACME server, and the stack deployed with a certificate of it; at the end the stack is as it was before."""
    here = server.ssh("echo ${SSH_CONNECTION%% *}").strip()
    with socket.create_server((here, 0)) as free:
        port = free.getsockname()[1]
    authority = Authority(tmp_path_factory.mktemp("acme"), here, port, server.host["ansible_host"])
    authority.start()
    try:
        try:
            ended_well(play(server, "playbooks/deploy.yml", authority.variables()))
            yield authority
        finally:
            # Also where that deployment failed: the tests of other files take it that the server is as it was.
            ended_well(stage(server, {}))
        # A renewal leaves the certificate that is wanted now alone.
        before = server.ssh(f"sha256sum {TLS}/*.pem")
        server.ssh(RENEW)
        assert server.ssh(f"sha256sum {TLS}/*.pem") == before
        server.ssh(f"docker exec {NGINX} nginx -s reload")
    finally:
        authority.stop()
        server.ssh(f"certbot delete --non-interactive --cert-name {P} || true")
        server.ssh(f"rm -rf {FORCED} {UNIT} {STATE}/acme; systemctl daemon-reload")


def test_the_proxy_serves_it_and_a_second_run_changes_nothing(server: Server, authority: Authority) -> None:
    on_disk = serial_of(server.ssh(f"cat {TLS}/fullchain.pem"))
    assert get(authority.server) == (200, on_disk)
    assert server.ssh(f"stat -c '%a %U' {TLS}/privkey.pem").strip() == "600 root"
    assert "challenge" in server.ssh(f"ls {STATE}/acme")
    assert not server.ssh(f"ls {STATE}/acme/challenge").strip(), "an answer was left"
    ended_well(stage(server, authority.variables()), changed=0)


def test_a_renewal_changes_it_without_a_failed_request(server: Server, authority: Authority) -> None:
    before = get(authority.server)[1]
    with Load(authority.server) as load:
        server.ssh(RENEW)
        time.sleep(2)
    after = get(authority.server)[1]
    assert after != before
    assert after == serial_of(server.ssh(f"cat {TLS}/fullchain.pem"))
    assert {serial for _status, serial in load.answers} == {before, after}
    assert {status for status, _serial in load.answers} == {200}
    assert len(load.answers) > 20


@pytest.mark.long
def test_a_renewal_waits_for_a_deployment(server: Server, authority: Authority) -> None:
    server.ssh(f"mkdir -p $(dirname {LOCK}); flock {LOCK} sleep 6 >/dev/null 2>&1 & sleep 1")
    # Had it not waited, another would have the lock still.
    server.ssh(f"{RENEW} flock --nonblock --exclusive {LOCK} true")
    on_disk = serial_of(server.ssh(f"cat {TLS}/fullchain.pem"))
    # nginx replaces its workers after it has been told to.
    until = time.monotonic() + 5
    while get(authority.server)[1] != on_disk:
        assert time.monotonic() < until, "the proxy still shows the old one"
        time.sleep(0.1)


def test_a_configuration_that_is_wrong_keeps_the_old_one_until_it_is_right(server: Server, authority: Authority) -> None:
    before = get(authority.server)[1]
    server.ssh(f"cp {CONF} /root/nginx.conf; echo nonsense >>{CONF}")
    try:
        server.ssh(f"{RENEW} true")
        assert get(authority.server)[1] == before == serial_of(server.ssh(f"cat {TLS}/fullchain.pem"))
        assert "The old certificate is back" in server.ssh("tail -50 /var/log/letsencrypt/letsencrypt.log")
    finally:
        server.ssh(f"cat /root/nginx.conf >{CONF}; rm /root/nginx.conf")
    ended_well(stage(server, authority.variables()), changed=1)
    assert before != get(authority.server)[1] == serial_of(server.ssh(f"cat {TLS}/fullchain.pem"))


@pytest.mark.long
def test_a_wrong_answer_is_told_with_the_authoritys_reason(server: Server, authority: Authority) -> None:
    before = get(authority.server)[1]
    wrong = authority.variables(OTHER, challenge_dir="/tmp/elsewhere")
    assert "the present one is for" in stage(server, wrong, "--check", "-v").stdout
    answer = stage(server, wrong)
    assert answer.returncode != 0
    for words in ("Having a certificate issued failed", "Detail: HTTP request failed: 404", "who listens on port 80 had to answer"):
        assert words in answer.stdout, answer.stdout[-5000:]
    assert get(authority.server)[1] == before


@pytest.mark.long
def test_without_an_authority_the_valid_one_stays_and_a_warning_says_so(server: Server, authority: Authority) -> None:
    before = get(authority.server)[1]
    authority.stop()
    try:
        answer = stage(server, authority.variables(key_type="rsa"))
    finally:
        authority.start()
    ended_well(answer, changed=1)  # the folder in the proxy, which the test before had changed
    assert "Connection refused" in answer.stdout + answer.stderr
    assert "The certificate in place stays" in answer.stdout + answer.stderr
    assert get(authority.server)[1] == before


@pytest.mark.long
def test_before_a_first_deployment_the_run_itself_answers(server: Server, authority: Authority) -> None:
    server.ssh(f"docker stop {NGINX} >/root/stopped; certbot delete --non-interactive --cert-name {P}; rm -f {TLS}/*.pem")
    server.ssh(f"rm -rf {STATE}/acme")
    try:
        without = stage(server, authority.variables(directory=f"https://{authority.address}:1/directory"))
        assert without.returncode != 0
        assert "this run itself answered on port 80" in without.stdout, without.stdout[-5000:]
        ended_well(stage(server, authority.variables()))
    finally:
        server.ssh("docker start $(cat /root/stopped); rm /root/stopped")
    assert get(authority.server)[1] == serial_of(server.ssh(f"cat {TLS}/fullchain.pem"))
