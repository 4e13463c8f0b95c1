#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks a git repository what a version names in it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: repository_info
short_description: Tell what a version names in a git repository
version_added: 0.1.0
description:
  - Asks the repository for its tags and branches by C(git ls-remote), and tells the commit that a version names.
  - Never fails because of a wrong repository or version, nor of what is in it. It reports a RV(finding) instead, so that a caller
    can show it together with all others, or ask from another host.
  - With O(inside) it also looks into the release's files, for whatever a deployment would stumble over.
  - The repository and the version are checked before git sees them; a branch, a relative reference, an option or a transport
    helper (C(ext::)) is refused.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - git, or the answer RV(git=false)
extends_documentation_fragment:
  - residency.scheduler.attributes.read_only
options:
  repo:
    description:
      - Address of the repository, by https, ssh or file.
      - A password in it is blotted out of all that is returned, but git shows it in the list of processes; prefer a deploy key.
    type: str
    required: true
  version:
    description: A tag, or a full commit of 40 hexadecimal digits. A commit is taken as it is; that it exists is proved by the fetch.
    type: str
    required: true
  timeout:
    description: Seconds within which the repository has to answer, each time that it is asked.
    type: int
    default: 20
  signing_keys:
    description:
      - Public keys, of which one has to have signed the version; PGP public key blocks, or lines with SSH public keys.
      - The version alone is then fetched into a folder of its own, and its signature is judged there, before anything is checked out.
        The tag has to bear the name under which it was signed.
    type: list
    elements: str
    default: []
    version_added: 0.6.0
  changelog:
    description: File in the repository that should mention the version, if that is a tag; none when empty.
    type: str
    default: ""
    version_added: 0.6.0
  checkout:
    description:
      - A checkout. Where it stands at the version's commit already, the changelog and the files are not looked at.
      - A file that lies beside the version's own in it is not missed.
    type: path
    version_added: 0.6.0
  inside:
    description:
      - What the inventory has for the release's files. They are fetched into a folder of their own, and looked at there - the compose
        files and services, build folders and Dockerfiles, the names of the environment, the proxy's settings (C(nginx -t) in a container
        without a network), and Alembic's revisions. A version whose signature is not accepted is not looked into.
      - Nothing is looked at where one of these is malformed, which M(residency.scheduler.preflight_check) tells.
    type: dict
    version_added: 0.7.0
    suboptions:
      project:
        description: The variable C(scheduler_project), raw.
        type: raw
        required: true
      state_dir:
        description: The variable C(scheduler_state_dir), raw. From the ledger there come the names that the former release knew.
        type: raw
        required: true
      compose_files:
        description: The variable C(scheduler_compose_files), raw.
        type: raw
        required: true
      services:
        description: The variable C(scheduler_services), raw. Those that are not optional have to be in the compose files.
        type: raw
        required: true
      environment:
        description: The variable C(scheduler_env), raw.
        type: raw
      secrets:
        description: Names of the secrets that are given, or made.
        type: list
        elements: str
        default: []
      example:
        description: The release's example file, relative to its root; none when empty.
        type: str
        default: ""
      paths:
        description: More values of the environment, by name, the server's folders.
        type: dict
        default: {}
      on_server:
        description:
          - Whether this host is the server itself. On another host, what needs Docker is not looked at; nor is it where neither Docker nor
            Compose answers.
        type: bool
        default: true
"""

EXAMPLES = r"""
- name: Ask the repository for the version
  residency.scheduler.repository_info:
    repo: https://git.example.com/scheduler.git
    version: v1.0.0
  register: repository

- name: Require that the version is signed
  residency.scheduler.repository_info:
    repo: https://git.example.com/scheduler.git
    version: v1.0.0
    signing_keys: ["{{ lookup('ansible.builtin.file', 'release-key.asc') }}"]
  register: repository

- name: Look into the release's files as well
  residency.scheduler.repository_info:
    repo: "{{ scheduler_repo }}"
    version: v1.0.0
    inside:
      project: "{{ scheduler_project }}"
      state_dir: "{{ scheduler_state_dir }}"
      compose_files: "{{ scheduler_compose_files }}"
      services: "{{ scheduler_services }}"
      environment: "{{ scheduler_env }}"
      secrets: [DB_PASSWORD, SECRET_KEY, REDIS_PASSWORD]
      example: .env.example

