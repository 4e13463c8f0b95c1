# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a port, by real sockets; local changes, in a real repository."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import preflight_live
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, SubprocessRunner


@pytest.fixture(name="port", params=[socket.AF_INET, socket.AF_INET6])
def port_fixture(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port on which this process listens."""
    if request.param == socket.AF_INET6 and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    with socket.socket(request.param) as listening:
        listening.bind(("::1" if request.param == socket.AF_INET6 else "127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


def test_a_process_that_listens_is_named(port: int) -> None:
    (finding,) = preflight_live.check_ports([port, 1], "stack", None)
    assert finding.subject == f"port {port}"
    assert f"(process {os.getpid()})" in finding.found
    assert f"ps -fp {os.getpid()}" in finding.remedy


def test_a_port_that_is_only_connected_from_is_free(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) if _answers(port) else socket.socket() as client:
        own = client.getsockname()[1] or 1
        assert preflight_live.check_ports([own], "stack", None) == []


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("containers", "ports", "found"),
    [
        ("stack-nginx-1|stack\n", "80/tcp -> 0.0.0.0:PORT\n", None),
        ("other-web-1|other\n", "80/tcp -> 0.0.0.0:PORT\n", "published by the container other-web-1"),
        ("lone|\n", "80/tcp -> [::]:PORT\n", "published by the container lone"),
        # It is the container's own port of that number.
        ("other-web-1|other\n", "PORT/tcp -> 0.0.0.0:9\n", "in use by "),
        ("", "", "in use by "),
    ],
)
def test_containers_that_publish_a_port(port: int, runner, containers: str, ports: str, found: str | None) -> None:
    asked = [("docker port", ports.replace("PORT", str(port)))] if containers else []
    fake = runner((f"docker ps --filter publish={port}", containers), *asked)
    findings = preflight_live.check_ports([port], "stack", fake)
    assert [finding.found.startswith(str(found)) for finding in findings] == ([True] if found else [])
    assert fake.finished()


@pytest.fixture(name="checkout")
def checkout_fixture(tmp_path: Path) -> Path:
    """A checkout as its commit has it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "code").write_text("1", encoding="utf-8")
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@example.com"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "1"]):
        subprocess.run(["git", "-C", str(home), *identity, *words], check=True)
    return home


def test_local_changes(checkout: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (checkout / "untracked").touch()
    assert preflight_live.check_checkout(str(checkout), str(marker), SubprocessRunner()) == []
    (checkout / "code").write_text("2", encoding="utf-8")
    (finding,) = preflight_live.check_checkout(str(checkout), str(marker), SubprocessRunner())
    assert "code" in finding.found
    assert "git -C" in finding.remedy
    # They are what a run that was cut has left.
    marker.touch()
    assert preflight_live.check_checkout(str(checkout), str(marker), SubprocessRunner()) == []


def test_looking_writes_nothing(checkout: Path) -> None:
    # As after a copy: by its time the file may have changed, so git reads it, and would note that it has not.
    os.utime(checkout / "code", (1, 1))
    before = (checkout / ".git" / "index").read_bytes()
    assert preflight_live.check_checkout(str(checkout), "", SubprocessRunner()) == []
    assert (checkout / ".git" / "index").read_bytes() == before


def test_no_checkout(tmp_path: Path, runner) -> None:
    assert preflight_live.check_checkout(str(tmp_path), "", runner()) == []


def test_a_checkout_of_another_user(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Git's own switch for tests; the settings of whoever runs this one may allow any folder.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    settings = tmp_path / "gitconfig"
    settings.touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    (finding,) = preflight_live.check_checkout(str(checkout), "", SubprocessRunner())
    assert (finding.subject, finding.found) == ("scheduler_home", "a checkout of another user, which git refuses to read")
    settings.write_text(f"[safe]\n\tdirectory = {checkout}\n", encoding="utf-8")
    assert preflight_live.check_checkout(str(checkout), "", SubprocessRunner()) == []


def test_certbot_can_be_had(runner) -> None:
    assert preflight_live.check_certbot(True, runner()) == []
    assert preflight_live.check_certbot(False, runner(("apt-cache show --no-all-versions certbot", "Package: certbot\n"))) == []
    missing = CommandResult(("apt-cache",), 100, "", "E: No packages found", 0.1)
    assert [finding.subject for finding in preflight_live.check_certbot(False, runner(("apt-cache show", missing)))] == ["certbot"]
