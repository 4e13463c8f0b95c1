# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the security review, and how observations become checks, findings and a score. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils.check import Check
from ansible_collections.residency.scheduler.plugins.module_utils.command import redact
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

#: From the least to the worst.
SEVERITIES = ("low", "medium", "high", "critical")
#: What a rule weighs in the score of its area.
WEIGHTS = {"low": 1, "medium": 3, "high": 9, "critical": 27}
AREAS = ("headers", "tls", "network", "containers", "secrets", "settings")


@dataclass(frozen=True)
class Rule:
    """One rule of the review.

    :ivar severity: how bad it is to break it; the option ``severities`` may say otherwise.
    :ivar topic: which line of the checklist it is evidence for.
    """

    severity: str
    subject: str
    expected: str
    remedy: str
    topic: str


#: Every rule by its id; the part before the dot is its area.
RULES: dict[str, Rule] = {
    name: Rule(*values)
    for name, values in {
        # ---- what the public address answers -------------------------------------------------------------------------
        "headers.hsts": (
            "medium",
            "Strict-Transport-Security",
            "max-age of at least {hsts_seconds} s on every answer",
            "In the proxy: add_header Strict-Transport-Security \"max-age=63072000; includeSubDomains\" always;",
            "security_headers",
        ),
        "headers.csp": (
            "medium",
            "Content-Security-Policy",
            "default-src or script-src on every answer",
            "In the proxy: add_header Content-Security-Policy \"default-src 'self'; frame-ancestors 'none'; object-src 'none'\" always;",
            "security_headers",
        ),
        "headers.csp_unsafe": (
            "low",
            "Content-Security-Policy: scripts",
            "no scripts from anywhere, inline or by eval",
            "Take *, http:, https:, data:, 'unsafe-inline' and 'unsafe-eval' out of script-src; use nonces.",
            "security_headers",
        ),
        "headers.nosniff": (
            "medium",
            "X-Content-Type-Options",
            "nosniff on every answer",
            "In the proxy: add_header X-Content-Type-Options nosniff always;",
            "security_headers",
        ),
        "headers.framing": (
            "medium",
            "framing",
            "X-Frame-Options DENY or SAMEORIGIN, or frame-ancestors without a wildcard, on every answer",
            "In the proxy: add_header X-Frame-Options DENY always;",
            "security_headers",
        ),
        "headers.referrer": (
            "low",
            "Referrer-Policy",
            "a policy that keeps paths from other sites, on every answer",
            "In the proxy: add_header Referrer-Policy strict-origin-when-cross-origin always;",
            "security_headers",
        ),
        "headers.permissions": (
            "low",
            "Permissions-Policy",
            "a policy on every answer",
            'In the proxy: add_header Permissions-Policy "camera=(), geolocation=(), microphone=()" always;',
            "security_headers",
        ),
        "headers.version": (
            "low",
            "versions in headers",
            "no version in Server, and no X-Powered-By",
            "In the proxy: server_tokens off; proxy_hide_header X-Powered-By;",
            "security_headers",
        ),
        "headers.https": (
            "high",
            "http to https",
            "one permanent redirect to https on the same host",
            "In the proxy, port 80: return 301 https://$host$request_uri;",
            "security_headers",
        ),
        "headers.hidden_files": (
            "critical",
            "hidden files",
            "no answer 2xx, unless one page answers to any path",
            "In the proxy: location ~ /\\. { return 404; } - and replace what was to be read there.",
            "security_headers",
        ),
        "headers.cors_credentials": (
            "high",
            "foreign origins, with credentials",
            "no foreign origin is allowed together with credentials",
            "List the application's own origins in CORS_ORIGINS; never echo Origin.",
            "security_headers",
        ),
        "headers.cors": (
            "low",
            "foreign origins",
            "no foreign origin is allowed",
            "List the application's own origins in CORS_ORIGINS.",
            "security_headers",
        ),
        "headers.host": (
            "low",
            "another Host",
            "an error, a redirect, or no answer",
            "In the proxy: a default_server that returns 421 or 444, and the real names in server_name; set TRUSTED_HOSTS.",
            "security_headers",
        ),
        "headers.rate_limit": (
            "medium",
            "rate limit",
            "429 to some of {rate_limit_requests} requests at once, and answers again within {rate_limit_recovers} s",
            "In the proxy: limit_req_zone and limit_req for this path, limit_req_status 429; RATE_LIMIT_ENABLED=true.",
            "security_rate_limit",
        ),
        "headers.protected": (
            "critical",
            "paths that need a login",
            "401 or 403 without a token, and with one that was made up",
            "Ask for authentication on this path.",
            "security_authentication",
        ),
        # ---- TLS -----------------------------------------------------------------------------------------------------
        "tls.old_protocol": ("high", "old TLS", "TLS 1.0 and 1.1 refused", "In the proxy: ssl_protocols TLSv1.2 TLSv1.3;", "security_tls"),
        "tls.weak_cipher": (
            "medium",
            "weak ciphers",
            "suites without forward secrecy or authenticated encryption refused",
            "In the proxy: the ssl_ciphers of Mozilla's intermediate configuration.",
            "security_tls",
        ),
        "tls.name": ("high", "certificate's name", "the public name", "Install the certificate of this domain.", "security_tls"),
        "tls.expired": ("critical", "certificate's validity", "valid now", "Renew the certificate, and reload the proxy.", "security_tls"),
        "tls.lifetime": (
            "high",
            "certificate's lifetime",
            "{lifetime_fail:.0%} of its lifetime left",
            "Renew the certificate, and reload the proxy.",
            "security_tls",
        ),
        "tls.lifetime_soon": (
            "low",
            "certificate's renewal",
            "{lifetime_warn:.0%} of its lifetime left",
            "Look why the renewal has not run; renew the certificate, and reload the proxy.",
            "security_tls",
        ),
        "tls.chain": ("high", "certificate's chain", "trusted", "Install the full chain, leaf first.", "security_tls"),
        "tls.self_signed": (
            "low",
            "self-signed certificate",
            "a certificate of an authority that browsers trust",
            "Set environment_certificate: acme, or files and give a certificate of an authority.",
            "security_tls",
        ),
        # ---- network -------------------------------------------------------------------------------------------------
        "network.published": (
            "high",
            "published port",
            "only the proxy's ports on other addresses than loopback",
            "Publish it on 127.0.0.1 only, or not at all: Docker's rules come before those of ufw.",
            "security_network",
        ),
        "network.socket_mode": (
            "critical",
            "Docker's socket",
            "mode 0660 or less, owned by root",
            "systemctl restart docker.socket; look who widened it: the socket is root.",
            "security_network",
        ),
        "network.socket_mounted": (
            "critical",
            "Docker's socket in a container",
            "in no container",
            "Take the mount away, or put a proxy between that allows only what is needed: the socket is root on the host.",
            "security_network",
        ),
        "network.firewall": (
            "medium",
            "firewall",
            "one that drops what nobody has let in",
            "Set server_firewall: true, or turn on one of your own.",
            "security_firewall",
        ),
        # ---- containers ----------------------------------------------------------------------------------------------
        "containers.privileged": (
            "critical",
            "privileged container",
            "not privileged",
            "Take `privileged` away, and add the capability that is needed.",
            "security_containers",
        ),
        "containers.capabilities": (
            "high",
            "added capabilities",
            "none but {capabilities_allowed}",
            "Take `cap_add` away.",
            "security_containers",
        ),
        "containers.namespaces": (
            "high",
            "namespaces of the host",
            "network, process and IPC namespaces of its own",
            "Take `network_mode`, `pid` and `ipc: host` away.",
            "security_containers",
        ),
        "containers.host_paths": (
            "critical",
            "folders of the host",
            "no system folder mounted",
            "Mount the one file or folder that is needed, read-only.",
            "security_containers",
        ),
        "containers.root": (
            "medium",
            "user of the container",
            "not root",
            "Set USER in the Dockerfile or `user` in the compose file; images that give root up by themselves get a waiver.",
            "security_containers",
        ),
        "containers.memory": (
            "medium",
            "memory limit",
            "a limit",
            "Set deploy.resources.limits.memory: one service must not take the others' memory.",
            "security_containers",
        ),
        "containers.restart": ("low", "restart policy", "restarts by itself", "Set restart: unless-stopped.", "security_containers"),
        "containers.logs": (
            "low",
            "size of the log",
            "a limit (max-size), or a log driver that rotates",
            "Set logging.options.max-size, or log-opts in /etc/docker/daemon.json.",
            "security_containers",
        ),
        "containers.live_restore": (
            "low",
            "live-restore",
            "containers survive a restart of Docker",
            'Set "live-restore": true in /etc/docker/daemon.json, so that updates of Docker are no outage.',
            "security_containers",
        ),
        # ---- secrets -------------------------------------------------------------------------------------------------
        "secrets.env_mode": (
            "critical",
            "mode of the env file",
            "0600 or less, owned by root",
            "chown root: FILE; chmod 600 FILE",
            "security_secrets",
        ),
        "secrets.env_tracked": (
            "critical",
            "env file in git",
            "not tracked",
            "git rm --cached the file, and replace every secret in it: history keeps them.",
            "security_git",
        ),
        "secrets.env_ignored": ("medium", "env file ignored by git", "ignored", "Add the file to .gitignore.", "security_git"),
        "secrets.git": (
            "critical",
            "secrets in git",
            "no value of the env file in any object of the checkout",
            "Replace the secret: whoever has a clone has it. Then rewrite the history, if you must.",
            "security_git",
        ),
        "secrets.image": (
            "critical",
            "secrets in images",
            "no value of the env file in an image's history, settings, or layers under its working directory",
            "Replace the secret, take it out of ARG, ENV and COPY (.dockerignore), and use a build secret; then build anew.",
            "security_secrets",
        ),
        "secrets.container": (
            "high",
            "secrets in containers",
            "only in the services that need them",
            "Take it out of the service's environment, or name the service in secret_services.",
            "security_secrets",
        ),
        "secrets.unlisted": (
            "low",
            "secrets that nobody has listed",
            "every secret has a list of the services that need it",
            "Add the secret to secret_services.",
            "security_secrets",
        ),
        "secrets.command_line": (
            "medium",
            "secrets in command lines",
            "none: every user of the host reads the process list",
            "Give the secret by environment or file (redis: a configuration file).",
            "security_secrets",
        ),
        "secrets.strength": (
            "high",
            "strength of secrets",
            "long, random, different, and no example",
            "Generate another one, and replace it everywhere it is used.",
            "security_secrets",
        ),
        "secrets.backups": (
            "high",
            "modes of the backups",
            "folders 0700, files 0600, owned by root",
            "chmod -R u=rwX,go= FOLDER; chown -R root: FOLDER",
            "security_secrets",
        ),
        "secrets.private_files": (
            "critical",
            "modes of private files",
            "0600 or less, owned by root",
            "chown root: FILE; chmod 600 FILE",
            "security_secrets",
        ),
        # ---- settings ------------------------------------------------------------------------------------------------
        "settings.debug": ("high", "debug mode", "off", "Set DEBUG=false, and deploy again.", "security_debug"),
        "settings.cors": (
            "medium",
            "CORS_ORIGINS",
            "https origins, no wildcard, no localhost",
            "List the application's own origins.",
            "security_settings",
        ),
        "settings.hosts": (
            "low",
            "TRUSTED_HOSTS",
            "names, no wildcard",
            "List the public name and the names that probes use.",
            "security_settings",
        ),
    }.items()
}