- name: Ask it from the controller, where the server has no git yet
  residency.scheduler.repository_info:
    repo: "{{ scheduler_repo }}"
    version: "{{ scheduler_version }}"
    timeout: 60
  delegate_to: localhost
  become: false
  when: not repository.git
"""

RETURN = r"""
git:
  description: Whether git is installed on this host. Where it is not, nothing else is known and there is no finding.
  returned: always
  type: bool
  sample: true
reachable:
  description: Whether the repository answered.
  returned: always
  type: bool
  sample: true
commit:
  description: The full commit that the version names; empty if there is none. An annotated tag is followed to its commit.
  returned: always
  type: str
  sample: 17462d5b0d192978fe46e4de5e5a70ea9256e54f
kind:
  description: What the version names - V(tag), V(commit), V(branch) or V(unknown); empty if the repository was not asked or did not answer.
  returned: always
  type: str
  sample: tag
near:
  description: Up to five tags with a similar name, the nearest first, where the version names none.
  returned: always
  type: list
  elements: str
  sample: [v1.0.0, v1.1.0]
finding:
  description: What is wrong, as a dictionary of C(subject), C(found), C(wanted) and C(remedy); null if nothing is.
  returned: always
  type: dict
  sample:
    subject: scheduler_version
    found: '"v1.0.1", which is no tag of https://git.example.com/scheduler.git'
    wanted: a tag or a full commit (40 hexadecimal digits)
    remedy: "Near names: v1.0.0, v1.1.0. Correct scheduler_version, or push the tag."
findings:
  description: What a look into the version has found, each as RV(finding), with a C(severity) of V(stops) or V(warns).
  returned: always
  type: list
  elements: dict
  sample: []
revisions:
  description:
    - Ids of the release's Alembic revisions, as its files tell them; none where they were not looked at, or where code puts them together.
  returned: always
  type: list
  elements: str
  sample: [20251201_initial, 20251222_shift_index]
looked_at:
  description: What of the version was looked at - V(signature), V(changelog), V(files).
  returned: always
  type: list
  elements: str
  sample: [changelog, files]
seconds:
  description: How long the repository took to answer, in seconds.
  returned: always
  type: float
  sample: 0.412
"""

import os
import re
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import git_refs, git_release, kept_secrets
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, redact_url
from ansible_collections.residency.scheduler.plugins.module_utils.preflight_variables import RULES, check_environment
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish
from ansible_collections.residency.scheduler.plugins.module_utils.release_content import Content, Wanted

INSIDE_SPEC: dict[str, Any] = {
    # Raw, since what is wrong with them is another module's to tell.
    **{name: {"type": "raw", "required": True} for name in ("project", "state_dir", "compose_files", "services")},
    "environment": {"type": "raw"},
    # Names only.
    "secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "example": {"type": "str", "default": ""},
    "paths": {"type": "dict", "default": {}},
    "on_server": {"type": "bool", "default": True},
}


def run(parameters: dict[str, Any], runner: Runner, *, git: bool, host: str) -> dict[str, Any]:
    """Check the texts, ask the repository, and return what the version names.

    :arg git: whether git is installed.
    :arg host: the name of this host, for the finding.
    """
    repository, version = parameters["repo"], parameters["version"]
    finding = git_refs.check_repository(repository) or git_refs.check_version(version)
    if finding or not git:
        return _result(git=git, finding=finding if git else None)
    timeout = float(parameters["timeout"])
    answer = runner.run(git_refs.list_argv(repository), timeout=timeout)
    if answer.rc != 0 or answer.timed_out:
        return _result(git=True, finding=_unreachable(repository, answer, timeout, host), seconds=answer.seconds)
    resolution = git_refs.resolve(version, repository, git_refs.parse_refs(answer.stdout))
    content = Content((), ()) if resolution.finding else _look_into(parameters, resolution, runner, timeout, host)
    return _result(
        git=True,
        reachable=True,
        commit=resolution.commit,
        kind=resolution.kind,
        near=list(resolution.near),
        finding=resolution.finding,
        findings=[finding.to_dict() for finding in content.findings],
        revisions=list(content.revisions),
        looked_at=list(content.looked_at),
        seconds=answer.seconds,
    )


def _look_into(parameters: dict[str, Any], resolution: git_refs.Resolution, runner: Runner, timeout: float, host: str) -> Content:
    keys = [str(key) for key in parameters["signing_keys"]]
    wrong = git_release.check_keys(keys) or git_release.check_programs(keys, host)
    if wrong:
        return Content(tuple(wrong), ())
    changelog, wanted = parameters["changelog"] if resolution.kind == "tag" else "", _wanted(parameters)
    if parameters["checkout"]:
        head = runner.run(["git", "-C", parameters["checkout"], "rev-parse", "--verify", "HEAD"])
        # Whatever is wrong with it, the deployment finds out from the checkout itself.
        changelog, wanted = ("", None) if head.stdout.strip() == resolution.commit else (changelog, wanted)
    if not (keys or changelog or wanted):
        return Content((), ())
    release = git_release.Release(parameters["repo"], parameters["version"], resolution.commit, resolution.kind)
    docker = bool(wanted and parameters["inside"]["on_server"] and _docker_answers(runner))
    # A whole tree takes longer than a list of references.
    return git_release.inspect(release, git_release.Look(keys, changelog, wanted, docker), runner, 6 * timeout)


def _wanted(parameters: dict[str, Any]) -> Wanted | None:
    """Return what the inventory has for a release's files; None where a variable is malformed, which preflight_check tells."""
    inside = parameters["inside"]
    if inside is None:
        return None
    secrets = frozenset(inside["secrets"])
    names = {f"scheduler_{name}": inside[name] for name in ("project", "state_dir", "compose_files", "services")}
    wrong = [finding for name, value in names.items() for finding in RULES[name](name, value)]
    if wrong or check_environment("scheduler_env", inside["environment"], secrets):
        return None
    try:
        serving = kept_secrets.read(inside["state_dir"]).serving if inside["on_server"] else {}
    except Problem:  # preflight_check tells of it
        serving = {}
    return Wanted(
        project=inside["project"],
        compose_files=tuple(inside["compose_files"]),
        services=tuple(service["name"] for service in inside["services"] if not service.get("optional")),
        proxies=tuple(service["name"] for service in inside["services"] if service["kind"] == "proxy"),
        home=str(parameters["checkout"] or "") if inside["on_server"] else "",
        example=inside["example"],
        values={**inside["paths"], **(inside["environment"] or {})},
        secrets=secrets,
        serving=frozenset(serving),
    )


