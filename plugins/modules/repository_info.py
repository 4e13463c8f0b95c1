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
  - Never fails because of a wrong repository or version. It reports a RV(finding) instead, so that a caller can show it together
    with all others, or ask from another host.
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
    description: A checkout. Where it stands at the version's commit already, the changelog is not read again.
    type: path
    version_added: 0.6.0
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
from ansible_collections.residency.scheduler.plugins.module_utils import git_refs, git_release
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, Runner, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, redact_url
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish


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
    findings = [] if resolution.finding else _look_into(parameters, resolution, runner, timeout, host)
    return _result(
        git=True,
        reachable=True,
        commit=resolution.commit,
        kind=resolution.kind,
        near=list(resolution.near),
        finding=resolution.finding,
        findings=[finding.to_dict() for finding in findings],
        seconds=answer.seconds,
    )


def _look_into(parameters: dict[str, Any], resolution: git_refs.Resolution, runner: Runner, timeout: float, host: str) -> list[Finding]:
    keys = [str(key) for key in parameters["signing_keys"]]
    wrong = git_release.check_keys(keys) or git_release.check_programs(keys, host)
    changelog = parameters["changelog"]
    if changelog and parameters["checkout"]:
        head = runner.run(["git", "-C", parameters["checkout"], "rev-parse", "--verify", "HEAD"])
        changelog = "" if head.stdout.strip() == resolution.commit else changelog
    if wrong or not (keys or (changelog and resolution.kind == "tag")):
        return wrong
    release = git_release.Release(parameters["repo"], parameters["version"], resolution.commit, resolution.kind)
    # A whole tree takes longer than a list of references.
    return git_release.inspect(release, keys, changelog, runner, 6 * timeout)


def _result(*, git: bool, finding: Finding | None, seconds: float = 0.0, **known: Any) -> dict[str, Any]:
    unknown: dict[str, Any] = {"reachable": False, "commit": "", "kind": "", "near": [], "findings": []}
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
        },
        supports_check_mode=True,
    )
    # A password or token in the address is kept out of the invocation, too, that -vvv shows.
    module.no_log_values.update(re.findall(r"//[^/:@\s]*:([^/@\s]{4,})@", str(module.params["repo"])))
    module.no_log_values.update(re.findall(r"https?://([^/:@\s]{16,})@", str(module.params["repo"])))
    git = shutil.which("git") is not None
    finish(module, lambda: run(module.params, SubprocessRunner(), git=git, host=os.uname().nodename))


if __name__ == "__main__":
    main()