#: What the rules measure against; the option ``thresholds`` may say otherwise.
THRESHOLDS: dict[str, Any] = {
    "hsts_seconds": 15552000,
    "lifetime_warn": 1 / 3,
    "lifetime_fail": 1 / 6,
    "capabilities_allowed": ["NET_BIND_SERVICE"],
    "secret_length": 8,
    "git_bytes": 500_000_000,
    "git_seconds": 60,
    "rate_limit_recovers": 15,
    "waiver_days": 366,
}


@dataclass(frozen=True)
class Observation:
    """What was seen of one rule.

    :ivar target: which of several things it was seen at ("backend:8000"); a waiver may name it.
    :ivar made: False where the check could not be made, which is never good.
    """

    rule: str
    good: bool
    found: str
    target: str = ""
    seconds: float = 0.0
    made: bool = True

    @property
    def id(self) -> str:
        """Return the name by which a waiver names it."""
        return f"{self.rule}:{self.target}" if self.target else self.rule


def each(rule: str, bad: Mapping[str, str], good: Sequence[str], nothing: str = "none") -> list[Observation]:
    """Return an observation for each *bad* target with what was found there, or one for all of the *good* ones.

    Bad ones apart, so that a waiver of one does not hide the next.
    """
    if bad:
        return [Observation(rule, False, found, target) for target, found in sorted(bad.items())]
    return [Observation(rule, True, f"good in {', '.join(sorted(good))}" if good else nothing)]


