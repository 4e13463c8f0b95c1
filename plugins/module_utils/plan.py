# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services differ from what is wanted? Pure decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container

#: Kinds without which no task can be done.
DATA_KINDS = ("postgres", "redis")
#: Actions that start nothing.
NO_START = ("drain", "resume", "stand_in", "retire", "sweep")
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
    """A container as it is.

    :ivar loaded: when a proxy last read its configuration, else when the container started.
    :ivar half_made: its name, when a cut run left it so; else empty.
    :ivar stand_in: its name, when it answers for a service whose own container is replaced; else empty.
    """

    service: str
    state: str
    image_id: str
    config_hash: str
    started: datetime
    loaded: datetime
    half_made: str = ""
    stand_in: str = ""

    @classmethod
    def from_container(cls, container: Container, *, oldest_worker_age: float | None, now: Callable[[], datetime] | None = None) -> Running:
        """Build it from Docker's facts and the age in seconds of a proxy's oldest worker process."""
        moment = now() if now else datetime.now(UTC)
        loaded = container.started if oldest_worker_age is None else moment - timedelta(seconds=oldest_worker_age)
        return cls(
            container.service,
            container.state,
            container.image_id,
            container.config_hash,
            container.started,
            loaded,
            half_made=container.name if container.half_made else "",
            stand_in=container.name if container.stand_in else "",
        )


@dataclass(frozen=True)
class Action:
    """One thing to do: ``create``, ``replace``, ``start``, ``scale``, ``drain``, ``resume`` or ``reload`` a service, or ``remove`` it.

    ``stand_in`` starts the one *container* that answers for a service while that one's own is replaced, ``retire`` lets it finish what
    it works on and stops it, and ``sweep`` removes it, or what a cut run left half-made. *prove* names the services that have to
    answer after it.
    """

    service: str
    action: str
    reason: str
    before: str
    after: str
    container: str = ""
    prove: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what the module's result shows."""
        shown = {key: value for key, value in asdict(self).items() if key not in ("before", "after") and value}
        return {**shown, "prove": list(self.prove)}


def decide(
    wanted: Sequence[WantedService],
    running: Sequence[Running],
    *,
    back: bool = False,
    drained: datetime | None = None,
    stand_in: Callable[[str], str] | None = None,
) -> list[Action]:
    """Return the actions that turn *running* into *wanted*, in the order in which they lose nothing. Pure.

    What a cut run left half-made goes first. Services come in start order, orphans last. A proxy is reloaded as soon as a service
    behind it has moved, and both are proven then: waiting for that service first would only make its outage longer - unless another
    container stands in for it. Before a worker, or what it needs, is replaced or ended, tasks in work end; and since a worker discards
    tasks that it does not know, on the way forward nobody sends new ones to an old worker - it is drained before the application is
    replaced -, and on the way back beat goes before the workers.

    :arg back: the way leads to an earlier release.
    :arg drained: since when the workers consume nothing, as a run began to replace them; those that started later do consume.
    :arg stand_in: returns the name of the container that answers for a service while that one's own is replaced; None for no such
        containers. One that a cut run left is of use where nothing else of the service runs; else nobody knows whether it answers, nor
        whether the proxy knows it.
    """
    swept = [_sweep(item) for item in running if item.half_made]
    standing = [item for item in running if item.stand_in]
    running = [item for item in running if not item.half_made and not item.stand_in]
    compared = {service.name: _compare(service, [item for item in running if item.service == service.name]) for service in wanted}
    found = [action for action in compared.values() if action]
    kinds = {service.name: service.kind for service in wanted}
    reloaded = [proxy.name for proxy in wanted if _is_reloaded(proxy, compared, running)]
    # nginx refuses to load a configuration that names a service without an address.
    gone = any(action.action in ("create", "start") and kinds[action.service] in UPSTREAM_KINDS for action in found)
    helping = _of_use(standing, wanted, running)
    for item in (item for item in standing if item.stand_in not in helping.values()):
        swept += _end_stand_in(item.service, item.stand_in, [] if gone else _answering(reloaded, item.service, running))
    fewer = {service.name for service in wanted if service.replicas < len([item for item in running if item.service == service.name])}
    ordered = _with_drain(found, kinds, running, back, drained, fewer)
    actions: list[Action] = []
    helped = set(helping)
    for index, action in enumerate(ordered, start=1):
        if stand_in and not gone and action.service not in helping and _can_be_covered(action, kinds, reloaded, running):
            helping[action.service] = stand_in(action.service)
            helped.add(action.service)
            actions += _begin_stand_in(action.service, helping[action.service], reloaded)
        actions.append(action)
        absent = {item.service for item in ordered[index:] if item.action in ("create", "start")}
        if kinds[action.service] in UPSTREAM_KINDS and not any(kinds[name] in UPSTREAM_KINDS for name in absent):
            actions += [_reload_after(proxy, action) for proxy in reloaded]
            if action.service in helping:
                actions += _end_stand_in(action.service, helping.pop(action.service), reloaded)
        if kinds[action.service] == "proxy" and action.action == "start":
            actions += _reload_where_docker_was_faster(action, ordered[:index], kinds, running)
    for service, name in helping.items():
        actions += _end_stand_in(service, name, reloaded)
    for proxy in (proxy for proxy in wanted if proxy.name in reloaded and not any(item.service == proxy.name for item in actions)):
        late = _reload(proxy, [item for item in running if item.service == proxy.name], wanted, running)
        actions += [late] if late else []
    orphans = sorted({container.service for container in running} - set(kinds))
    removed = [Action(name, "remove", "it is no service of this release", "running", "absent") for name in orphans]
    return swept + _with_proofs(actions, kinds, helped) + removed


