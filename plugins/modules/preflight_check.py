#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds every reason not to deploy, before anything is touched."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_check
short_description: Find every reason not to deploy, before anything is touched
version_added: 0.1.0
description:
  - Checks the inventory's variables and secrets, what the repository answered, and the host - system, size, Docker, git, who has the
    ports of the stack's proxy, local changes in the checkout, clock, pending restart, and where the domain leads.
  - Where a stack is deployed already, also whether its database has room for a backup and a copy and stands at a revision that the
    release knows, whether its memory limits fit the machine, and whether the last good release still has its images.
  - Fails with B(all) findings at once; each names the variable or fact, what was found, what is wanted, and the remedy. A secret's
    value is never in one.
  - What is only a warning stops nothing; it is told with the findings, after them, or in C(warnings_found).
  - Tells on success what the host has already, so that later roles know what a check mode can look at.
author:
  - Residency Scheduler operations team (@residency-scheduler)
extends_documentation_fragment:
  - residency.scheduler.attributes.read_only
options:
  inputs:
    description:
      - The stack-wide variables by name, with their raw values; null for one that is not defined.
      - C(scheduler_repo), C(scheduler_version), C(scheduler_domain), C(scheduler_home), C(scheduler_project),
        C(scheduler_compose_files), C(scheduler_state_dir), C(scheduler_data_dir), C(scheduler_backup_dir),
        C(scheduler_backup_retention_days), C(scheduler_celery_app) and C(scheduler_services) have to be there,
        C(scheduler_tls_dir) and C(scheduler_env) may.
      - C(environment_acme) is null unless certificates are to be issued by ACME.
    type: dict
    required: true
  secrets:
    description: The variable C(scheduler_secrets), raw.
    type: raw
    required: true
  required_secrets:
    description: Names of the secrets that have to be there, long and random.
    type: list
    elements: str
    default: [DB_PASSWORD, SECRET_KEY, REDIS_PASSWORD]
  generate:
    description:
      - Whether M(residency.scheduler.env_file) will make those that nobody gives. On a server that has a release or a database already
        one that is neither given nor kept is a finding all the same.
    type: bool
    default: false
    version_added: 0.6.0
  rotate:
    description: Names of secrets that are meant to change. Another one that differs from what serves is a finding.
    type: list
    elements: str
    default: []
    version_added: 0.6.0
  repository:
    description: The result of M(residency.scheduler.repository_info); null if the repository was not asked.
    type: raw
  ports:
    description: Ports of the host that the stack's proxy publishes. Whoever else has one of them is named.
    type: list
    elements: int
    default: [80, 443]
    version_added: 0.5.0
  addresses:
    description: Addresses to which C(scheduler_domain) may lead instead of the host's own, such as a load balancer's.
    type: list
    elements: str
    default: []
    version_added: 0.6.0
  side_database:
    description: Whether a deployment makes a copy beside the live database, which needs room.
    type: bool
    default: true
    version_added: 0.6.0
  marker:
    description: File that is there while a checkout is on its way; then local changes in C(scheduler_home) are a cut run's.
    type: path
    version_added: 0.5.0
  more:
    description: Findings of other modules, to be told together with the rest.
    type: list
    elements: dict
    default: []
    version_added: 0.5.0
  minimum:
    description: What the host has to have at least.
    type: dict
    suboptions:
      cpus:
        description: Number of CPUs.
        type: int
        default: 2
      memory_mb:
        description: Memory in MB; 10 % less is accepted, since a machine of 4096 MB shows less to its system.
        type: int
        default: 4096
      disk_gb:
        description: Free space in GB for each of C(scheduler_state_dir), C(scheduler_home) and C(/var/lib/docker).
        type: float
        default: 20
      docker:
        description: Version of Docker Engine, where one is installed.
        type: str
        default: "20.10"
      compose:
        description: Version of the Compose plugin, where one is installed. 2.24.4 introduced C(!override).
        type: str
        default: "2.24.4"
  supported:
    description: Systems that are supported.
    type: list
    elements: dict
    default:
      - {id: debian, versions: ["12", "13"]}
      - {id: ubuntu, versions: ["24.04"]}
    suboptions:
      id:
        description: The system's C(ID) in C(/etc/os-release).
        type: str
        required: true
      versions:
        description: Its C(VERSION_ID)s.
        type: list
        elements: str
        required: true
