# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One probe for each kind of service, on the real protocol, from where the application stands."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import celery, http_probe
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check, judge, on_topic
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container, read_processes
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.stack import StackService


@dataclass(frozen=True)
class ProbeContext:
    """What a probe may need besides its service.

    :ivar environment: the values of the ``.env`` file.
    :ivar domain: the public name; Host and SNI of the probe through the proxy.
    """

    runner: Runner
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    domain: str
    celery_app: str
    timeout: float


Probe = Callable[[StackService, list[Container], ProbeContext], list[Check]]


def probe_service(service: StackService, containers: list[Container], context: ProbeContext) -> list[Check]:
    """Run the probe of the service's kind on its running containers; whatever goes wrong becomes a failed check."""
    probe = PROBES.get(service.kind)
    if probe is None:
        return []
    started = time.monotonic()
    try:
        return on_topic(probe(service, containers, context), service.kind)
    except Exception as error:  # drivers raise many kinds; each is the finding itself
        found = error.message() if isinstance(error, Problem) else " ".join(str(error).split()) or type(error).__name__
        return [
            judge(
                f"{service.name}: {service.kind}",
                False,
                "an answer",
                redact(found, context.secrets),
                f"Read the log: docker compose logs {service.name}.",
                time.monotonic() - started,
                topic=service.kind,
            )
        ]


def _postgres(service: StackService, containers: list[Container], context: ProbeContext) -> list[Check]:
    import psycopg2

    container = containers[0]
    started = time.monotonic()
    # By the container's network address: on 127.0.0.1 the image trusts everybody, so the password would prove nothing.
    connection = psycopg2.connect(
        host=container.address,
        port=service.port or 5432,
        user=container.environment.get("POSTGRES_USER", "postgres"),
        password=container.environment.get("POSTGRES_PASSWORD", ""),
        dbname=container.environment.get("POSTGRES_DB") or container.environment.get("POSTGRES_USER", "postgres"),
        connect_timeout=max(2, int(context.timeout)),
        options=f"-c statement_timeout={int(context.timeout * 1000)}",
    )
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'),"
                " current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity)"
            )
            recovery, read_only, left = cursor.fetchone() or (True, "on", 0)
    finally:
        connection.close()
    seconds = time.monotonic() - started
    writable = not recovery and read_only == "off"
    return [
        judge(
            f"{service.name}: login and writable",
            writable,
            "login with the application's password, writable, not in recovery",
            f"login, {'writable' if writable else 'read-only'}{', in recovery' if recovery else ''}",
            "Look for a standby or default_transaction_read_only in the database's settings.",
            seconds,
        ),
        judge(
            f"{service.name}: connections left",
            left >= 5,
            "at least 5",
            str(left),
            "Look at pg_stat_activity for sessions that do not end, or raise max_connections.",
            seconds,
        ),
    ]


def _redis(service: StackService, containers: list[Container], context: ProbeContext) -> list[Check]:
    import redis

    container = containers[0]
    started = time.monotonic()
    client = redis.Redis(
        host=container.address,
        port=service.port or 6379,
        password=context.environment.get("REDIS_PASSWORD") or None,
        socket_timeout=context.timeout,
        socket_connect_timeout=context.timeout,
    )
    # PING still answers PONG when Redis refuses writes: only a value that came back is evidence.
    key, token = f"residency.scheduler:probe:{uuid.uuid4().hex}", uuid.uuid4().hex
    try:
        client.set(key, token, ex=60)
        value = client.get(key)
        client.delete(key)
        info = client.info()
    finally:
        client.close()
    written = judge(
        f"{service.name}: write and read",
        value == token.encode(),
        "the value that was written",
        "the value that was written" if value == token.encode() else repr(value)[:80],
        f"Read the log: docker compose logs {service.name}.",
        time.monotonic() - started,
    )
    return [written, *judge_redis(service.name, info)]


