# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""certbot's hook, with real pairs and a real lock; what it does to containers is tested on a real server (tests/sick/test_acme.py)."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import acme_hook
from ansible_collections.residency.scheduler.plugins.module_utils.acme_hook import Failed, Settings


class Place:
    """certbot's folders, the proxy's, and settings without a proxy."""

    def __init__(self, root: Path) -> None:
        self.root, self.tls, self.archive = root, root / "tls", root / "archive" / "stack"
        self.live = root / "live" / "stack"
        for folder in (self.tls, self.archive, self.live):
            folder.mkdir(parents=True)
        self.settings = Settings("stack", [], "/var/www/certbot", str(self.tls), str(self.live), str(root / "run" / "lock"))
        (root / "settings.json").write_text(json.dumps(asdict(self.settings)), encoding="utf-8")

    def issue(self, number: int) -> None:
        """Do as certbot: a pair in the archive, and links to it."""
        make(self.archive / f"fullchain{number}.pem", self.archive / f"privkey{number}.pem")
        for name in ("fullchain", "privkey"):
            (self.live / f"{name}.pem").unlink(missing_ok=True)
            (self.live / f"{name}.pem").symlink_to(self.archive / f"{name}{number}.pem")

    def in_place(self) -> bool:
        """Tell whether the newest pair is served."""
        return acme_hook.read_pair(str(self.tls)) == acme_hook.read_pair(str(self.live))


def make(chain: Path, key: Path) -> None:
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"]
    subprocess.run(["openssl", "req", *words, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True)


@pytest.fixture(name="place")
def place_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.delenv(acme_hook.LOCK, raising=False)
    place = Place(tmp_path)
    place.issue(1)
    return place


def test_the_pair_is_put_in_place_once(place: Place) -> None:
    assert acme_hook.deploy(place.settings, replace=False).startswith("The new certificate is in")
    assert place.in_place()
    assert (place.tls / "privkey.pem").stat().st_mode & 0o777 == 0o600
    assert (place.tls / "fullchain.pem").stat().st_mode & 0o777 == 0o644
    assert acme_hook.deploy(place.settings, replace=False).endswith("is the newest one")
    place.issue(2)
    acme_hook.deploy(place.settings, replace=False)
    assert place.in_place()
    assert sorted(os.listdir(place.tls)) == ["fullchain.pem", "privkey.pem"], "something was left"


def test_another_kind_of_certificate_stays_unless_it_is_to_be_replaced(place: Place) -> None:
    make(place.tls / "fullchain.pem", place.tls / "privkey.pem")
    assert "which stays. To end the renewals: certbot delete --cert-name stack" in acme_hook.deploy(place.settings, replace=False)
    assert not place.in_place()
    acme_hook.deploy(place.settings, replace=True)
    assert place.in_place()


def test_a_key_of_another_certificate_is_refused(place: Place) -> None:
    acme_hook.deploy(place.settings, replace=False)
    before = acme_hook.read_pair(str(place.tls))
    place.issue(2)
    make(place.root / "other.pem", place.archive / "privkey2.pem")
    with pytest.raises(Failed, match=r"is not served: .*MISMATCH"):
        acme_hook.deploy(place.settings, replace=False)
    assert acme_hook.read_pair(str(place.tls)) == before


def test_it_waits_for_a_deployment(place: Place) -> None:
    lock = Path(place.settings.lock)
    lock.parent.mkdir()
    with lock.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        thread = threading.Thread(target=acme_hook.deploy, args=(place.settings, False))
        thread.start()
        time.sleep(0.5)
        assert not place.in_place()
    thread.join(10)
    assert place.in_place()


def test_within_a_deployment_it_does_not(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(acme_hook.LOCK, place.settings.lock)
    lock = Path(place.settings.lock)
    lock.parent.mkdir()
    with lock.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        acme_hook.deploy(place.settings, replace=False)
    assert place.in_place()


def test_an_answer_is_put_down_and_taken_away(place: Place) -> None:
    acme_hook.challenge(place.settings, str(place.root), "abc-_1", "abc-_1.thumbprint")
    assert (place.root / "challenge" / "abc-_1").read_text(encoding="utf-8") == "abc-_1.thumbprint"
    acme_hook.cleanup(place.settings, str(place.root), "abc-_1")
    acme_hook.cleanup(place.settings, str(place.root), "abc-_1")
    assert not os.listdir(place.root / "challenge")


@pytest.mark.parametrize("token", ["", "../x", "a/b", "a b", "x" * 10 + "\n"])
def test_what_is_no_token_is_refused(place: Place, token: str) -> None:
    with pytest.raises(Failed, match=r"the token .* is none"):
        acme_hook.challenge(place.settings, str(place.root), token, "x")


def test_it_is_a_program_of_its_own(place: Place) -> None:
    """As on a server, where no collection is: by its file, with nothing but the standard library."""
    hook = place.root / "hook.py"
    hook.write_bytes(Path(acme_hook.__file__).read_bytes())

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(hook), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/nowhere", **environment})

    assert call("challenge", CERTBOT_TOKEN="abc", CERTBOT_VALIDATION="abc.x").returncode == 0
    assert (place.root / "challenge" / "abc").exists()
    assert call("cleanup", CERTBOT_TOKEN="abc").returncode == 0
    assert call("deploy").returncode == 0
    assert place.in_place()
    wrong = call("renew")
    assert (wrong.returncode, wrong.stderr) == (1, "Say challenge, cleanup or deploy.\n")
    place.settings.proxies.append("nginx")
    (place.root / "settings.json").write_text(json.dumps(asdict(place.settings)), encoding="utf-8")
    place.issue(2)
    without = call("deploy")
    assert (without.returncode, place.in_place()) == (1, False)
    assert "docker ps" in without.stderr