def _docker_answers(runner: Runner) -> bool:
    if not shutil.which("docker"):
        return False
    commands = (["docker", "version", "--format", "{{.Server.Version}}"], ["docker", "compose", "version", "--short"])
    return all(runner.run(command, timeout=10).rc == 0 for command in commands)


def _result(*, git: bool, finding: Finding | None, seconds: float = 0.0, **known: Any) -> dict[str, Any]:
    unknown: dict[str, Any] = {"reachable": False, "commit": "", "kind": "", "near": [], "findings": [], "revisions": [], "looked_at": []}
    return {
        "changed": False,
        "git": git,
        **unknown,
        **known,
        "finding": finding.to_dict() if finding else None,
        "seconds": round(seconds, 3),
    }


def _unreachable(repository: str, answer: CommandResult, timeout: float, host: str) -> Finding:
    words = "; ".join(line.strip() for line in redact_url(answer.last_lines(5)).splitlines() if line.strip())
    why = f"no answer within {timeout:.0f} s" if answer.timed_out else f"git's words: {words or f'exit code {answer.rc}'}"
    return Finding(
        "scheduler_repo",
        f"{redact_url(repository)} unreachable from {host} ({why.rstrip('. ')})",
        "a repository that answers",
        f"Correct scheduler_repo, or the network, host key and access rights; try `git ls-remote {redact_url(repository)}` there.",
    )


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 20},
            # Public keys.
            "signing_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "changelog": {"type": "str", "default": ""},
            "checkout": {"type": "path"},
            # A secret may have strayed into it.
            "inside": {"type": "dict", "options": INSIDE_SPEC, "no_log": True},
        },
        supports_check_mode=True,
    )
    parameters = dict(module.params)
    # Ansible would blot each single value of it out of all that is told, "db" and "true" too, and nobody could read it.
    module.no_log_values = set()
    module.params["inside"] = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    # A password or token in the address is kept out of the invocation, too, that -vvv shows.
    module.no_log_values.update(re.findall(r"//[^/:@\s]*:([^/@\s]{4,})@", str(module.params["repo"])))
    module.no_log_values.update(re.findall(r"https?://([^/:@\s]{16,})@", str(module.params["repo"])))
    git = shutil.which("git") is not None
    finish(module, lambda: run(parameters, SubprocessRunner(), git=git, host=os.uname().nodename))


if __name__ == "__main__":
    main()
