# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole review: what cannot be checked fails, wrong options are refused before anything is asked, and no secret is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.residency.scheduler.plugins.module_utils import security_web
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.health import SystemClock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.security import RULES
from ansible_collections.residency.scheduler.plugins.module_utils.security_review import Review
from ansible_collections.residency.scheduler.plugins.modules import security_review

SECRET = "Vm3kq9Xz7Lw2Rt8Yp4Nc6Bd1"
SECRET_KEY = "kT5rW8zN2qX7mP4vL9cJ6hD3fG1bS0aYeU"


class NoDocker:
    """A host on which every command fails, and says a secret while it does."""

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Fail."""
        return CommandResult(tuple(argv), 1, "", f"cannot connect, {SECRET}", 0.1)


class Recorded:
    """Docker's recorded answers, and the real git."""

    def __init__(self, containers: list[dict[str, Any]], history: str = "CMD sleep") -> None:
        self._containers, self._history = containers, history

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Answer."""
        line = " ".join(argv)
        assert SECRET not in line
        if argv[0] == "git":
            return SubprocessRunner().run(argv, stdin=stdin, timeout=timeout)
        answers = {
            "docker ps": "\n".join(item["Id"] for item in self._containers),
            "docker container inspect": json.dumps(self._containers),
            "docker history": self._history,
            "docker image inspect": '{"Env": ["PATH=/bin"]}',
            "docker info": "true",
            "nft --json list ruleset": '{"nftables": []}',
        }
        return CommandResult(tuple(argv), 0, next(text for words, text in answers.items() if line.startswith(words)), "", 0.1)


def parameters(folder: Path, **given: Any) -> dict[str, Any]:
    """Return what Ansible would give the module, by its own argument spec."""
    path = folder / ".env"
    path.write_text(f"DB_PASSWORD='{SECRET}'\nSECRET_KEY='{SECRET_KEY}'\n", encoding="utf-8")
    path.chmod(0o600)
    project = {"name": "small", "directory": str(folder), "files": ["docker-compose.yml"], "env_file": ".env"}
    services = [{"name": "nginx", "kind": "proxy"}, {"name": "redis", "kind": "redis"}]
    # Nobody listens there.
    options = {"project": project, "services": services, "url": "https://localhost", "connect_to": "127.0.0.1:1", "timeout": 1, **given}
    checked = ArgumentSpecValidator(security_review.ARGUMENT_SPEC).validate(options)
    assert not checked.error_messages, checked.error_messages
    return dict(checked.validated_parameters)


def review(folder: Path, runner: Any, **given: Any) -> dict[str, Any]:
    result = Review(parameters(folder, **given), runner, SystemClock(), date(2026, 6, 15)).run()
    assert SECRET not in str(result)
    assert SECRET_KEY not in str(result)
    return result


def test_what_cannot_be_checked_is_a_failed_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security_web, "PATIENCE", ())
    result = review(tmp_path, NoDocker(), protected_paths=["/private"], rate_limit={"path": "/login"}, plain_connect_to="127.0.0.1:1")
    assert result["passed"] is False
    assert result["changed"] is False
    *checks, score = result["checks"]
    assert (score["topic"], score["verdict"]) == ("security_score", "pass")
    assert "containers 0 %" in score["found"]
    areas = {check["area"] for check in checks if check["verdict"] == "fail"}
    assert areas == {"headers", "tls", "network", "containers", "secrets", "settings"}
    # What needs neither Docker nor the network can be checked all the same; and who does not listen leaks nothing.
    good = {check["id"] for check in checks if check["verdict"] == "pass"}
    assert good <= {"secrets.env_mode", "secrets.strength", "headers.https", "network.socket_mode"}
    assert all(check["remedy"] for check in checks if check["verdict"] != "pass")
    assert set(result["parts"]) >= {"headers", "tls", "git", "containers", "rate_limit", "redirect"}


def test_nothing_fails_where_nothing_shall(tmp_path: Path) -> None:
    result = review(tmp_path, NoDocker(), fail_at="never")
    assert (result["passed"], {check["verdict"] for check in result["findings"]}) == (True, {"warn"})


def test_a_part_that_breaks_is_a_failed_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> list[Any]:
        raise RuntimeError(f"no idea what {SECRET} is")

    for name in ("observe_headers", "observe_hidden", "observe_protected", "observe_origins", "observe_host", "observe_tls"):
        monkeypatch.setattr(security_web, name, broken)
    result = review(tmp_path, NoDocker())
    told = [check["found"] for check in result["findings"] if "RuntimeError" in check["found"]]
    assert len(told) >= 6
    assert all("********" in found for found in told)


def test_a_stack_made_sick_is_told_by_name(tmp_path: Path, recorded: Callable[[str], str]) -> None:
    containers = json.loads(recorded("docker-26.1-inspect-small-stack.json"))
    redis = next(item for item in containers if item["Name"] == "/small-redis")
    healthy = {check["id"] for check in review(tmp_path, Recorded(containers))["findings"]}
    redis["HostConfig"]["Privileged"] = True
    redis["NetworkSettings"]["Ports"] = {"6379/tcp": [{"HostIp": "0.0.0.0", "HostPort": "6379"}]}
    redis["Mounts"] = [{"Type": "bind", "Source": "/var/run/docker.sock"}]
    redis["Config"]["Env"] = [f"DB_PASSWORD={SECRET}", "DEBUG=1"]
    redis["Args"] = ["--requirepass", SECRET]
    result = review(tmp_path, Recorded(containers, history=f"ARG {SECRET_KEY}"), secret_services={"DB_PASSWORD": ["db"]})
    new = {check["id"] for check in result["findings"]} - healthy
    assert new >= {
        "containers.privileged:redis",
        "network.published:redis:6379",
        "network.socket_mounted:redis",
        "secrets.container:redis",
        "secrets.command_line:redis",
        "settings.debug:redis",
    }
    assert any(name.startswith("secrets.image:") for name in new)
    assert result["findings"][0]["severity"] == "critical"
    assert result["score"]["network"] < 100


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"waivers": [{"check": "secrets.git", "reason": "", "until": "2026-12-31"}]}, "it has no reason"),
        ({"severities": {"nothing": "low"}}, "nothing: low is not a rule"),
        ({"thresholds": {"nothing": 1}}, "there is no threshold nothing"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_asked(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        Review(parameters(tmp_path, **given), NoDocker(), SystemClock(), date(2026, 6, 15))
    assert message in str(caught.value)


@pytest.mark.parametrize("left_out", ["check", "reason", "until"])
def test_a_waiver_without_reason_or_date_is_refused(left_out: str) -> None:
    waiver = {"check": "secrets.git", "reason": "known", "until": "2026-12-31"}
    del waiver[left_out]
    spec = {"waivers": security_review.ARGUMENT_SPEC["waivers"]}
    assert f"missing required arguments: {left_out}" in str(ArgumentSpecValidator(spec).validate({"waivers": [waiver]}).error_messages)


def test_every_rule_is_documented() -> None:
    root = Path(__file__).resolve().parents[4]
    text = (root / "docs/security.md").read_text(encoding="utf-8")
    assert [name for name, rule in RULES.items() if f"| `{name}` | {rule.severity} | {rule.subject}: " not in text] == []
    lines = yaml.safe_load((root / "roles/verify/vars/main.yml").read_text(encoding="utf-8"))["__verify_security_lines"]
    topics = {topic for line in lines for topic in line.get("topics", [])}
    assert {rule.topic for rule in RULES.values()} == topics
