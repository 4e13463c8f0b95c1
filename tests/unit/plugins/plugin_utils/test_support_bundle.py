# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""diagnosis_secrets and the support bundle: no secret comes through, in whatever form."""

from __future__ import annotations

import base64
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_secrets import blotter, collect, of_environment
from ansible_collections.residency.scheduler.plugins.plugin_utils import support_bundle

SECRETS = {
    "env": "p@ss/w0rd-of-env",
    "old": "older-w0rd$release",
    "kept": "kept'by \"us\"",
    "url": "urlw0rd",
    "container": "only-the-container-has-it",
    "odd": "Zm9vYmFyMTIzNDU2Nzg5",
}


def server(folder: Path) -> tuple[str, str]:
    """Lay out a server with a secret in each place, and return its env file and its state folder."""
    release = folder / "state/releases/20251222T020000Z-v1"
    release.mkdir(parents=True)
    env = {"DB_PASSWORD": SECRETS["env"], "DATABASE_URL": f"postgresql://u:{SECRETS['url']}@db/x", "SENTRY": SECRETS["odd"]}
    (folder / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in env.items()), encoding="utf-8")
    (release / ".env").write_text(f"# Secrets: PIN\nPIN='{SECRETS['old']}'\n", encoding="utf-8")
    kept = {"secrets": {"API": SECRETS["kept"]}, "rotated": []}
    (folder / "state/secrets.json").write_text(json.dumps(kept), encoding="utf-8")
    (release / "record.json").write_text(
        json.dumps({"id": "x", "version": "v1", "commit": "c", "images": {}, "environment_digest": "d"}), encoding="utf-8"
    )
    return str(folder / ".env"), str(folder / "state")


def forms(value: str) -> list[str]:
    return [value, quote(value, safe=""), base64.b64encode(value.encode()).decode().rstrip("="), json.dumps(value)[1:-1], repr(value)[1:-1]]


def test_every_secret_in_every_form_is_blotted_out(tmp_path: Path) -> None:
    env_file, state = server(tmp_path)
    secrets, unread = collect(env_file, state, [{"REDIS_PASSWORD": SECRETS["container"], "PATH": "/usr/bin"}])
    assert unread == []
    clean = blotter(secrets)
    for value in SECRETS.values():
        for form in forms(value):
            shown = json.dumps(clean({"a": [f"before {form} after"], form: 1}), ensure_ascii=False)
            assert form not in shown, form
            assert "before " in shown
    assert clean("redis://:whoever@redis:6379/0") == "redis://:********@redis:6379/0"
    assert clean([1, 2.5, None, True]) == [1, 2.5, None, True]


def test_what_is_no_secret_stays(tmp_path: Path) -> None:
    plain = {"DEBUG": "false", "LOG_LEVEL": "info", "IMAGE": "residency-bed/postgres:15", "ORIGINS": '["https://a.example"]', "N": "4"}
    assert of_environment(plain) == set()


def test_without_env_the_secrets_of_the_releases_are_known(tmp_path: Path) -> None:
    env_file, state = server(tmp_path)
    Path(env_file).unlink()
    secrets, _unread = collect(env_file, state, [])
    assert SECRETS["old"] in secrets
    (tmp_path / "state/secrets.json").write_text("{broken", encoding="utf-8")
    secrets, unread = collect(env_file, state, [])
    assert SECRETS["old"] in secrets
    assert "secrets.json is no such file" in unread[0]


def result() -> dict[str, Any]:
    cause = {"id": "service.stopped", "subject": "db", "sentence": "db does not run.", "evidence": ["p-db: exited"], "service": "db"}
    cause |= {"commands": ["docker start p-db"], "section": "Issue", "follows_from": ""}
    return {
        "causes": [cause],
        "notes": [],
        "unavailable": {"stats": "Docker hung"},
        "parts": {"docker": 0.1},
        "seconds": 4.2,
        "checks": [{"subject": "x"}],
        "facts": {"host": {"load": [1.0]}},
        "logs": {"p-db": ["one", "two"]},
    }


def test_the_bundle_is_whole_and_nobody_elses(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    where = support_bundle.path(str(tmp_path / "reports"), "server/one", now)
    assert where == str(tmp_path / "reports/server-one-diagnosis-20260102030405.tar.gz")
    support_bundle.write(where, "server/one", now, result())
    assert Path(where).stat().st_mode & 0o777 == 0o600
    with tarfile.open(where) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        stream = archive.extractfile("server-one-diagnosis-20260102030405/README.txt")
        assert stream is not None
        text = stream.read().decode()
    assert names == {"README.txt", "diagnosis.json", "checks.json", "facts/host.json", "logs/p-db.txt"}
    assert "1. db does not run. (service.stopped)" in text
    assert "$ docker start p-db" in text
    assert "Could not be had: stats: Docker hung" in text
    with pytest.raises(FileExistsError):
        support_bundle.write(where, "server/one", now, result())
