# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that name a compose project and its stack of services."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared option documentation: ``compose`` (the project) and ``compose.stack`` (the ordered services)."""

    DOCUMENTATION = r"""
options:
  project:
    description:
      - The Docker Compose project, named in full. Compose takes another project's state for this one where a file is missing.
    type: dict
    required: true
    suboptions:
      name:
        description: Name of the project, as for C(docker compose --project-name).
        type: str
        required: true
      directory:
        description: Folder of the project on the managed host; relative paths are taken from here.
        type: path
        required: true
      files:
        description: All compose files, in order.
        type: list
        elements: path
        required: true
      env_file:
        description: The C(.env) file. Its secrets are read on the managed host and are blotted out of everything that is returned.
        type: path
        required: true
"""

    STACK = r"""
options:
  services:
    description:
      - The stack in start order, as in the inventory's C(scheduler_services).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the service in the compose files.
        type: str
        required: true
      kind:
        description:
          - Which protocol the probe of this service speaks. V(container) looks at the container only.
        type: str
        choices: [postgres, redis, http, celery_worker, celery_beat, proxy, container]
        default: container
      port:
        description:
          - Port inside the container. The default is the usual one of the kind (5432, 6379, 80; V(proxy) takes 443 where it
            is published, else 80).
        type: int
      path:
        description: Path of the probe, for the kinds V(http) and V(proxy).
        type: str
        default: /
      optional:
        description: The service may be missing from the compose files.
        type: bool
        default: false
      docker_health:
        description:
          - Whether the verdict of Docker's own health check counts. The default is V(advice) for Celery's kinds, which inherit
            the HTTP check of the image that they share with the API, else V(required).
        type: str
        choices: [required, advice]
"""
