# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release's files: what is found in them, and which of Docker's answers count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import release_content
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Config, parse_config
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, WARNS
from ansible_collections.residency.scheduler.plugins.module_utils.release_content import Wanted

WANTED = Wanted(
    project="stack",
    compose_files=("docker-compose.yml",),
    services=("web", "nginx"),
    proxies=("nginx",),
    home="/nowhere",
    example=".env.example",
    values={"LOG_LEVEL": "info"},
    secrets=frozenset({"KEY"}),
)
REFUSED = "2026/01/01 00:00:00 [emerg] 1#1: unknown directive \"x\" in /etc/nginx/nginx.conf:17\nnginx: configuration file x test failed\n"


@pytest.fixture(name="tree")
def tree_fixture(tmp_path: Path) -> Path:
    """A release with a built service and a proxy."""
    (tmp_path / "docker-compose.yml").write_text("services: {web: {environment: {X: '${KEY:?}', Y: '$LOG_LEVEL'}}}\n", encoding="utf-8")
    (tmp_path / ".env.example").write_text("KEY=changeme\nLOG_LEVEL=info\n", encoding="utf-8")
    (tmp_path / "Dockerfile").touch()
    (tmp_path / "nginx.conf").touch()
    return tmp_path


def config(tree: Path, **services: Any) -> str:
    """Return what Compose makes of it."""
    mounts = [{"type": "bind", "source": f"{tree}/{name}", "target": f"/etc/{name}"} for name in ("nginx.conf", "missing")]
    known: dict[str, Any] = {"web": {"build": {"context": str(tree)}}, "nginx": {"image": "nginx:1", "volumes": mounts}}
    return json.dumps({"services": {name: service for name, service in {**known, **services}.items() if service}})


def look(tree: Path, fake: Any, wanted: Wanted = WANTED, *, docker: bool = True) -> list[tuple[str, str, str]]:
    """Return severity, subject and what was found."""
    content = release_content.look(str(tree), wanted, fake, docker=docker)
    assert all(finding.wanted and finding.remedy for finding in content.findings)
    return [(finding.severity, finding.subject, finding.found) for finding in content.findings]


def answers(tree: Path, *last: tuple[str, CommandResult | str], **services: Any) -> tuple[tuple[str, CommandResult | str], ...]:
    """Return what Docker answers to the questions about a project."""
    present = ("docker image inspect", '["nginx:1"]|[]|sha256:1\n')
    return (("config --no-consistency", "{}"), ("config --format json", config(tree, **services)), present, *last)


def test_nothing_is_wrong(tree: Path, runner) -> None:
    fake = runner(*answers(tree, ("docker run", "")))
    assert look(tree, fake) == []
    assert fake.finished()
    tried = " ".join(fake.calls[-1][0])
    # A source that is not there would be made by Docker.
    assert f"source={tree}/nginx.conf,target=/etc/nginx.conf,readonly" in tried
    assert "missing" not in tried
    assert "--network none" in tried
    assert "--add-host web:127.0.0.1" in tried
    # What stands for the secret is made.
    assert "changeme" not in (tree / ".env").read_text(encoding="utf-8")


def test_without_docker(tree: Path, runner) -> None:
    assert look(tree, runner(), docker=False) == []


def test_a_file_that_is_missing(tree: Path, runner) -> None:
    wanted = replace(WANTED, compose_files=("docker-compose.yml", "staging.yml"))
    assert look(tree, runner(), wanted) == [(STOPS, "scheduler_compose_files", "no staging.yml in the release")]


def test_what_lies_beside_the_release(tree: Path, tmp_path_factory: pytest.TempPathFactory, runner) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "local.yml").write_text("x: ${LOCAL:?}\n", encoding="utf-8")
    wanted = replace(WANTED, compose_files=("docker-compose.yml", "local.yml"), home=str(home), values={"LOCAL": "1"})
    untracked = ("ls-files -- local.yml", "")
    assert look(tree, runner(untracked), wanted) == []
    lacking = [(STOPS, "scheduler_env.LOCAL", "no value (required by the compose files)")]
    assert look(tree, runner(untracked), replace(wanted, values={})) == lacking
    # One of the release that is checked out goes with it.
    gone = [(STOPS, "scheduler_compose_files", "no local.yml in the release")]
    assert look(tree, runner(("ls-files -- local.yml", "local.yml\n")), wanted)[:1] == gone
    (home / "backend").mkdir()
    (home / "backend" / "Dockerfile").touch()
    for tracked, found in (("", []), ("backend/Dockerfile\n", [(STOPS, "images", "no backend in the release, to build web")])):
        last = (("ls-files -- backend", tracked), ("docker image inspect", '["nginx:1"]|[]|sha256:1\n'), ("docker run", ""))
        fake = runner(*answers(tree, web={"build": {"context": f"{tree}/backend"}})[:2], *last)
        assert look(tree, fake, replace(WANTED, home=str(home))) == found
    words = f"env file {tree}/backend/.env.local not found: no such file or directory"
    fake = runner(("config --no-consistency", "{}"), ("config --format json", CommandResult(("docker",), 15, "", words, 0.1)))
    assert [severity for severity, _subject, _found in look(tree, fake)] == [WARNS]