def unmade(rule: str, why: str) -> Observation:
    """Return the observation of a rule that could not be looked at."""
    return Observation(rule, False, f"could not be checked: {why}"[:500], made=False)


@dataclass(frozen=True)
class Waiver:
    """A finding that somebody has accepted, why, and until when (that day included).

    :ivar check: the id of a check, or of a rule, which covers all its targets.
    """

    check: str
    reason: str
    until: date

    def covers(self, observation: Observation) -> bool:
        """Tell whether it is about *observation*."""
        return self.check in (observation.id, observation.rule)


def parse_waivers(values: Iterable[Mapping[str, Any]], today: date, longest: int) -> list[Waiver]:
    """Return the waivers.

    :raises Problem: one has no reason, no date, a date too far away, or names no rule.
    """
    waivers = []
    for value in values:
        check, reason, until = (str(value.get(key) or "").strip() for key in ("check", "reason", "until"))
        what = f"Reading the waiver of {check or 'nothing'} failed"
        remedy = "A waiver has check (an id), reason, and until (YYYY-MM-DD)."
        if check.partition(":")[0] not in RULES:
            raise Problem(what, f"there is no check {check or 'without a name'}", f"{remedy} The ids: {', '.join(RULES)}.")
        if not reason:
            raise Problem(what, "it has no reason", remedy)
        try:
            end = date.fromisoformat(until[:10])
        except ValueError as error:
            raise Problem(what, f"until is {until or 'empty'!r}, which is no date", remedy) from error
        if end > today + timedelta(days=longest):
            raise Problem(what, f"it ends {end}, more than {longest} days from now", "Choose a nearer date: a waiver is looked at again.")
        waivers.append(Waiver(check, reason, end))
    return waivers


