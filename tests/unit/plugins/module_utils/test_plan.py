# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done to the running stack."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.containers import Container
from ansible_collections.residency.scheduler.plugins.module_utils.plan import Running, WantedService, decide

NOON = datetime(2025, 12, 22, 12, tzinfo=UTC)
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
BACKEND = WantedService("backend", "http", 1, "app:v1", NEW, "hash")
NGINX = WantedService("nginx", "proxy", 1, "nginx:1", NEW, "hash")
DB = WantedService("db", "postgres", 1, "postgres:15", NEW, "hash")
IS_BACKEND = Running("backend", "running", NEW, "hash", NOON, NOON)
IS_NGINX = Running("nginx", "running", NEW, "hash", NOON, NOON)
IS_DB = Running("db", "running", NEW, "hash", NOON, NOON)
LATER = NOON + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("files_changed", "actions"),
    [
        (None, []),
        (NOON, []),
        (NOON + timedelta(seconds=1), []),
        (LATER, ["nginx reload: it read its files before they changed (a new certificate)"]),
    ],
)
def test_a_new_certificate_is_read(files_changed: datetime | None, actions: list[str]) -> None:
    decided = decide([DB, BACKEND, replace(NGINX, files_changed=files_changed)], [IS_NGINX, IS_BACKEND, IS_DB])
    assert [f"{action.service} {action.action}: {action.reason}" for action in decided] == actions


@pytest.mark.parametrize(
    ("wanted", "running", "actions"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([DB, BACKEND, NGINX], [IS_NGINX, IS_BACKEND, IS_DB], [], id="all as wanted"),
        pytest.param([replace(BACKEND, replicas=0)], [], [], id="none wanted, none there"),
        pytest.param([BACKEND], [], ["backend create: it does not exist"], id="absent"),
        pytest.param(
            [BACKEND],
            [replace(IS_BACKEND, image_id=OLD)],
            ["backend replace: image aaaaaaaaaaaa runs, bbbbbbbbbbbb is wanted"],
            id="old image",
        ),
        pytest.param(
            [replace(BACKEND, image_id=None)],
            [IS_BACKEND],
            ["backend replace: image bbbbbbbbbbbb runs, an image still to be built is wanted"],
            id="image not built yet",
        ),
        pytest.param(
            [replace(BACKEND, replicas=2)],
            [IS_BACKEND, replace(IS_BACKEND, image_id=OLD)],
            ["backend replace: image aaaaaaaaaaaa runs, bbbbbbbbbbbb is wanted"],
            id="one of two has the old image",
        ),
        pytest.param([BACKEND], [replace(IS_BACKEND, config_hash="x")], ["backend replace: its configuration changed"], id="configuration"),
        pytest.param([BACKEND], [replace(IS_BACKEND, state="exited")], ["backend start: 1 of its containers exited"], id="stopped"),
        pytest.param([replace(BACKEND, replicas=2)], [IS_BACKEND], ["backend scale: 1 run, 2 are wanted"], id="too few"),
        pytest.param([BACKEND], [IS_BACKEND, IS_BACKEND], ["backend scale: 2 run, 1 are wanted"], id="too many"),
        pytest.param([replace(BACKEND, replicas=0)], [IS_BACKEND], ["backend scale: 1 run, 0 are wanted"], id="to none"),
        pytest.param(
            [BACKEND],
            [IS_BACKEND, replace(IS_BACKEND, service="zoo"), replace(IS_BACKEND, service="old")],
            ["old remove: it is no service of this release", "zoo remove: it is no service of this release"],
            id="orphans",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [replace(IS_BACKEND, image_id=OLD), IS_NGINX],
            [
                "backend replace: image aaaaaaaaaaaa runs, bbbbbbbbbbbb is wanted",
                "nginx reload: it resolved backend before that was replaced",
            ],
            id="the proxy follows its upstream",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [replace(IS_BACKEND, started=LATER), IS_NGINX],
            ["nginx reload: it resolved backend before that was replaced"],
            id="a cut run is finished",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [replace(IS_BACKEND, started=LATER), replace(IS_NGINX, loaded=LATER)],
            [],
            id="the proxy was reloaded since",
        ),
        pytest.param([BACKEND, NGINX], [replace(IS_BACKEND, started=NOON + timedelta(seconds=1)), IS_NGINX], [], id="the same second"),
        pytest.param([DB, NGINX], [replace(IS_DB, started=LATER), IS_NGINX], [], id="a database is no upstream"),
        pytest.param(
            [BACKEND, NGINX],
            [replace(IS_BACKEND, started=LATER), replace(IS_NGINX, config_hash="x")],
            ["nginx replace: its configuration changed"],
            id="a proxy that is replaced need not be reloaded",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [replace(IS_BACKEND, image_id=OLD), replace(IS_NGINX, state="restarting")],
            [
                "backend replace: image aaaaaaaaaaaa runs, bbbbbbbbbbbb is wanted",
                "nginx start: 1 of its containers restarting",
                "nginx reload: it resolved backend before that was replaced",
            ],
            id="Docker may start the proxy while the service behind it is being replaced",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [replace(IS_BACKEND, image_id=OLD), replace(IS_NGINX, state="exited")],
            ["backend replace: image aaaaaaaaaaaa runs, bbbbbbbbbbbb is wanted", "nginx start: 1 of its containers exited"],
            id="a proxy that is down starts when it is told to",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [IS_BACKEND, replace(IS_NGINX, state="restarting")],
            ["nginx start: 1 of its containers restarting"],
            id="nothing behind the proxy moves",
        ),
    ],
)
def test_decide(wanted: list[WantedService], running: list[Running], actions: list[str]) -> None:
    assert [f"{action.service} {action.action}: {action.reason}" for action in decide(wanted, running)] == actions


