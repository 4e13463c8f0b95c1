# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The security review: every observation side by side, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import security_host, security_secrets, security_web
from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, redact
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text
from ansible_collections.residency.scheduler.plugins.module_utils.health import Clock
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.security import Observation, assess, parse_policy, unmade
from ansible_collections.residency.scheduler.plugins.module_utils.security_host import Seen
from ansible_collections.residency.scheduler.plugins.module_utils.stack import parse_services

#: The argument spec of the module, beside project and services; documented there.
ARGUMENTS: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "connect_to": {"type": "str"},
    "plain_connect_to": {"type": "str", "default": ""},
    "validate_certs": {"type": "bool", "default": True},
    "ca_file": {"type": "path"},
    "timeout": {"type": "float", "default": 10},
    "answers": {
        "type": "list",
        "elements": "dict",
        "options": security_web.ANSWERS_SPEC,
        "default": [
            {"name": "page", "path": "/"},
            {"name": "API", "path": "/health"},
            {"name": "not found", "path": "/api/no-such-path"},
            {"name": "wrong method", "path": "/health", "method": "POST"},
        ],
    },
    "hidden_paths": {"type": "list", "elements": "str", "default": ["/.env", "/.git/HEAD", "/.git/config", "/.htpasswd"]},
    "protected_paths": {"type": "list", "elements": "str", "default": []},
    "origin_path": {"type": "str", "default": "/health"},
    "rate_limit": {
        "type": "dict",
        "options": {
            "path": {"type": "str", "required": True},
            "method": {"type": "str", "choices": ["GET", "POST"], "default": "GET"},
            "requests": {"type": "int", "default": 40},
        },
    },
    "docker_socket": {"type": "path", "default": security_host.SOCKET},
    # Names of secrets, not secrets.
    "secret_services": {"type": "dict", "default": {}, "no_log": False},
    "private_files": {"type": "list", "elements": "path", "default": []},
    "backup_dirs": {"type": "list", "elements": "path", "default": []},
    "debug_names": {"type": "list", "elements": "str", "default": ["DEBUG", "APP_DEBUG", "FASTAPI_DEBUG", "FLASK_DEBUG"]},
    "fail_at": {"type": "str", "choices": ["critical", "high", "medium", "low", "never"], "default": "critical"},
    "severities": {"type": "dict", "default": {}},
    "thresholds": {"type": "dict", "default": {}},
    "waivers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "check": {"type": "str", "required": True},
            "reason": {"type": "str", "required": True},
            "until": {"type": "str", "required": True},
        },
    },
}
#: The rules that each part looks at; where the part breaks, none of them could be checked.
_RULES_OF = {
    "headers": ("headers.hsts", "headers.csp", "headers.nosniff", "headers.framing", "headers.referrer", "headers.permissions"),
    "redirect": ("headers.https",),
    "hidden": ("headers.hidden_files",),
    "protected": ("headers.protected",),
    "origins": ("headers.cors_credentials", "headers.cors"),
    "host": ("headers.host",),
    "rate_limit": ("headers.rate_limit",),
    "tls": ("tls.name", "tls.expired", "tls.old_protocol"),
    "network": ("network.published", "network.socket_mode", "network.socket_mounted"),
    "firewall": ("network.firewall",),
    "containers": ("containers.privileged", "containers.root"),
    "daemon": ("containers.live_restore",),
    "files": ("secrets.env_mode",),
    "git": ("secrets.git", "secrets.env_tracked"),
    "images": ("secrets.image",),
    "placement": ("secrets.container", "secrets.command_line"),
    "strength": ("secrets.strength",),
    "settings": ("settings.debug",),
}