def _of_use(standing: Sequence[Running], wanted: Sequence[WantedService], running: Sequence[Running]) -> dict[str, str]:
    """Return the stand-ins, by service, that a cut run left and that go on: of the wanted image, where no other container answers."""
    ids = {service.name: service.image_id for service in wanted}
    alive = {item.service for item in running if item.state == "running"}
    left = [item for item in standing if item.state == "running" and item.service not in alive]
    return {item.service: item.stand_in for item in left if item.image_id == ids.get(item.service)}


def _can_be_covered(action: Action, kinds: Mapping[str, str], proxies: Sequence[str], running: Sequence[Running]) -> bool:
    return action.action == "replace" and kinds[action.service] == "http" and bool(_answering(proxies, action.service, running))


def _answering(proxies: Sequence[str], service: str, running: Sequence[Running]) -> list[str]:
    """Return the *proxies* that stay, provided that a container of the *service* behind them runs."""
    return list(proxies) if any(item.service == service and item.state == "running" for item in running) else []


def _begin_stand_in(service: str, name: str, proxies: Sequence[str]) -> list[Action]:
    start = Action(service, "stand_in", "it answers while the service's own container is replaced", "absent", f"{name} runs", name)
    return [start, *(Action(proxy, "reload", f"{name} answers too", "old addresses", "present addresses") for proxy in proxies)]


def _end_stand_in(service: str, name: str, proxies: Sequence[str]) -> list[Action]:
    """Return how a stand-in goes: removed last, so that a run which is cut before the proxies have forgotten it is seen by the next."""
    retire = Action(service, "retire", "the service's own container answers", f"{name} runs", f"{name} stopped", name)
    reloads = [Action(proxy, "reload", f"{name} has gone", "old addresses", "present addresses") for proxy in proxies]
    return [retire, *reloads, Action(service, "sweep", "nobody asks it any more", f"{name} stopped", "absent", name)]


def _with_proofs(actions: Sequence[Action], kinds: Mapping[str, str], helped: Set[str]) -> list[Action]:
    """Return *actions*, each with what is to be proven after it; what a proxy is reloaded for is proven together with the proxy.

    :arg helped: services for which another container stands in. Such a one has to answer before the proxy hears of it: nginx asks
        nobody for ten seconds who refused once, and the stand-in goes before (nginx.org, ngx_http_upstream_module, fail_timeout).
    """
    ordered, waiting = [], list[str]()
    for index, action in enumerate(actions):
        # A stand-in is waited for by itself, and the proxy's next reload is not far.
        announced = index > 0 and actions[index - 1].action == "stand_in"
        if kinds[action.service] != "container" and action.action not in NO_START and not announced:
            waiting.append(action.service)
        followed = any(following.action == "reload" for following in actions[index + 1 : index + 2])
        if followed and action.service not in helped:
            ordered.append(action)
        else:
            ordered.append(replace(action, prove=tuple(waiting)))
            waiting = []
    return ordered


