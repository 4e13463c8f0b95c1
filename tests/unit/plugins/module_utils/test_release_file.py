# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compose file that pins a release."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Service, parse_config
from ansible_collections.residency.scheduler.plugins.module_utils.release_file import (
    FILES_LABEL,
    digest_paths,
    images,
    render,
    slug,
    tag,
)

BACKEND = Service("backend", "", {"context": "/opt/app/backend"}, 1, None, None, (), (), False, {})
DB = Service("db", "postgres:15", None, 1, None, None, (), (), False, {})
COMMIT = "3f786850e387550fdab836ed7e6dc881de23001b"


class Loader(yaml.SafeLoader):
    """Reads Compose's own tag."""


Loader.add_constructor("!reset", lambda _loader, node: f"reset {node.value}")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v1.0.0", "v1.0.0"),
        ("release/2025 12", "release-2025-12"),
        ("--", "release"),
        ("", "release"),
        (".hidden", "hidden"),
        ("ü", "release"),
        ("v" * 200, "v" * 60),
    ],
)
def test_slug(version: str, expected: str) -> None:
    assert slug(version) == expected


@pytest.mark.parametrize(
    ("commit", "services", "same"),
    [
        (COMMIT, [BACKEND, DB], True),
        (COMMIT, [DB, BACKEND], True),
        (COMMIT, [BACKEND, replace(DB, image="postgres:16")], True),  # nothing of it is built
        (COMMIT[::-1], [BACKEND, DB], False),
        (COMMIT, [replace(BACKEND, build={"context": "/opt/app/backend", "args": {"A": "1"}}), DB], False),
    ],
)
def test_tag_differs_when_the_build_may(commit: str, services: list[Service], same: bool) -> None:
    assert (tag("v1.0.0", commit, services) == tag("v1.0.0", COMMIT, [BACKEND, DB])) is same


def test_images_are_those_that_are_built() -> None:
    assert images("project", "v1-abc", [BACKEND, DB]) == {"backend": "project-backend:v1-abc"}


@pytest.mark.parametrize(
    ("service", "references", "digests", "expected"),
    [
        pytest.param(DB, {}, {}, None, id="nothing to say"),
        pytest.param(BACKEND, {"backend": "p-backend:v1"}, {}, {"image": "p-backend:v1"}, id="image"),
        pytest.param(replace(DB, container_name="db", replicas=2), {}, {}, {"container_name": "reset null"}, id="name and replicas"),
        pytest.param(replace(DB, container_name="db"), {}, {}, None, id="a name alone stays"),
        pytest.param(
            replace(DB, cpus=4.0, cpus_in_deploy=True), {}, {}, {"deploy": {"resources": {"limits": {"cpus": "2"}}}}, id="too many CPUs"
        ),
        pytest.param(replace(DB, cpus=4.0), {}, {}, {"cpus": "2"}, id="too many CPUs, in the service itself"),
        pytest.param(replace(DB, cpus=2.0), {}, {}, None, id="as many CPUs as there are"),
        pytest.param(DB, {}, {"db": "0f"}, {"labels": {FILES_LABEL: "0f"}}, id="mounted files"),
    ],
)
def test_render(service: Service, references: dict[str, str], digests: dict[str, str], expected: object) -> None:
    text = render({service.name: service}, references, digests, 2.0, "Release v1", [])
    document = yaml.load(text, Loader)  # a SafeLoader
    assert document["services"] == ({service.name: expected} if expected else {})
    assert text.startswith("# Release v1\n")


def test_render_the_production_stack(recorded) -> None:
    config = parse_config(recorded("compose-2.26-config-production.json"))
    references = images("residency-scheduler", "v1", config.services.values())
    document = yaml.load(render(config.services, references, {}, 2.0, "x", []), Loader)
    assert document["services"]["backend"] == {"image": "residency-scheduler-backend:v1"}
    assert document["services"]["celery-worker"]["deploy"]["resources"]["limits"]["cpus"] == "2"
    assert set(document["services"]) == {"backend", "celery-beat", "celery-worker", "db", "frontend"}


@pytest.mark.parametrize(
    ("host_ip", "public", "bound"),
    [
        (None, ["nginx"], "127.0.0.1"),
        ("0.0.0.0", ["nginx"], "127.0.0.1"),
        ("::", ["nginx"], "127.0.0.1"),
        # The release says where.
        ("10.0.0.1", ["nginx"], None),
        # There is no proxy, or it is wanted so.
        (None, ["caddy"], None),
        (None, ["nginx", "backend"], None),
    ],
)
def test_ports_behind_a_proxy_are_bound_to_the_loopback_address(host_ip: str | None, public: list[str], bound: str | None) -> None:
    port = {"mode": "ingress", "target": 8000, "published": "8000", "protocol": "tcp"} | ({"host_ip": host_ip} if host_ip else {})
    services = {name: replace(BACKEND, name=name, ports=(port,)) for name in ("backend", "nginx")}
    text = render(services, {}, {}, 2.0, "x", public)
    assert "  \"nginx\"" not in text
    document = yaml.load(text.replace("!override", ""), Loader)
    assert document["services"] == ({"backend": {"ports": [{**port, "host_ip": bound}]}} if bound else {})
    assert ("ports: !override" in text) == bool(bound), "else Compose would publish both"


def test_digest_paths(tmp_path: Path) -> None:
    root = tmp_path / "app"
    (root / "nginx" / "ssl").mkdir(parents=True)
    (root / "nginx" / "nginx.conf").write_text("one", encoding="utf-8")
    (tmp_path / "outside").write_text("x", encoding="utf-8")
    conf, folder = str(root / "nginx" / "nginx.conf"), str(root / "nginx")

    first = digest_paths([conf], str(root))
    assert first is not None
    assert digest_paths([conf, str(tmp_path / "outside")], str(root)) == first
    assert digest_paths([str(tmp_path / "outside")], str(root)) is None
    assert digest_paths([str(root / "nginx" / "ssl")], str(root)) is None
    assert digest_paths([str(root / "absent")], str(root)) is None

    before = digest_paths([folder], str(root))
    # What cannot be read to its end does not count, and does no harm.
    (root / "nginx" / "nowhere").symlink_to(tmp_path / "absent")
    os.mkfifo(root / "nginx" / "pipe")
    assert digest_paths([folder], str(root)) == before
    (root / "nginx" / "ssl" / "privkey.pem").write_text("k", encoding="utf-8")
    assert digest_paths([folder], str(root)) != before
    (root / "nginx" / "nginx.conf").write_text("two", encoding="utf-8")
    assert digest_paths([conf], str(root)) != first