@pytest.mark.parametrize(
    ("others", "then"),
    [
        pytest.param(
            [replace(IS_BACKEND, image_id=OLD)], "backend replace: image aaaaaaaaaaaa runs, bbbbbbbbbbbb is wanted", id="the old one runs"
        ),
        pytest.param([], "backend create: it does not exist", id="the old one is gone"),
    ],
)
def test_what_a_cut_run_left_half_made_goes_first(others: list[Running], then: str) -> None:
    left = replace(IS_BACKEND, state="created", half_made="0123456789ab_app-backend-1")
    sweep, *actions = decide([BACKEND], [*others, left])
    assert sweep.to_dict() == {
        "service": "backend",
        "action": "sweep",
        "reason": "a run that was cut left 0123456789ab_app-backend-1",
        "container": "0123456789ab_app-backend-1",
        "prove": [],
    }
    assert [f"{action.service} {action.action}: {action.reason}" for action in actions] == [then]


def test_an_absent_proxy_is_created_only() -> None:
    assert [action.action for action in decide([NGINX], [])] == ["create"]


def test_a_proxy_that_nobody_wants_is_left_alone() -> None:
    wanted = [BACKEND, replace(NGINX, replicas=0)]
    assert [action.service for action in decide(wanted, [replace(IS_BACKEND, image_id=OLD)])] == ["backend"]


def test_the_result_shows_what_a_role_needs() -> None:
    (action,) = decide([BACKEND], [])
    assert action.to_dict() == {"service": "backend", "action": "create", "reason": "it does not exist", "prove": ["backend"]}
    assert (action.before, action.after) == ("absent", "1 x app:v1")


@pytest.mark.parametrize(("age", "loaded"), [(None, NOON), (60.0, LATER - timedelta(seconds=60))])
def test_running_from_container(age: float | None, loaded: datetime) -> None:
    container = Container(
        name="nginx-1",
        service="nginx",
        image_id=NEW,
        state="running",
        health="none",
        restarts=0,
        exit_code=0,
        oom_killed=False,
        started=NOON,
        address="",
        config_hash="hash",
        environment={},
        command=(),
        published=(),
        health_deadline=0.0,
    )
    running = Running.from_container(container, oldest_worker_age=age, now=lambda: LATER)
    assert running == Running("nginx", "running", NEW, "hash", NOON, loaded)