def judge_redis(name: str, info: Mapping[str, Any]) -> list[Check]:
    """Judge what Redis says of its memory and its files (``INFO``). Pure.

    A broker that evicts loses tasks; the policy alone does no harm until the memory is full.
    """
    policy, limit, used = str(info.get("maxmemory_policy", "noeviction")), int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    evicted = int(info.get("evicted_keys", 0))
    share = used / limit if limit else 0.0
    memory = f"{policy}, {share:.0%} of {limit // 2**20} MB used" if limit else f"{policy}, no limit"
    saves = {
        "aof_last_write_status": bool(info.get("aof_enabled")),
        "aof_last_bgrewrite_status": bool(info.get("aof_enabled")),
        "rdb_last_bgsave_status": True,
    }
    broken = [key for key, used_here in saves.items() if used_here and str(info.get(key, "ok")) != "ok"]
    return [
        judge(
            f"{name}: memory",
            not evicted and share < 0.9,
            "nothing evicted, below 90 %",
            f"{memory}, {evicted} keys evicted",
            "Tasks may be lost: raise maxmemory, and set maxmemory-policy noeviction for a broker.",
        ),
        judge(
            f"{name}: persistence",
            not broken,
            "the last writes to disk succeeded",
            ", ".join(broken) + ": err" if broken else "AOF" if info.get("aof_enabled") else "RDB",
            f"Look at the disk (df -h) and the log: docker compose logs {name}.",
        ),
    ]


def _http(service: StackService, containers: list[Container], context: ProbeContext) -> list[Check]:
    checks: list[Check] = []
    for container in containers:
        endpoint = http_probe.Endpoint(
            name=container.name,
            url=f"http://{container.address}:{service.port or 80}{service.path}",
            # 429 is an answer of a service that is up and guards itself.
            status=(200, 204, 301, 302, 303, 307, 308, 401, 403, 429),
            timeout=context.timeout,
            topic=service.kind,
        )
        checks += http_probe.probe(endpoint)[0]
    return checks


def _proxy(service: StackService, containers: list[Container], context: ProbeContext) -> list[Check]:
    published = {entry.container_port: entry for entry in containers[0].published}
    port = service.port or (443 if 443 in published else 80)
    if port not in published:
        return [
            judge(
                f"{service.name}: public port",
                False,
                f"port {port} of the container published on the host",
                f"published: {', '.join(str(number) for number in sorted(published)) or 'none'}",
                f"Publish the port in the compose file, or set port in scheduler_services for {service.name}.",
            )
        ]
    scheme = "https" if port == 443 else "http"
    endpoint = http_probe.Endpoint(
        name=service.name,
        url=f"{scheme}://{context.domain}{service.path}",
        status=(200, 204, 301, 302, 303, 307, 308, 401, 403, 429),
        timeout=context.timeout,
        connect_to=f"{_reachable(published[port].address)}:{published[port].port}",
        # Startup asks whether the proxy reaches the services; the certificate has checks of its own in verification.
        validate_certs=False,
        topic=service.kind,
    )
    return http_probe.probe(endpoint)[0]


def _reachable(address: str) -> str:
    """Return where this host reaches what is published on *address*."""
    return {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(address, f"[{address}]" if ":" in address else address)


def _celery_worker(service: StackService, containers: list[Container], context: ProbeContext) -> list[Check]:
    started = time.monotonic()
    answer = celery.ask(containers, context.celery_app, "nodes", context.runner, context.secrets, timeout=context.timeout)
    nodes = list(answer["nodes"])
    count = celery.answering(containers, nodes)
    return [
        judge(
            f"{service.name}: workers that answer",
            count == len(containers),
            f"{len(containers)} (one for each running container)",
            f"{count} of {', '.join(nodes) or 'none'}",
            f"Read the log: docker compose logs {service.name}.",
            time.monotonic() - started,
        )
    ]


def _celery_beat(service: StackService, containers: list[Container], context: ProbeContext) -> list[Check]:
    started = time.monotonic()
    processes = [process for container in containers for process in read_processes(container.name, context.runner)]
    return [celery.judge_beat_processes(service.name, celery.beats_among(processes), time.monotonic() - started)]


PROBES: Mapping[str, Probe] = {
    "postgres": _postgres,
    "redis": _redis,
    "http": _http,
    "proxy": _proxy,
    "celery_worker": _celery_worker,
    "celery_beat": _celery_beat,
}