def _sweep(item: Running) -> Action:
    reason = f"a run that was cut left {item.half_made}"
    return Action(item.service, "sweep", reason, f"{item.half_made} half-made", "absent", item.half_made)


def _is_reloaded(service: WantedService, compared: Mapping[str, Action | None], running: Sequence[Running]) -> bool:
    """Tell whether a proxy stays, so that a reload is what it needs."""
    return service.kind == "proxy" and compared[service.name] is None and any(item.service == service.name for item in running)


def _reload_after(proxy: str, moved: Action) -> Action:
    return Action(proxy, "reload", f"it resolved {moved.service} before that was replaced", "old addresses", "present addresses")


def _reload_where_docker_was_faster(
    start: Action, before: Sequence[Action], kinds: Mapping[str, str], running: Sequence[Running]
) -> list[Action]:
    """Return the reload after *start* of a proxy that Docker itself keeps starting: it may come up while what is behind it still moves."""
    moved = [action for action in before if kinds[action.service] in UPSTREAM_KINDS]
    restarting = any(item.service == start.service and item.state == "restarting" for item in running)
    return [_reload_after(start.service, moved[-1])] if restarting and moved else []


def _with_drain(
    actions: Sequence[Action],
    kinds: Mapping[str, str],
    running: Sequence[Running],
    back: bool,
    drained: datetime | None,
    fewer: Set[str],
) -> list[Action]:
    """Return *actions* with what the Celery workers need around them.

    :arg fewer: services of which fewer containers are wanted than there are.
    """
    workers = [name for name, kind in kinds.items() if kind == "celery_worker"]
    alive = [item for item in running if item.service in workers and item.state == "running"]
    replaced = [action for action in actions if action.service in workers and action.action == "replace"]
    ordered = list(actions)
    if back:
        beats = [action for action in actions if kinds[action.service] == "celery_beat"]
        ordered = [action for action in actions if action not in beats]
        first = next((index for index, action in enumerate(ordered) if action.service in workers), len(ordered))
        ordered[first:first] = beats
    # A task fails where the database, the broker or the worker itself goes away under it.
    data = [
        index
        for index, action in enumerate(ordered)
        if (kinds[action.service] in DATA_KINDS and action.action == "replace")
        or (action.service in workers and action.action == "scale" and action.service in fewer)
    ]
    if drained and alive and not replaced:
        # On the way back not before what sends tasks of the newer release has gone.
        place = len(ordered) if back else max(data, default=-1) + 1
        ordered.insert(place, Action(workers[0], "resume", "a run that drained it did not go on", "consumes nothing", "consumes"))
        return ordered
    if (replaced or data) and any(drained is None or item.started > drained for item in alive):
        own = [index for index, action in enumerate(ordered) if action in replaced or (not back and kinds[action.service] == "http")]
        if back:
            # Compose replaces with beat what beat depends on, and that may be a worker.
            own += [index for index, action in enumerate(ordered) if kinds[action.service] == "celery_beat"]
        what = "it" if replaced else ordered[data[-1]].service
        does = "has fewer containers" if what in workers else "is replaced"
        drain = Action(workers[0], "drain", f"tasks in work end before {what} {does}", "consumes", "consumes nothing")
        if not replaced:
            ordered.insert(data[-1] + 1, Action(workers[0], "resume", f"{what} is as wanted", "consumes nothing", "consumes"))
        ordered.insert(min([*data, *(own if replaced else [])]), drain)
    return ordered


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


def _reload(proxy: WantedService, mine: Sequence[Running], wanted: Sequence[WantedService], running: Sequence[Running]) -> Action | None:
    """Return the reload that a proxy needs though nothing behind it moves now: an earlier run was cut, or a file changed."""
    upstreams = {service.name for service in wanted if service.kind in UPSTREAM_KINDS}
    loaded = min(container.loaded for container in mine)
    # ps(1) counts whole seconds: an upstream that started in the same second as the proxy counts as older.
    names = sorted({item.service for item in running if item.service in upstreams and item.started > loaded + timedelta(seconds=1)})
    if names:
        reason = f"it resolved {', '.join(names)} before that was replaced"
        return Action(proxy.name, "reload", reason, "old addresses", "present addresses")
    if proxy.files_changed and proxy.files_changed > loaded + timedelta(seconds=1):
        return Action(proxy.name, "reload", "it read its files before they changed (a new certificate)", "old files", "present files")
    return None
