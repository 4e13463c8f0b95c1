# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the stack-wide variables ``scheduler_*``: one function for each, from a raw value to findings."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import acme, dotenv
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, blank, kind, show
from ansible_collections.residency.scheduler.plugins.module_utils.git_refs import check_repository, check_version
from ansible_collections.residency.scheduler.plugins.module_utils.stack import KINDS, SERVICES_SPEC

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*(?![0-9]+$){_LABEL}", re.IGNORECASE)
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_PATH = re.compile(r"[A-Za-z0-9._/@+~-]+")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?::[A-Za-z_]\w*)?", re.ASCII)
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ORIGIN = re.compile(rf"https?://(?:{_LABEL}\.)*{_LABEL}(?::[0-9]{{1,5}})?", re.IGNORECASE)
#: Settings that sound like a secret ("ACCESS_TOKEN_EXPIRE_MINUTES") and are none.
_HARMLESS = re.compile(r"_(?:SECONDS|MINUTES|HOURS|DAYS|LENGTH|ALGORITHM|ENABLED)$", re.IGNORECASE)
_SYSTEM_FOLDERS = frozenset(
    f"/{name}" for name in ("bin", "boot", "dev", "etc", "home", "lib", "lib64", "mnt", "opt", "proc", "root", "run", "sbin", "srv")
) | {"/sys", "/tmp", "/usr", "/usr/local", "/var", "/var/lib"}
#: Folders that must outlive a checkout.
_OUTSIDE_HOME = ("scheduler_state_dir", "scheduler_data_dir", "scheduler_backup_dir", "scheduler_tls_dir")


def check_variables(values: Mapping[str, Any], secret_names: frozenset[str]) -> list[Finding]:
    """Return what is wrong with the variables, in the order of :data:`RULES`; one that is absent counts as null.

    :arg secret_names: names that belong into ``scheduler_secrets``.
    """
    findings = [finding for name, rule in RULES.items() for finding in rule(name, values.get(name))]
    findings += check_environment("scheduler_env", values.get("scheduler_env"), secret_names)
    if values.get("environment_acme") is not None:
        wrong = "scheduler_domain" in {finding.subject for finding in findings}
        findings += acme.check_settings(values["environment_acme"], "" if wrong else str(values["scheduler_domain"]))
    return findings + _inside_home(values, {finding.subject for finding in findings})


def _text(name: str, value: object, wanted: str, remedy: str) -> list[Finding]:
    """Return the finding for a value that is missing or no text."""
    if blank(value):
        return [Finding(name, "nothing", wanted, remedy)]
    if not isinstance(value, str):
        return [Finding(name, kind(value), f"{wanted}, as a string", remedy)]
    return []


def _matching(pattern: re.Pattern[str], wanted: str, example: str) -> Callable[[str, object], list[Finding]]:
    """Return the rule for a text that has to match *pattern*."""

    def rule(name: str, value: object) -> list[Finding]:
        remedy = f'Set {name}, for example "{example}".'
        wrong = _text(name, value, wanted, remedy)
        return wrong or ([] if pattern.fullmatch(str(value)) else [Finding(name, show(value), wanted, remedy)])

    return rule


def check_folder(name: str, value: object) -> list[Finding]:
    """Check a folder's path."""
    wanted = "an absolute path"
    remedy = f'Set {name}, for example "/srv/residency-scheduler/{name.removeprefix("scheduler_").removesuffix("_dir")}".'
    wrong = _text(name, value, wanted, remedy)
    if wrong:
        return wrong
    path = str(value)
    if not path.startswith("/"):
        return [Finding(name, f"{show(path)}, a relative path", wanted, remedy)]
    if ".." in path.split("/"):
        return [Finding(name, show(path), "an absolute path without ..", remedy)]
    if not _PATH.fullmatch(path):
        return [Finding(name, show(path), "a path of letters, digits and . _ - + ~ @ / only (no blanks)", remedy)]
    if _normal(path) == "/" or _normal(path) in _SYSTEM_FOLDERS:
        return [Finding(name, f"{show(path)}, which is the system's", "a folder of its own", remedy)]
    return []