WORKER = WantedService("worker", "celery_worker", 2, "app:v1", NEW, "hash")
BEAT = WantedService("beat", "celery_beat", 1, "app:v1", NEW, "hash")
FRONTEND = WantedService("frontend", "http", 1, "web:v1", NEW, "hash")
STACK = [DB, BACKEND, WORKER, BEAT, FRONTEND, NGINX]
OF_NOW = [IS_DB, IS_NGINX, IS_BACKEND, *[replace(IS_BACKEND, service=name) for name in ("worker", "worker", "beat", "frontend")]]
OF_BEFORE = [item if item.service in ("db", "nginx") else replace(item, image_id=OLD) for item in OF_NOW]


@pytest.mark.parametrize(
    ("running", "back", "drained", "actions"),
    [
        pytest.param(
            OF_BEFORE,
            False,
            None,
            "worker drain, backend replace, nginx reload, worker replace, beat replace, frontend replace, nginx reload",
            id="forward: an old worker gets no new tasks",
        ),
        pytest.param(
            OF_BEFORE,
            True,
            None,
            "backend replace, nginx reload, worker drain, beat replace, worker replace, frontend replace, nginx reload",
            id="back: new tasks are finished by the new workers",
        ),
        pytest.param(
            OF_BEFORE,
            False,
            LATER,
            "backend replace, nginx reload, worker replace, beat replace, frontend replace, nginx reload",
            id="drained already, since the migration",
        ),
        pytest.param(
            OF_BEFORE,
            False,
            NOON - timedelta(seconds=1),
            "worker drain, backend replace, nginx reload, worker replace, beat replace, frontend replace, nginx reload",
            id="drained before a reboot: they consume again",
        ),
        pytest.param(OF_NOW, False, LATER, "worker resume", id="a run was cut after it drained the workers"),
        pytest.param(
            [replace(item, image_id=OLD) if item.service == "backend" else item for item in OF_NOW],
            True,
            LATER,
            "backend replace, nginx reload, worker resume",
            id="back, after a run that was cut: the workers go on last",
        ),
        pytest.param(
            OF_NOW[:2],
            False,
            LATER,
            "backend create, worker create, beat create, frontend create, nginx reload",
            id="no worker is there to be resumed",
        ),
        pytest.param(
            [*OF_NOW, replace(IS_BACKEND, service="worker")],
            False,
            None,
            "worker drain, worker scale, worker resume",
            id="fewer workers",
        ),
        pytest.param(OF_NOW[:4] + OF_NOW[5:], False, None, "worker scale", id="more workers"),
        pytest.param(
            [replace(item, image_id=OLD) if item.service == "db" else item for item in OF_NOW],
            False,
            None,
            "worker drain, db replace, worker resume",
            id="no task runs while the database is replaced",
        ),
        pytest.param(
            [replace(item, image_id=OLD) if item.service == "db" else item for item in OF_NOW],
            False,
            LATER,
            "db replace, worker resume",
            id="drained already, before the database was broken",
        ),
        pytest.param(
            [replace(item, image_id=OLD) if item.service != "nginx" else item for item in OF_NOW],
            True,
            None,
            "worker drain, db replace, backend replace, nginx reload, beat replace, worker replace, frontend replace, nginx reload",
            id="back, with the database",
        ),
        pytest.param(OF_NOW, True, None, "", id="nothing"),
    ],
)
def test_the_order_loses_no_task(running: list[Running], back: bool, drained: datetime | None, actions: str) -> None:
    decided = decide(STACK, running, back=back, drained=drained)
    assert ", ".join(f"{action.service} {action.action}" for action in decided) == actions


