#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pins a compose project to a release, and makes what the release needs before anything is stopped."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_release
short_description: Build and pin the images of a release of a compose project
version_added: 0.1.0
description:
  - Writes a compose file that pins the project to one release - every built service gets an image tag of its own release, so
    that C(up) after a checkout can never start another release's image, and going back builds nothing.
  - Builds the images that do not exist yet, pulls the ready-made ones that are missing, and makes the folders that
    bind-mounted volumes need. Nothing that runs is touched.
  - A ready-made image gets a second name, C(PROJECT-SERVICE:kept-ID), so that the way back finds it also where its own name has moved
    to another image, by C(docker pull) say, and the old one was cleaned away.
  - The file also mends what Compose or Docker would refuse - C(container_name) together with replicas, and CPU limits above
    the host's cores. With O(public) it binds the ports of all other services to the loopback address.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - Docker with the Compose plugin 2.24.4 or newer (it introduced C(!override))
extends_documentation_fragment:
  - residency.scheduler.compose
attributes:
  check_mode:
    support: full
    description: Tells what would be written, built, pulled and made.
  diff_mode:
    support: full
    description: Shows the compose file, and the images and folders that are missing.
  idempotent:
    support: full
    description: An image that exists under the release's tag is never built again.
options:
  version:
    description: Version of the release, for the image tag.
    type: str
    required: true
  commit:
    description: Full git commit of the release. A commit that is not checked out yet is possible in check mode only.
    type: str
    required: true
  release_file:
    description: Where to write the compose file. It must not be among the O(project.files).
    type: path
    required: true
  public:
    description:
      - Services whose published ports stay as the release has them, the proxy above all. As soon as the project has one of them, the
        ports of all other services are published on 127.0.0.1 only, unless the release itself names an address. Docker lets a published
        port through whatever a firewall on the host says.
    type: list
    elements: str
    default: []
    version_added: 0.5.0
  build_timeout:
    description: Seconds that all builds and pulls together may take.
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Build the images of the release
  residency.scheduler.compose_release:
    project:
      name: residency-scheduler
      directory: /opt/residency-scheduler
      files: [docker-compose.yml, docker-compose.prod.yml]
      env_file: .env
    version: v1.0.0
    commit: 3f786850e387550fdab836ed7e6dc881de23001b
    release_file: /var/lib/residency-scheduler/compose.v1.0.0.yml

- name: See what a build would do
  residency.scheduler.compose_release:
    project: "{{ scheduler_compose }}"
    version: "{{ scheduler_version }}"
    commit: "{{ repository.commit }}"
    release_file: /var/lib/residency-scheduler/compose.yml
  check_mode: true
  diff: true
"""

RETURN = r"""
tag:
  description: The release's image tag.
  returned: always
  type: str
  sample: v1.0.0-3f9a2b1c
images:
  description:
    - Image reference and id of each service; the id is empty while the image does not exist (check mode). A ready-made image also has
      the name under which it is C(kept).
  returned: always
  type: dict
  sample:
    backend: {reference: "residency-scheduler-backend:v1.0.0-3f9a2b1c", id: "sha256:83bb51e0a1ce"}
    redis: {reference: "redis:7", id: "sha256:0c2a9b7d11f0", kept: "residency-scheduler-redis:kept-0c2a9b7d11f0"}
built:
  description: Services whose image was built (or would be).
  returned: always
  type: list
  elements: str
  sample: [backend, celery-worker]
pulled:
  description: Services whose ready-made image was pulled (or would be).
  returned: always
  type: list
  elements: str
  sample: []
folders:
  description: Folders that were made for bind-mounted volumes (or would be).
  returned: always
  type: list
  elements: str
  sample: [/var/lib/residency-scheduler/data/postgres]
seconds:
  description: How long building and pulling took, in seconds.
  returned: always
  type: float
  sample: 92.1
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import release_file
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.compose import (
    PROJECT_SPEC,
    Config,
    Project,
    read_config,
    read_unpinned,
)
from ansible_collections.residency.scheduler.plugins.module_utils.containers import read_images
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish


@dataclass(frozen=True)
class Plan:
    """What is missing: the file's new text, services to build, to pull and to keep the images of, folders to make."""

    before: str
    after: str
    build: tuple[str, ...]
    pull: tuple[str, ...]
    keep: tuple[str, ...]
    folders: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Tell whether anything has to be done."""
        return self.before != self.after or bool(self.build or self.pull or self.keep or self.folders)

    def diff(self, path: str) -> list[dict[str, str]]:
        """Return the file's diff, and the missing pieces as a list of their own."""
        pieces = [f"image of {name}: built" for name in self.build] + [f"image of {name}: pulled" for name in self.pull]
        pieces += [f"image of {name}: kept" for name in self.keep]
        pieces += [f"folder {name}: made" for name in self.folders]
        return [
            {"before_header": path, "after_header": path, "before": self.before, "after": self.after},
            {"before_header": "missing", "after_header": "made", "before": "", "after": "".join(f"{line}\n" for line in pieces)},
        ]