"""

EXAMPLES = r"""
- name: Find every reason not to deploy
  residency.scheduler.preflight_check:
    inputs:
      scheduler_repo: "{{ scheduler_repo | default(none) }}"
      scheduler_version: "{{ scheduler_version | default(none) }}"
      scheduler_domain: "{{ scheduler_domain | default(none) }}"
      scheduler_home: "{{ scheduler_home }}"
      scheduler_project: "{{ scheduler_project }}"
      scheduler_compose_files: "{{ scheduler_compose_files }}"
      scheduler_state_dir: "{{ scheduler_state_dir }}"
      scheduler_data_dir: "{{ scheduler_data_dir }}"
      scheduler_backup_dir: "{{ scheduler_backup_dir }}"
      scheduler_backup_retention_days: "{{ scheduler_backup_retention_days }}"
      scheduler_celery_app: "{{ scheduler_celery_app }}"
      scheduler_services: "{{ scheduler_services }}"
      scheduler_env: "{{ scheduler_env }}"
    secrets: "{{ scheduler_secrets | default(none) }}"
    repository: "{{ repository }}"

- name: Check a small demonstration server
  residency.scheduler.preflight_check:
    inputs: "{{ inputs }}"
    secrets: "{{ scheduler_secrets }}"
    minimum:
      cpus: 1
      memory_mb: 2048
      disk_gb: 8
  register: preflight_result
"""

RETURN = r"""
findings:
  description: The reasons not to deploy.
  returned: always
  type: list
  elements: dict
  sample:
    - subject: scheduler_backup_retention_days
      found: '"30 days"'
      wanted: a whole number of days, 1 or more
      remedy: "Set scheduler_backup_retention_days: 30 (a number, without quotes and unit)."
      severity: stops
warnings_found:
  description: What does not stop a deployment, but should be known before it.
  returned: always
  type: list
  elements: dict
  sample:
    - subject: restart
      found: one that is pending, for linux-image-amd64
      wanted: none
      remedy: "Restart the server in this window or the next one: `systemctl reboot`."
      severity: warns
warnings_told:
  description: The same as people read it, a line each.
  returned: success
  type: list
  elements: str
  sample:
    - "1. uptime: found a start 42 s ago, wanted 120 s or more. Find out whether that was meant."
made:
  description: Names of the secrets that the deployment will make, since nobody gives them.
  returned: success
  type: list
  elements: str
  sample: [DB_PASSWORD, REDIS_PASSWORD, SECRET_KEY]
checks:
  description: The same as evidence for the checklist's lines, by topic; what was not looked at has none.
  returned: success
  type: list
  elements: dict
  sample:
    - subject: "preflight: domain"
      verdict: pass
      expected: a name that leads to this server
      found: scheduler.example.com at 192.0.2.10
      seconds: 0.0
      remedy: ""
      topic: preflight_dns
commit:
  description: Full commit id of the version, as the repository gave it; empty if the repository was not asked.
  returned: success
  type: str
  sample: 3f786850e387550fdab836ed7e6dc881de23001b
host:
  description: What the host is and has.
  returned: always
  type: dict
  contains:
    os:
      description: The system's C(ID) in C(/etc/os-release).
      type: str
      sample: debian
    os_version:
      description: The system's C(VERSION_ID).
      type: str
      sample: "12"
    cpus:
      description: Number of CPUs.
      type: int
      sample: 4
    memory_mb:
      description: Memory in MB (1024 x 1024 bytes).
      type: int
      sample: 7941
    disk_gb:
      description: The least free space of the folders that a deployment fills, in GB (10^9 bytes).
      type: float
      sample: 61.3
    docker:
      description: Version of the Docker Engine that answers; empty if none does.
      type: str
      sample: 26.1.5
    compose:
      description: Version of the Compose plugin; empty if there is none.
      type: str
      sample: 2.26.1-4
    git:
      description: Whether git is installed.
      type: bool
      sample: true
    python_apt:
      description: Whether this interpreter has python3-apt.
      type: bool
      sample: true
    checkout:
      description: Whether all compose files are in C(scheduler_home).
      type: bool
      sample: true
    container:
      description: Whether the host is a container itself.
      type: bool
      sample: false
      version_added: 0.6.0
    time_daemon:
      description: The program that sets the clock; empty if there is none.
      type: str
      sample: chronyd
      version_added: 0.6.0
    ready_for_apt:
      description: Whether a check mode can ask apt - python3-apt is there, and so are package lists.
      type: bool
      sample: true
    ready_for_stack:
      description: Whether a check mode can ask Compose - Docker, Compose, git and the checkout are there.
      type: bool
      sample: true
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import (
    kept_secrets,
    preflight_checklist,
    preflight_environment,
    preflight_live,
    preflight_machine,
    preflight_stack,
)
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.compose import Project
from ansible_collections.residency.scheduler.plugins.module_utils.finding import WARNS, Finding, Findings, numbered
from ansible_collections.residency.scheduler.plugins.module_utils.preflight import (
    Host,
    Inputs,
    Limits,
    RealSystem,
    System,
    decide,
    least_space,
    read_host,
)
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish

MINIMUM_SPEC: dict[str, Any] = {
    "cpus": {"type": "int", "default": 2},
    "memory_mb": {"type": "int", "default": 4096},
    "disk_gb": {"type": "float", "default": 20},
    "docker": {"type": "str", "default": "20.10"},
    "compose": {"type": "str", "default": "2.24.4"},
}
SUPPORTED_SPEC: dict[str, Any] = {
    "id": {"type": "str", "required": True},
    "versions": {"type": "list", "elements": "str", "required": True},
}


#: A shorter text is refused as a secret, and is part of common words.
_SHORTEST_BLOTTED = 8
#: Without one of them nobody knows which stack is meant.
_OF_THE_STACK = {f"scheduler_{name}" for name in ("project", "home", "compose_files", "services", "state_dir", "backup_dir")}
_HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def run(parameters: dict[str, Any], system: System, runner: Runner) -> dict[str, Any]:
    """Read the host, decide, and return what it has, or raise all findings."""
    repository = parameters["repository"]
    limits = Limits.from_parameters(parameters["minimum"], parameters["supported"])
    host = read_host(parameters["inputs"], system, runner)
    plan, told = _secrets(parameters, runner if host.docker else None)
    inputs = Inputs(
        variables=parameters["inputs"],
        secrets=parameters["secrets"],
        required_secrets=tuple(parameters["required_secrets"]),
        repository=repository if isinstance(repository, dict) else None,
        supplied=frozenset(plan.values) | {finding.subject.removeprefix("scheduler_secrets.") for finding in told},
    )
    findings = decide(inputs, host, limits) + told
    project = str(inputs.variables.get("scheduler_project"))
    findings += preflight_live.check_ports(parameters["ports"], project, runner if host.docker else None)
    wrong = {finding.subject for finding in findings}
    if host.git and host.checkout:
        findings += preflight_live.check_checkout(str(inputs.variables["scheduler_home"]), str(parameters["marker"] or ""), runner)
    if inputs.variables.get("environment_acme") is not None and host.apt_lists:
        findings += preflight_live.check_certbot(system.has_program("certbot"), runner)
    domain = "" if "scheduler_domain" in wrong else str(inputs.variables["scheduler_domain"])
    machine = preflight_machine.read_machine(domain, system, runner)
    findings += preflight_machine.decide(machine, parameters["addresses"])
    if host.docker and not wrong & _OF_THE_STACK:
        findings += preflight_stack.check(_deployed(inputs, host, parameters), host.memory_mb, runner)
    release = repository.get("findings", []) if isinstance(repository, dict) else []
    findings += [Finding.from_dict(finding) for finding in (*release, *parameters["more"])]
    warnings = [finding for finding in findings if finding.severity == WARNS]
    stops = [finding for finding in findings if finding.severity != WARNS]
    if stops:
        raise Findings(stops, warnings, host=host.to_dict())
    return {
        "changed": False,
        "findings": [],
        "warnings_found": [finding.to_dict() for finding in warnings],
        "warnings_told": numbered(warnings),
        "host": host.to_dict(),
        "made": list(plan.made),
        "commit": _commit(repository),
        "checks": [check.to_dict() for check in preflight_checklist.checks(warnings, _facts(inputs, host, machine, system))],
    }