class Review:
    """One review, with all that it needs."""

    def __init__(self, parameters: Mapping[str, Any], runner: Runner, clock: Clock, today: date) -> None:
        """Read the parameters; a wrong one is a Problem before anything is asked."""
        self._parameters = parameters
        self._runner = runner
        self._clock = clock
        self._policy = parse_policy(parameters, today)
        self._project = Project.from_parameters(parameters["project"])
        self._proxies = [service.name for service in parse_services(parameters["services"]) if service.kind == "proxy"]
        text = read_text(self._project.env_file)
        self._secrets = security_secrets.named(text)
        self._blotted = self._project.secrets()
        self._wanted = security_secrets.needles(self._secrets, self._policy.thresholds["secret_length"])
        self._site = security_web.Site(
            url=parameters["url"],
            connect_to=parameters["connect_to"],
            plain_connect_to=parameters["plain_connect_to"],
            trusted=parameters["validate_certs"],
            ca_file=parameters["ca_file"],
            timeout=parameters["timeout"],
        )

    def run(self) -> dict[str, Any]:
        """Make all checks and return what came of them."""
        seconds: dict[str, float] = {}
        parts = self._parts()
        with ThreadPoolExecutor(max_workers=len(parts)) as pool:
            running = [pool.submit(self._timed, name, part, seconds) for name, part in parts.items()]
            observations = [item for future in running for item in future.result()]
        limits = self._parameters["rate_limit"] or {"requests": 0}
        result = assess(observations, self._policy, self._blotted, {"rate_limit_requests": limits["requests"]})
        # A line of the report, so that it can be compared with that of a month ago.
        told = ", ".join(f"{area} {value} %" for area, value in result["score"].items())
        score = Check("security score", "pass", "no less than last time", told, topic="security_score")
        return {"changed": False, **result, "checks": [*result["checks"], score.to_dict()], "parts": seconds}

    def _parts(self) -> dict[str, Callable[[], list[Observation]]]:
        given, site, limits, runner = self._parameters, self._site, self._policy.thresholds, self._runner
        parts: dict[str, Callable[[], list[Observation]]] = {
            "headers": lambda: security_web.observe_headers(site, given["answers"], limits),
            "hidden": lambda: security_web.observe_hidden(site, given["hidden_paths"]),
            "protected": lambda: security_web.observe_protected(site, given["protected_paths"]),
            "origins": lambda: security_web.observe_origins(site, given["origin_path"]),
            "host": lambda: security_web.observe_host(site),
            "containers": self._look_at_containers,
            "daemon": lambda: security_host.observe_daemon(runner),
            "firewall": lambda: [security_host.observe_firewall(runner)],
            "files": lambda: security_secrets.observe_files(self._project.env_file, given["private_files"], given["backup_dirs"]),
            "git": lambda: security_secrets.observe_git(self._project.directory, self._project.env_file, self._wanted, limits, runner),
            "strength": lambda: security_secrets.observe_strength(self._secrets, given["secret_services"]),
        }
        if given["plain_connect_to"]:
            parts["redirect"] = lambda: security_web.observe_redirect(site)
        if given["rate_limit"]:
            # At the same time, since it has to wait a while: the others are patient where they share its limit.
            parts["rate_limit"] = self._rate_limit
        if given["url"].startswith("https:"):
            parts["tls"] = lambda: security_web.observe_tls(site, limits)
        return parts

    def _look_at_containers(self) -> list[Observation]:
        try:
            containers = security_host.read(self._runner)
        except Problem as problem:
            rules = (rule for part in ("network", "containers", "images", "placement", "settings") for rule in _RULES_OF[part])
            return [unmade(rule, redact(problem.message(), self._blotted)) for rule in rules]
        services = security_host.of_project(containers, self._project.name)
        return [
            *security_host.observe_network(containers, self._project.name, self._proxies, self._parameters["docker_socket"]),
            *security_host.observe_containers(services, self._policy.thresholds["capabilities_allowed"]),
            *self._look_for_secrets(services),
        ]

    def _look_for_secrets(self, services: list[Seen]) -> list[Observation]:
        return [
            *security_secrets.observe_images(services, self._wanted, self._runner),
            *security_secrets.observe_placement(services, self._wanted, self._parameters["secret_services"]),
            *security_secrets.observe_settings(self._project.environment(), services, self._parameters["debug_names"], self._site.host),
        ]

    def _rate_limit(self) -> list[Observation]:
        return security_web.observe_rate_limit(self._site, self._parameters["rate_limit"], self._policy.thresholds["rate_limit_recovers"])

    def _timed(self, name: str, part: Callable[[], list[Observation]], seconds: dict[str, float]) -> list[Observation]:
        started = self._clock.now()
        try:
            return part()
        except Exception as error:  # a part that breaks is a check that could not be made
            found = error.message() if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
            return [unmade(rule, redact(found, self._blotted)) for rule in _RULES_OF[name]]
        finally:
            seconds[name] = round(self._clock.now() - started, 3)
