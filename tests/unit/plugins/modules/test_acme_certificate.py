# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""acme_certificate: what it runs, what it writes, and when a valid certificate stays. A real server: tests/sick/test_acme.py."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import acme
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import acme_certificate

DOMAIN = "scheduler.example.com"
NOW = datetime.now(UTC) + timedelta(minutes=10)


def make(folder: Path, *, signed_by: Path | None = None) -> None:
    """Make a pair with OpenSSL."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90", "-subj", f"/CN={folder.name}"]
    words += ["-CA", str(signed_by / "fullchain.pem"), "-CAkey", str(signed_by / "privkey.pem")] if signed_by else []
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run(["openssl", "req", *words, *files, "-addext", f"subjectAltName=DNS:{DOMAIN}"], check=True, capture_output=True)


class Place:
    """A server's folders."""

    def __init__(self, root: Path) -> None:
        self.root, self.tls, self.live, self.folder = root, root / "tls", root / "live" / "stack", root / "acme"
        self.tls.mkdir()
        make(root / "authority")
        options = {name: option.get("default") for name, option in acme.SPEC["options"].items()}
        self.parameters: dict[str, Any] = {
            "name": "stack",
            "domain": DOMAIN,
            "acme": {**options, "agree_terms": True, "email": "a@example.com"},
            "services": ["nginx"],
            "tls_dir": str(self.tls),
            "folder": str(self.folder),
            "lock": str(root / "lock"),
            "timeout": 60,
        }

    def issued(self, *, in_place: bool = True) -> None:
        """Have a certificate of the authority, by the present settings."""
        make(self.live, signed_by=self.root / "authority")
        command = acme.certbot_command("stack", DOMAIN, f"{self.folder}/hook.py", self.parameters["acme"])
        self.folder.mkdir()
        (self.folder / "issued.json").write_text(json.dumps(command), encoding="utf-8")
        for name in ("fullchain.pem", "privkey.pem") if in_place else ():
            (self.tls / name).write_bytes((self.live / name).read_bytes())

    def run(self, runner: Any, *, check_mode: bool = False) -> dict[str, Any]:
        result = acme_certificate.run(self.parameters, check_mode, runner, NOW, str(self.root / "live"))
        assert runner.finished()
        return result


@pytest.fixture(name="place")
def place_fixture(tmp_path: Path) -> Place:
    return Place(tmp_path)


def failed(recorded: Callable[[str], str]) -> CommandResult:
    texts = [recorded(f"certbot-4.0-challenge-failed.{name}") for name in ("stdout", "stderr")]
    return CommandResult(("certbot",), 1, texts[0], texts[1], 0.1)


def test_a_check_announces_it_and_writes_nothing(place: Place, runner) -> None:
    result = place.run(runner(), check_mode=True)
    assert (result["changed"], result["reason"], result["not_after"]) == (True, "there is none yet", "")
    assert not place.folder.exists()


def test_the_hook_is_there_before_certbot_calls_it(place: Place, runner) -> None:
    fake = runner(("certbot certonly", ""), ("hook.py deploy --replace", ""))
    assert place.run(fake)["changed"]
    assert fake.calls[0][0][-2:] == ["--email", "a@example.com"]
    assert json.loads((place.folder / "issued.json").read_text(encoding="utf-8")) == fake.calls[0][0][:-2]
    settings = json.loads((place.folder / "settings.json").read_text(encoding="utf-8"))
    assert (settings["proxies"], settings["lineage"]) == (["nginx"], str(place.live))
    compile((place.folder / "hook.py").read_text(encoding="utf-8"), "hook.py", "exec")


def test_a_second_run_changes_nothing(place: Place, runner) -> None:
    place.issued()
    assert place.run(runner())["changed"], "the hook was missing"
    assert not place.run(runner())["changed"]
    place.parameters["services"] = ["nginx", "other"]
    assert place.run(runner())["changed"], "the hook's settings differ"
    assert not place.run(runner())["changed"]


def test_what_is_issued_already_is_only_put_in_place(place: Place, runner) -> None:
    place.issued(in_place=False)
    assert place.run(runner(("hook.py deploy --replace", "")))["reason"] == ""


def test_a_valid_certificate_stays(place: Place, runner, recorded) -> None:
    place.issued()
    place.run(runner())
    place.parameters["acme"]["key_type"] = "rsa"
    result = place.run(runner(("--key-type rsa", failed(recorded))))
    assert not result["changed"]
    assert "HTTP request failed: 404" in result["warnings"][0]
    assert "The certificate in place stays" in result["warnings"][0]


def test_a_self_signed_one_does_not_count(place: Place, runner, recorded) -> None:
    make(place.tls)
    with pytest.raises(Problem, match="HTTP request failed: 404"):
        place.run(runner(("certbot", failed(recorded))))


def test_a_key_of_another_certificate_does_not_count(place: Place, runner, recorded) -> None:
    place.issued()
    (place.tls / "privkey.pem").write_bytes((place.root / "authority" / "privkey.pem").read_bytes())
    with pytest.raises(Problem, match="Putting the certificate in place failed"):
        place.run(runner(("hook.py deploy --replace", CommandResult(("python3",), 1, "", "nginx -t failed", 0.1))))


def test_terms_are_agreed_to_by_a_person(place: Place, runner) -> None:
    place.parameters["acme"]["agree_terms"] = False
    with pytest.raises(Problem, match="nobody has agreed"):
        place.run(runner())