def test_submodules_are_not_looked_into(tree: Path, runner) -> None:
    (tree / ".gitmodules").touch()
    assert look(tree, runner(), replace(WANTED, compose_files=("vendor/docker-compose.yml",))) == []


def test_names(tree: Path, runner) -> None:
    (tree / "docker-compose.yml").write_text("x: ${NEEDED:?}\n", encoding="utf-8")
    (tree / ".env.example").write_text("KEY=changeme\nTOKEN=changeme\n", encoding="utf-8")
    wanted = replace(WANTED, values={"TYPO": "1"}, serving=frozenset({"OLD"}))
    fake = runner(*answers(tree, ("docker run", "")))
    assert look(tree, fake, wanted) == [
        (WARNS, "scheduler_env.TYPO", "a name that this release does not know"),
        (WARNS, "environment", "OLD of the release that serves, which this one does not know"),
        (STOPS, "scheduler_env.NEEDED", "no value (required by the compose files)"),
        (STOPS, "scheduler_env.TOKEN", "no value (a placeholder in the example file)"),
    ]
    # The rest is looked at all the same.
    assert fake.finished()
    values = replace(WANTED, values={"NEEDED": "1", "TOKEN": "a\0b"})
    assert look(tree, runner(), values)[-1] == (STOPS, "environment", "the value of TOKEN has a NUL, which no environment takes")


def test_what_compose_refuses(tree: Path, runner) -> None:
    words = f"validating {tree}/docker-compose.yml: services.nginx Additional property imge is not allowed"
    fake = runner(("config --no-consistency", "{}"), ("config --format json", CommandResult(("docker",), 15, "", words, 0.1)))
    found = "exit code 15: validating docker-compose.yml: services.nginx Additional property imge is not allowed"
    assert look(tree, fake) == [(STOPS, "compose project", found)]


@pytest.mark.parametrize(
    ("web", "found"),
    [
        ({}, '"web", which the release does not have'),
        ({"build": {"context": "{tree}/backend"}}, "no backend in the release, to build web"),
        ({"build": {"context": "{tree}", "dockerfile": "Other"}}, "no Other in the release, to build web"),
        ({"build": {"context": "{tree}", "dockerfile_inline": "FROM x"}}, ""),
        ({"build": {"context": "https://example.org/x.git"}}, ""),
        ({"build": {"context": "/srv/other"}}, ""),
    ],
)
def test_services_and_builds(tree: Path, runner, web: dict[str, Any], found: str) -> None:
    service = json.loads(json.dumps(web).replace("{tree}", str(tree)))
    told = look(tree, runner(*answers(tree, ("docker run", ""), web=service)))
    assert [what for _severity, _subject, what in told] == ([found] if found else [])


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (CommandResult(("docker",), 0, "{}", "", 0.1), None),
        (CommandResult(("docker",), 1, "", "no such manifest: x:1\n", 0.1), "no such manifest: x:1"),
        (CommandResult(("docker",), -9, "", "", 20.0, True), "no answer within 20 s"),
    ],
)
def test_an_image_that_is_to_be_pulled(answer: CommandResult, found: str | None, runner) -> None:
    findings = release_content.check_registry("x:1", runner(("docker manifest inspect x:1", answer)))
    assert [finding.found for finding in findings] == ([f'"x:1" neither here nor in its registry ({found})'] if found else [])
    assert {finding.severity for finding in findings} <= {WARNS}


@pytest.mark.parametrize(
    ("rc", "stderr", "found"),
    [
        (0, "", None),
        (1, REFUSED, 'unknown directive "x" in /etc/nginx/nginx.conf:17'),
        # It comes with the deployment.
        (1, REFUSED.replace("unknown directive", "cannot load certificate"), None),
        (1, REFUSED.replace("unknown directive", "host not found in upstream"), None),
        # Volumes, addresses and logs that only the deployment has.
        (1, REFUSED.replace("unknown directive", 'open() "/var/log/nginx/x" failed (30: Read-only file system)'), None),
        (1, REFUSED.replace("unknown directive", "bind() to 10.0.0.5:443 failed (99: Cannot assign requested address)"), None),
        (1, REFUSED.replace("unknown directive", 'BIO_new_file("/etc/nginx/dh.pem") failed'), None),
        # No nginx.
        (127, 'exec: "nginx": executable file not found', None),
        (1, "nginx: configuration file x test failed\n", None),
    ],
)
def test_what_the_proxy_says(rc: int, stderr: str, found: str | None, recorded, runner) -> None:
    served = parse_config(recorded("compose-2.26-config-production.json"))
    fake = runner(("--entrypoint nginx", CommandResult(("docker",), rc, "", stderr, 0.1)))
    findings = release_content.check_proxy(served.services["nginx"], Config(served.services, ()), "stack", fake)
    assert [finding.found for finding in findings] == ([found] if found else [])