@dataclass(frozen=True)
class Policy:
    """How observations are judged.

    :ivar fail_at: the least severity that fails; ``never`` for none.
    """

    fail_at: str
    severities: Mapping[str, str]
    thresholds: Mapping[str, Any]
    waivers: tuple[Waiver, ...]
    today: date

    def severity(self, rule: str) -> str:
        """Return how bad it is to break *rule*."""
        return self.severities.get(rule, RULES[rule].severity)

    def verdict(self, observation: Observation) -> str:
        """Return ``pass``, ``warn`` or ``fail``. What could not be checked fails whatever its severity."""
        if observation.good:
            return "pass"
        if self.fail_at == "never" or self.waiver(observation):
            return "warn"
        bad = SEVERITIES.index(self.severity(observation.rule)) >= SEVERITIES.index(self.fail_at)
        return "fail" if bad or not observation.made else "warn"

    def waiver(self, observation: Observation) -> Waiver | None:
        """Return the waiver that covers *observation* today."""
        return next((item for item in self.waivers if item.covers(observation) and item.until >= self.today), None)

    def ended(self, observation: Observation) -> Waiver | None:
        """Return the waiver that covered *observation* until it ended."""
        return None if self.waiver(observation) else next((item for item in self.waivers if item.covers(observation)), None)


