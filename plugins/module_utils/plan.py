# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services differ from what is wanted? Pure decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container

#: Kinds that a proxy forwards to, and whose addresses it has resolved.
UPSTREAM_KINDS = ("http",)


@dataclass(frozen=True)
class WantedService:
    """A service as the configuration wants it.

    :ivar image_id: None while its image does not exist here.
    :ivar files_changed: when the newest of the files that are mounted into it was written; None where there are none.
    """

    name: str
    kind: str
    replicas: int
    image: str
    image_id: str | None
    config_hash: str
    files_changed: datetime | None = None


@dataclass(frozen=True)
class Running:
    """A container as it is; *loaded* is when a proxy last read its configuration, else when the container started."""

    service: str
    state: str
    image_id: str
    config_hash: str
    started: datetime
    loaded: datetime

    @classmethod
    def from_container(
        cls, container: Container, *, oldest_worker_age: float | None, now: Callable[[], datetime] | None = None
    ) -> Running:
        """Build it from Docker's facts and the age in seconds of a proxy's oldest worker process."""
        moment = now() if now else datetime.now(UTC)
        loaded = container.started if oldest_worker_age is None else moment - timedelta(seconds=oldest_worker_age)
        return cls(container.service, container.state, container.image_id, container.config_hash, container.started, loaded)


@dataclass(frozen=True)
class Action:
    """One thing to do: ``create``, ``replace``, ``start``, ``scale`` or ``reload`` a service, or ``remove`` it."""

    service: str
    action: str
    reason: str
    before: str
    after: str

    def to_dict(self) -> dict[str, str]:
        """Return what the module's result shows."""
        return {key: value for key, value in asdict(self).items() if key in ("service", "action", "reason")}


def decide(wanted: Sequence[WantedService], running: Sequence[Running]) -> list[Action]:
    """Return the actions that turn *running* into *wanted*, in start order; orphans are removed last."""
    actions: list[Action] = []
    for service in wanted:
        mine = [container for container in running if container.service == service.name]
        action = _compare(service, mine)
        if action is None and service.kind == "proxy" and mine:
            action = _reload(service, mine, wanted, running, actions)
        actions += [action] if action else []
    names = {service.name for service in wanted}
    orphans = sorted({container.service for container in running} - names)
    return actions + [Action(name, "remove", "it is no service of this release", "running", "absent") for name in orphans]


def _compare(service: WantedService, mine: Sequence[Running]) -> Action | None:
    after = f"{service.replicas} x {service.image}"
    before = f"{len(mine)} x image {mine[0].image_id[7:19]}" if mine else "absent"
    if service.replicas == 0 and not mine:
        return None
    if not mine:
        return Action(service.name, "create", "it does not exist", before, after)
    old = next((container for container in mine if container.image_id != service.image_id), None)
    if old is not None:
        wanted_id = service.image_id[7:19] if service.image_id else "an image still to be built"
        return Action(service.name, "replace", f"image {old.image_id[7:19]} runs, {wanted_id} is wanted", before, after)
    if any(container.config_hash != service.config_hash for container in mine):
        return Action(service.name, "replace", "its configuration changed", before, f"{after}, new configuration")
    stopped = [container for container in mine if container.state != "running"]
    if stopped:
        return Action(service.name, "start", f"{len(stopped)} of its containers {stopped[0].state}", before, after)
    if len(mine) != service.replicas:
        return Action(service.name, "scale", f"{len(mine)} run, {service.replicas} are wanted", before, after)
    return None


def _reload(
    proxy: WantedService,
    mine: Sequence[Running],
    wanted: Sequence[WantedService],
    running: Sequence[Running],
    actions: Sequence[Action],
) -> Action | None:
    upstreams = {service.name for service in wanted if service.kind in UPSTREAM_KINDS}
    moved = [action.service for action in actions if action.service in upstreams]
    loaded = min(container.loaded for container in mine)
    # ps(1) counts whole seconds: an upstream that started in the same second as the proxy counts as older.
    newer = {item.service for item in running if item.service in upstreams and item.started > loaded + timedelta(seconds=1)}
    names = sorted({*moved, *newer})
    if names:
        reason = f"it resolved {', '.join(names)} before that was replaced"
        return Action(proxy.name, "reload", reason, "old addresses", "present addresses")
    if proxy.files_changed and proxy.files_changed > loaded + timedelta(seconds=1):
        return Action(proxy.name, "reload", "it read its files before they changed (a new certificate)", "old files", "present files")
    return None