def _facts(inputs: Inputs, host: Host, machine: preflight_machine.Machine, system: System) -> dict[str, str]:
    """Return what was seen, for each topic of the checklist that was looked at."""
    variables, repository = inputs.variables, inputs.repository or {}
    free, backups = least_space([str(variables["scheduler_backup_dir"])], system)
    facts = {
        "preflight_secrets": f"{len(inputs.secrets or {})} given, {len(inputs.supplied)} made or kept on the server",
        "preflight_host": f"{host.os_name}, {host.cpus} CPUs, {host.memory_mb} MB of memory, {host.disk_gb:g} GB free",
        "preflight_backup": f"{free:g} GB free for {backups}",
    }
    if host.docker:
        facts["preflight_docker"] = f"Docker {host.docker}, Compose {host.compose}"
    if machine.lookup:
        facts["preflight_dns"] = f"{machine.lookup.domain} at {', '.join(machine.lookup.addresses)}"
    if repository.get("commit"):
        facts["preflight_version"] = f"{variables['scheduler_version']}, commit {str(repository['commit'])[:12]}"
    looked = repository.get("looked_at") or []
    if "changelog" in looked:
        facts["preflight_changelog"] = f"it speaks of {variables['scheduler_version']}"
    if "files" in looked:
        facts["preflight_environment"] = "every name has a value"
    return facts


def _secrets(parameters: dict[str, Any], runner: Runner | None) -> tuple[kept_secrets.Plan, list[Finding]]:
    """Return what will be done about secrets, and what stands against it."""
    given = parameters["secrets"] if isinstance(parameters["secrets"], dict) else {}
    required, rotate = parameters["required_secrets"], parameters["rotate"]
    known, findings = preflight_environment.read_server(parameters["inputs"], runner)
    server = known or kept_secrets.Server()
    # Only the names count here: the deployment makes its own.
    plan = kept_secrets.decide(given, required, rotate, server, str, parameters["generate"] and known is not None)
    return plan, findings + preflight_environment.check_plan(plan, server, given, required, rotate)


def _commit(repository: Any) -> str:
    return str(repository.get("commit") or "") if isinstance(repository, dict) else ""


def _revisions(repository: Any) -> list[str]:
    return list(repository.get("revisions") or []) if isinstance(repository, dict) else []


def _deployed(inputs: Inputs, host: Host, parameters: dict[str, Any]) -> preflight_stack.Deployed:
    """Return where the stack is; the variables are known to be well-formed."""
    variables = inputs.variables
    project = {"name": variables["scheduler_project"], "directory": variables["scheduler_home"], "env_file": ".env"}
    return preflight_stack.Deployed(
        project=Project.from_parameters({**project, "files": variables["scheduler_compose_files"]}),
        databases=tuple(service["name"] for service in variables["scheduler_services"] if service["kind"] == "postgres"),
        state_dir=variables["scheduler_state_dir"],
        backup_dir=variables["scheduler_backup_dir"],
        side_database=parameters["side_database"],
        checkout=host.checkout,
        version=str(variables["scheduler_version"]),
        commit=_commit(parameters["repository"]),
        revisions=frozenset(_revisions(parameters["repository"])),
    )


def texts(value: Any) -> list[str]:
    """Return all texts in a value, however deep."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            # A secret may have strayed into them.
            "inputs": {"type": "dict", "required": True, "no_log": True},
            "secrets": {"type": "raw", "required": True, "no_log": True},
            "required_secrets": {
                "type": "list",
                "elements": "str",
                "default": ["DB_PASSWORD", "SECRET_KEY", "REDIS_PASSWORD"],
                "no_log": False,
            },
            "generate": {"type": "bool", "default": False},
            "rotate": {"type": "list", "elements": "str", "default": []},
            "repository": {"type": "raw"},
            "ports": {"type": "list", "elements": "int", "default": [80, 443]},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "side_database": {"type": "bool", "default": True},
            "marker": {"type": "path"},
            "more": {"type": "list", "elements": "dict", "default": []},
            "minimum": {"type": "dict", "options": MINIMUM_SPEC, "apply_defaults": True},
            "supported": {
                "type": "list",
                "elements": "dict",
                "options": SUPPORTED_SPEC,
                "default": [{"id": "debian", "versions": ["12", "13"]}, {"id": "ubuntu", "versions": ["24.04"]}],
            },
        },
        supports_check_mode=True,
    )
    parameters = dict(module.params)
    # By default Ansible blots each single value out of the message, "db" and "30" too, and nobody could read it. No finding holds
    # a secret; the values that could be one are blotted out all the same, and the invocation that -vvv shows holds none.
    module.no_log_values = {value for value in texts(parameters["secrets"]) if len(value) >= _SHORTEST_BLOTTED}
    module.params.update(inputs=_HIDDEN, secrets=_HIDDEN)
    finish(module, lambda: run(parameters, RealSystem(), SubprocessRunner()))


if __name__ == "__main__":
    main()
