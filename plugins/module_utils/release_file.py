# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated compose file that pins a project to one release. Pure."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping

from ansible_collections.residency.scheduler.plugins.module_utils.compose import Service

#: Label with the digest of the files that are mounted into a service from the release's own tree.
FILES_LABEL = "residency.scheduler.mounted-files"
#: Addresses of the host that stand for all of them; none given is the same.
ANYWHERE = (None, "", "0.0.0.0", "::")
LOOPBACK = "127.0.0.1"


def tag(version: str, commit: str, services: Iterable[Service]) -> str:
    """Return the release's image tag: the version, and a digest of the commit and of everything else a build depends on.

    Two builds that could differ never share a tag, so an image that exists is the right one.
    """
    builds = {service.name: service.build for service in services if service.build}
    digest = hashlib.sha256(json.dumps([commit, builds], sort_keys=True).encode()).hexdigest()[:8]
    return f"{slug(version)}-{digest}"


def slug(version: str) -> str:
    """Return *version* as an image tag may contain it (Docker: letters, digits, ``_.-``, 128 characters)."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", version).strip("-.")[:60] or "release"


def images(project_name: str, release_tag: str, services: Iterable[Service]) -> dict[str, str]:
    """Return the image reference of each service that is built."""
    return {service.name: f"{project_name}-{service.name}:{release_tag}" for service in services if service.build}


def kept(project_name: str, service: str, image_id: str) -> str:
    """Return the second name of a service's ready-made image. It moves with nothing: it says which image it is."""
    return f"{project_name}-{service}:kept-{image_id.removeprefix('sha256:')[:12]}"


def render(
    services: Mapping[str, Service],
    references: Mapping[str, str],
    digests: Mapping[str, str],
    host_cpus: float,
    heading: str,
    public: Collection[str],
) -> str:
    """Return the compose file.

    :arg public: services whose ports stay as the release has them. Where one of them is there, those of all others are bound to the
        loopback address: Docker's own rules let a published port through whatever a firewall on the host says.

    It gives each built service the release's image, takes the ``container_name`` off a service with replicas (Compose
    refuses the pair), lowers CPU limits that exceed the host's cores (Docker refuses them in the middle of ``up``), and
    labels a service with the digest of the files mounted into it, so that a changed file replaces the container.
    """
    lines = [f"# {heading}", "# Written by residency.scheduler; do not edit.", "services:"]
    closed = set(services) - set(public) if set(services) & set(public) else set()
    for name, service in services.items():
        body = _service(service, references.get(name), digests.get(name), host_cpus)
        body += _loopback(service) if name in closed else []
        lines += [f"  {json.dumps(name)}:", *body] if body else []
    return "\n".join(lines if len(lines) > 3 else [*lines[:2], "services: {}"]) + "\n"


def _service(service: Service, reference: str | None, digest: str | None, host_cpus: float) -> list[str]:
    body = []
    if reference:
        body.append(f"    image: {json.dumps(reference)}")
    if service.container_name and service.replicas > 1:
        body.append("    container_name: !reset null")
    if service.cpus and service.cpus > host_cpus:
        limit = json.dumps(f"{host_cpus:g}")
        # In the place where the release has it: Compose refuses a service that has both.
        body.append(f"    deploy: {{resources: {{limits: {{cpus: {limit}}}}}}}" if service.cpus_in_deploy else f"    cpus: {limit}")
    if digest:
        body.append(f"    labels: {{{json.dumps(FILES_LABEL)}: {json.dumps(digest)}}}")
    return body


def _loopback(service: Service) -> list[str]:
    """Return the service's ports, bound to the loopback address unless the release itself names an address."""
    if all(port.get("host_ip") not in ANYWHERE for port in service.ports):
        return []
    ports = [{**port, "host_ip": LOOPBACK} if port.get("host_ip") in ANYWHERE else dict(port) for port in service.ports]
    # Compose would add them to those of the other files, and publish both.
    return ["    ports: !override", *(f"      - {json.dumps(port, sort_keys=True)}" for port in ports)]


def digest_paths(paths: Iterable[str], root: str) -> str | None:
    """Return a digest of all files under those of *paths* that lie within *root*; None if there are none."""
    digest = hashlib.sha256()
    found = False
    for path in sorted(paths):
        if os.path.commonpath([os.path.abspath(path), root]) != root:
            continue
        for name in _files(path):
            found = True
            digest.update(os.path.relpath(name, root).encode() + b"\0")
            with open(name, "rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16] if found else None


def _files(path: str) -> list[str]:
    if os.path.isfile(path):
        return [path]
    found = (os.path.join(folder, name) for folder, _folders, names in os.walk(path) for name in names)
    # Nothing else can be read to its end: links to nowhere, sockets, pipes.
    return sorted(name for name in found if os.path.isfile(name))