def check_compose_files(name: str, value: object) -> list[Finding]:
    """Check the list of compose files."""
    wanted = "a list of file names inside scheduler_home"
    remedy = f"Set {name}, for example [docker-compose.yml, docker-compose.prod.yml]."
    if blank(value):
        return [Finding(name, "nothing", wanted, remedy)]
    if not isinstance(value, list):
        return [Finding(name, kind(value), wanted, remedy)]
    for entry in value:
        if not isinstance(entry, str) or not _PATH.fullmatch(entry) or entry.startswith("-") or ".." in entry.split("/"):
            return [Finding(name, f"the entry {show(entry)}", wanted, remedy)]
    twice = sorted({entry for entry in value if value.count(entry) > 1})
    return [Finding(name, f"{show(twice[0])} twice", "each file once", f"Take one of them out of {name}.")] if twice else []


def check_retention(name: str, value: object) -> list[Finding]:
    """Check the number of days that backups are kept."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return []
    found = "nothing" if blank(value) else show(value)
    return [Finding(name, found, "a whole number of days, 1 or more", f"Set {name}: 30 (a number, without quotes and unit).")]


def check_services(name: str, value: object) -> list[Finding]:
    """Check the ordered stack of services."""
    remedy = f"Set {name}, for example [{{name: db, kind: postgres}}, {{name: backend, kind: http, port: 8000, path: /health}}]."
    wanted = "a list of services with name and kind"
    if blank(value):
        return [Finding(name, "nothing", wanted, remedy)]
    if not isinstance(value, list):
        return [Finding(name, kind(value), wanted, remedy)]
    findings = []
    for position, service in enumerate(value, 1):
        fault = _service_fault(service)
        if fault:
            named = isinstance(service, dict) and isinstance(service.get("name"), str) and service["name"]
            label = show(service["name"]) if named else f"entry {position}"
            findings.append(Finding(name, f"{label}: {fault[0]}", fault[1], f"Correct this service of {name}."))
    names = [service["name"] for service in value if isinstance(service, dict) and isinstance(service.get("name"), str)]
    twice = sorted({service for service in names if names.count(service) > 1})
    return findings + [
        Finding(name, f"{show(service)} twice", "each service once", f"Take one of them out of {name}.") for service in twice
    ]


def _service_fault(service: object) -> tuple[str, str] | None:
    """Return what was found and what is wanted instead, or None for a good service."""
    known = SERVICES_SPEC["options"]
    if not isinstance(service, dict):
        return kind(service), "a mapping with name and kind"
    unknown = sorted(str(option) for option in service if option not in known)
    if unknown:
        return f"the unknown option {show(unknown[0])}", f"one of {', '.join(known)}"
    if not isinstance(service.get("name"), str) or not _SERVICE.fullmatch(service["name"]):
        return f"the name {show(service.get('name'))}", "the service's name in the compose files"
    wanted_kind = service.get("kind")
    if wanted_kind not in KINDS:
        return f"the kind {show(wanted_kind)}" if wanted_kind else "no kind", f"one of {', '.join(KINDS)}"
    port = service.get("port")
    if (port is not None or wanted_kind == "http") and not (isinstance(port, int) and not isinstance(port, bool) and 1 <= port <= 65535):
        return f"the port {show(port)}", "a port from 1 to 65535"
    path = service.get("path", "/")
    if not isinstance(path, str) or not re.fullmatch(r"/[\x21-\x7e]*", path):
        return f"the path {show(path)}", "a path that starts with /"
    health = service.get("docker_health")
    if health is not None and health not in known["docker_health"]["choices"]:
        return f"docker_health: {show(health)}", " or ".join(known["docker_health"]["choices"])
    if not isinstance(service.get("optional", False), bool):
        return f"optional: {show(service['optional'])}", "true or false"
    return None


def check_environment(name: str, value: object, secret_names: frozenset[str]) -> list[Finding]:
    """Check the extra values of the ``.env`` file; none at all is fine."""
    if blank(value):
        return []
    if not isinstance(value, dict):
        return [Finding(name, kind(value), "a mapping of names and values", f'Set {name}, for example {{LOG_LEVEL: "info"}}.')]
    findings = []
    for key, setting in value.items():
        finding = _setting_finding(name, key, setting, secret_names)
        if finding:
            findings.append(finding)
    return findings


def _setting_finding(name: str, key: object, value: object, secret_names: frozenset[str]) -> Finding | None:
    if not isinstance(key, str) or not dotenv.NAME.fullmatch(key):
        return Finding(name, f"the name {show(key)}", "letters, digits and _ only, no digit first", "Rename this setting.")
    subject = f"{name}.{key}"
    if key in secret_names or looks_secret(key, value):
        return Finding(subject, "a secret among the plain settings", f"it in scheduler_secrets.{key}", f"Move {key} to scheduler_secrets.")
    # A list or a mapping is written as JSON, in one line.
    fault = dotenv_fault(value) if isinstance(value, str) else ""
    if fault:
        return Finding(subject, fault, "a text without", f"Take it out of {subject}.")
    if key == "DEBUG" and str(value).lower() not in ("false", "0"):
        return Finding(subject, show(value), "false", 'Set DEBUG: "false"; debug mode shows internals to everybody.')
    return _origins_finding(subject, value) if key == "CORS_ORIGINS" else None


def looks_secret(key: str, value: object) -> bool:
    """Tell whether a setting is a secret by its name, or holds a password in a URL."""
    # A name is judged by a value of its own, since the real one may be empty.
    by_name = bool(dotenv.secret_values({key: "value"})) and not _HARMLESS.search(key)
    return by_name or (isinstance(value, str) and bool(dotenv.secret_values({"URL": value})))


def dotenv_fault(value: str) -> str:
    """Return what no setting should have, by name; empty if it is fit. Line ends may be, but for those of Windows."""
    if "\r" in value:
        return "a carriage return (CRLF)"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value):
        return "a control character"
    return ""


def _origins_finding(subject: str, value: object) -> Finding | None:
    wanted = "a JSON list of origins (scheme, name, port), without *"
    remedy = "Set CORS_ORIGINS: '[\"https://scheduler.example.com\"]'."
    try:
        origins = value if isinstance(value, list) else json.loads(str(value))
    except ValueError:
        return Finding(subject, f"{show(value)}, which is no JSON", wanted, remedy)
    if not isinstance(origins, list) or not origins:
        return Finding(subject, show(value), wanted, remedy)
    for origin in origins:
        if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
            return Finding(subject, f"the origin {show(origin)}", wanted, remedy)
    return None


def _inside_home(values: Mapping[str, Any], wrong: set[str]) -> list[Finding]:
    """Return the folders that a cleaned checkout would delete."""
    if "scheduler_home" in wrong:
        return []
    home = _normal(str(values["scheduler_home"]))
    return [
        Finding(
            name,
            f"{show(values[name])}, inside scheduler_home",
            f"a folder outside {home}",
            f"Move {name}: git cleans the checkout, and would delete it.",
        )
        for name in _OUTSIDE_HOME
        if name not in wrong and values.get(name) and f"{_normal(str(values[name]))}/".startswith(f"{home}/")
    ]


def _normal(path: str) -> str:
    return "/" + posixpath.normpath(path).strip("/")


def _one(check: Callable[[object], Finding | None]) -> Callable[[str, object], list[Finding]]:
    def rule(_name: str, value: object) -> list[Finding]:
        finding = check(value)
        return [finding] if finding else []

    return rule


def _optional(rule: Callable[[str, object], list[Finding]]) -> Callable[[str, object], list[Finding]]:
    return lambda name, value: [] if value is None else rule(name, value)


#: The rule of each variable; all but the optional ones have to be there.
RULES: dict[str, Callable[[str, object], list[Finding]]] = {
    "scheduler_repo": _one(check_repository),
    "scheduler_version": _one(check_version),
    "scheduler_domain": _matching(_DOMAIN, "a DNS name without scheme and port, or localhost", "scheduler.example.com"),
    "scheduler_home": check_folder,
    "scheduler_project": _matching(_PROJECT, "lower-case letters, digits, - and _, a letter or digit first", "residency-scheduler"),
    "scheduler_compose_files": check_compose_files,
    "scheduler_state_dir": check_folder,
    "scheduler_data_dir": check_folder,
    "scheduler_backup_dir": check_folder,
    "scheduler_tls_dir": _optional(check_folder),
    "scheduler_backup_retention_days": check_retention,
    "scheduler_celery_app": _matching(_DOTTED, "a dotted Python name", "app.core.celery_app"),
    "scheduler_services": check_services,
}