def test_a_service_is_proven_as_soon_as_the_proxy_knows_its_address() -> None:
    proven = [(action.service, action.action, action.prove) for action in decide(STACK, OF_BEFORE)]
    assert proven == [
        ("worker", "drain", ()),
        ("backend", "replace", ()),
        ("nginx", "reload", ("backend", "nginx")),
        ("worker", "replace", ("worker",)),
        ("beat", "replace", ("beat",)),
        ("frontend", "replace", ()),
        ("nginx", "reload", ("frontend", "nginx")),
    ]


def test_what_nobody_listed_has_no_proof() -> None:
    extra = WantedService("extra", "container", 1, "tool:1", NEW, "hash")
    assert [(action.service, action.prove) for action in decide([DB, extra], [])] == [("db", ("db",)), ("extra", ())]


STAND_IN = replace(IS_BACKEND, stand_in="stack-backend-stand-in")
OLD_BACKEND = replace(IS_BACKEND, image_id=OLD)


@pytest.mark.parametrize(
    ("wanted", "running", "actions"),
    [
        pytest.param(
            [BACKEND, NGINX],
            [OLD_BACKEND, IS_NGINX],
            "backend stand_in, nginx reload, backend replace backend, nginx reload nginx, "
            "backend retire, nginx reload nginx, backend sweep",
            id="a release is replaced",
        ),
        pytest.param([BACKEND], [OLD_BACKEND], "backend replace backend", id="without a proxy nobody would ask it"),
        pytest.param(
            [BACKEND, NGINX],
            [OLD_BACKEND, replace(IS_NGINX, config_hash="x")],
            "backend replace backend, nginx replace nginx",
            id="the proxy is replaced itself",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [replace(OLD_BACKEND, state="exited"), IS_NGINX],
            "backend replace, nginx reload backend+nginx",
            id="nothing answers that could go on",
        ),
        pytest.param(
            [BACKEND, FRONTEND, NGINX],
            [OLD_BACKEND, IS_NGINX],
            "backend replace backend, frontend create, nginx reload frontend+nginx",
            id="the proxy could not be reloaded",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [OLD_BACKEND, STAND_IN, IS_NGINX],
            "backend retire, nginx reload, backend sweep, backend stand_in, nginx reload, backend replace backend, nginx reload nginx, "
            "backend retire, nginx reload nginx, backend sweep",
            id="a run was cut before the replacement: nobody knows whether it would answer",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [STAND_IN, IS_NGINX],
            "backend create backend, nginx reload nginx, backend retire, nginx reload nginx, backend sweep",
            id="a run was cut in the replacement: it is all that answers",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [IS_BACKEND, STAND_IN, IS_NGINX],
            "backend retire, nginx reload, backend sweep",
            id="a run was cut after the replacement",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [IS_BACKEND, replace(STAND_IN, image_id=OLD), IS_NGINX],
            "backend retire, nginx reload, backend sweep",
            id="of a release that failed",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [IS_BACKEND, replace(STAND_IN, state="exited"), IS_NGINX],
            "backend retire, nginx reload, backend sweep",
            id="a run was cut before the proxy had forgotten it",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [OLD_BACKEND, replace(STAND_IN, state="exited"), IS_NGINX],
            "backend retire, nginx reload, backend sweep, backend stand_in, nginx reload, backend replace backend, nginx reload nginx, "
            "backend retire, nginx reload nginx, backend sweep",
            id="one that has ended",
        ),
        pytest.param(
            [BACKEND, NGINX],
            [replace(STAND_IN, image_id=OLD), IS_NGINX],
            "backend retire, backend sweep, backend create, nginx reload backend+nginx",
            id="of a release that failed, when all else had gone",
        ),
    ],
)
def test_something_answers_all_the_while(wanted: list[WantedService], running: list[Running], actions: str) -> None:
    decided = decide(wanted, running, stand_in=lambda service: f"stack-{service}-stand-in")
    assert ", ".join(f"{action.service} {action.action} {'+'.join(action.prove)}".strip() for action in decided) == actions
    named = {action.container for action in decided if action.action in ("stand_in", "retire", "sweep")}
    assert named <= {"stack-backend-stand-in"}