def run(parameters: dict[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Read what is there, decide what is missing, make it, and return the release's images."""
    project = Project.from_parameters(parameters["project"])
    path = parameters["release_file"]
    config = read_unpinned(project, runner)
    release_tag = release_file.tag(parameters["version"], parameters["commit"], config.services.values())
    references = release_file.images(project.name, release_tag, config.services.values())
    wanted = {name: references.get(name, service.image) for name, service in config.services.items()}
    heading = f"Release {parameters['version']}, commit {parameters['commit']}"
    text = _render(project, config, references, heading, parameters["public"])
    ready_made = [name for name, service in config.services.items() if not service.build]
    images, kept = _images(project, wanted, ready_made, runner)
    missing = [name for name, image in images.items() if not image["id"]]
    plan = Plan(
        before=read_text(path),
        after=text,
        build=tuple(name for name in missing if config.services[name].build),
        pull=tuple(name for name in missing if not config.services[name].build),
        # What is pulled is kept as well.
        keep=tuple(name for name in ready_made if name not in kept),
        folders=tuple(folder for folder in config.bind_devices if not os.path.isdir(folder)),
    )
    started = time.monotonic()
    if plan.changed and not check_mode:
        _apply(plan, path, project, parameters["build_timeout"], runner)
        images, kept = _images(project, wanted, ready_made, runner)
        _keep([images[name] for name in ready_made if name not in kept], runner)
    return {
        "changed": plan.changed,
        "tag": release_tag,
        "images": images,
        "built": list(plan.build),
        "pulled": list(plan.pull),
        "folders": list(plan.folders),
        "seconds": round(time.monotonic() - started, 3),
        "diff": plan.diff(path),
    }


def _images(
    project: Project, wanted: Mapping[str, str], ready_made: Sequence[str], runner: Runner
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return reference and id of each service's image, with the second name of a ready-made one; and whose second name is there."""
    ids = read_images(list(wanted.values()), runner).ids
    images = {name: {"reference": reference, "id": ids.get(reference, "")} for name, reference in wanted.items()}
    for name in ready_made:
        if images[name]["id"]:
            images[name]["kept"] = release_file.kept(project.name, name, images[name]["id"])
    names = {name: images[name]["kept"] for name in ready_made if "kept" in images[name]}
    present = read_images(list(names.values()), runner).ids
    return images, [name for name, second in names.items() if present.get(second) == images[name]["id"]]


def _keep(images: Sequence[Mapping[str, str]], runner: Runner) -> None:
    for image in images:
        named = runner.run(["docker", "tag", image["id"], image["kept"]])
        require(named, f"Keeping the image {image['reference']} failed", "Look at `docker images`. Nothing that runs was touched.")


def _render(project: Project, config: Config, references: dict[str, str], heading: str, public: Sequence[str]) -> str:
    digests = {}
    for name, service in config.services.items():
        # A folder that a container writes to holds its data, which is no part of the release.
        settings = [path for path in service.bind_sources if path not in service.writable_sources or os.path.isfile(path)]
        digest = release_file.digest_paths(settings, project.directory)
        if digest:
            digests[name] = digest
    return release_file.render(config.services, references, digests, float(os.cpu_count() or 1), heading, public)


def _apply(plan: Plan, path: str, project: Project, timeout: float, runner: Runner) -> None:
    for folder in plan.folders:
        os.makedirs(folder, mode=0o750, exist_ok=True)
    write_text(path, plan.after, 0o644)
    pinned = Project(project.name, project.directory, (*project.files, path), project.env_file)
    if plan.pull:
        require(
            runner.run(pinned.argv("pull", "--quiet", *plan.pull), timeout=timeout),
            f"Pulling the images of {', '.join(plan.pull)} failed",
            "Check that this host reaches the registry, or load the images by `docker load`. Nothing that runs was touched.",
            project.secrets(),
        )
    if plan.build:
        require(
            runner.run(pinned.argv("--progress", "plain", "build", *plan.build), timeout=timeout),
            f"Building the images of {', '.join(plan.build)} failed",
            "Correct the release's Dockerfile, or the network that the build needs. Nothing that runs was touched.",
            project.secrets(),
        )
    references = [service.image for service in read_config(pinned, runner).services.values()]
    found = read_images(references, runner).ids
    absent = sorted(set(references) - set(found))
    if absent:
        raise Problem("Building the release failed", f"{', '.join(absent)} does not exist after the build", "Read the build's output.")


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "project": PROJECT_SPEC,
            "version": {"type": "str", "required": True},
            "commit": {"type": "str", "required": True},
            "release_file": {"type": "path", "required": True},
            "public": {"type": "list", "elements": "str", "default": []},
            "build_timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