def parse_policy(parameters: Mapping[str, Any], today: date) -> Policy:
    """Return the policy of the module's options.

    :raises Problem: a rule, a severity, a threshold or a waiver is unknown or wrong.
    """
    severities, thresholds = dict(parameters["severities"]), dict(parameters["thresholds"])
    for name, severity in severities.items():
        if name not in RULES or severity not in SEVERITIES:
            why = f"{name}: {severity} is not a rule and one of {', '.join(SEVERITIES)}"
            raise Problem("Reading severities failed", why, f"The rules: {', '.join(RULES)}.")
    for name, value in thresholds.items():
        if name not in THRESHOLDS:
            raise Problem("Reading thresholds failed", f"there is no threshold {name}", f"There are {', '.join(THRESHOLDS)}.")
        known = THRESHOLDS[name]
        try:
            thresholds[name] = [str(item) for item in value] if isinstance(known, list) else type(known)(value)
        except (TypeError, ValueError) as error:
            raise Problem("Reading thresholds failed", f"{name} is {value!r}", f"Give a value like {known!r}.") from error
    merged = {**THRESHOLDS, **thresholds}
    waivers = parse_waivers(parameters["waivers"], today, merged["waiver_days"])
    return Policy(str(parameters["fail_at"]), severities, merged, tuple(waivers), today)


def assess(observations: Sequence[Observation], policy: Policy, secrets: Sequence[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return checks, findings, the score by area, and what there is to say about the waivers.

    :arg facts: more values that the rules' texts name, beside the thresholds.
    """
    words = {**policy.thresholds, "capabilities_allowed": ", ".join(policy.thresholds["capabilities_allowed"]) or "none", **facts}
    checks = [_check(observation, policy, secrets, words) for observation in observations]
    order = {"fail": 0, "warn": 1}
    bad = [check for check in checks if check["verdict"] != "pass"]
    return {
        "checks": checks,
        "findings": sorted(bad, key=lambda item: (order[item["verdict"]], -SEVERITIES.index(item["severity"]))),
        "score": score(observations, policy),
        "passed": not any(check["verdict"] == "fail" for check in checks),
        "warnings": _about_waivers(observations, policy),
    }


def _check(observation: Observation, policy: Policy, secrets: Sequence[str], words: Mapping[str, Any]) -> dict[str, Any]:
    rule, verdict, severity = RULES[observation.rule], policy.verdict(observation), policy.severity(observation.rule)
    waiver, ended = (None, None) if observation.good else (policy.waiver(observation), policy.ended(observation))
    found = observation.found
    if not observation.good:
        found += f" ({severity})"
    if waiver:
        found += f"; accepted until {waiver.until}: {waiver.reason}"
    if ended:
        found += f"; its waiver ended {ended.until}"
    check = Check(
        subject=f"{rule.subject}: {observation.target}" if observation.target else rule.subject,
        verdict=verdict,
        expected=rule.expected.format(**words) if "{" in rule.expected else rule.expected,
        found=redact(found, secrets),
        seconds=observation.seconds,
        remedy="" if observation.good else rule.remedy,
        topic=rule.topic,
    )
    area = observation.rule.partition(".")[0]
    return {**check.to_dict(), "id": observation.id, "area": area, "severity": severity, "waived": waiver is not None}


def score(observations: Sequence[Observation], policy: Policy) -> dict[str, int]:
    """Return how much of each area's rules is kept, in percent by weight; a waiver mends nothing, and does not count."""
    kept: dict[str, bool] = {}
    for item in observations:
        kept[item.rule] = kept.get(item.rule, True) and item.good
    result = {}
    for area in AREAS:
        rules = [name for name in kept if name.startswith(f"{area}.")]
        total = sum(WEIGHTS[policy.severity(name)] for name in rules)
        if total:
            result[area] = 100 * sum(WEIGHTS[policy.severity(name)] for name in rules if kept[name]) // total
    return result


def _about_waivers(observations: Sequence[Observation], policy: Policy) -> list[str]:
    told = []
    for waiver in policy.waivers:
        covered = [item for item in observations if waiver.covers(item) and not item.good]
        if waiver.until < policy.today:
            told.append(f"The waiver of {waiver.check} ended {waiver.until} and counts no more.")
        elif not covered:
            told.append(f"The waiver of {waiver.check} covers nothing that was found; take it out.")
    return told
