#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Has a certificate issued by an ACME server, and put in place then and at each renewal."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_certificate
short_description: Have a certificate issued by Let's Encrypt or another ACME server, and renewed without an outage
version_added: 0.6.0
description:
  - Lets certbot issue a certificate where there is none for the domain, where the present one was issued with other settings, or where
    less than a third of its lifetime is left.
  - The challenge (http-01) is answered by the proxy, if it runs, in whose container the answer is put for that moment. While nothing
    listens on port 80, as before a first deployment, the module answers itself.
  - A hook of certbot's puts the pair in place, at each renewal too - it makes sure that key and chain belong together, tests the proxy's
    configuration, and has the proxy's containers read it. It waits for the end of a deployment.
  - Where no certificate can be issued and the one in place is valid, that one stays, and a warning says why. A self-signed one does not
    count.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - certbot 2 or newer
  - cryptography
attributes:
  check_mode:
    support: full
    description: Tells whether a certificate would be issued or put in place.
  diff_mode:
    support: none
    description: RV(reason) tells what differs.
  idempotent:
    support: full
    description: A certificate that fits is left alone.
options:
  name:
    description: The certificate's name for certbot, and that of the compose project.
    type: str
    required: true
  domain:
    description: Name that it has to be for.
    type: str
    required: true
  acme:
    description: Whom to ask, and how.
    type: dict
    required: true
    suboptions:
      directory:
        description: Address of the ACME server's directory.
        type: str
        default: https://acme-v02.api.letsencrypt.org/directory
      email:
        description: Where the authority can write to. Counts when certbot makes its account; C(certbot update_account) changes it later.
        type: str
        default: ""
      agree_terms:
        description: Whether you agree to the authority's terms of service. Nothing is issued otherwise.
        type: bool
        default: false
      ca_file:
        description: PEM file on the managed host with the only authorities that certbot trusts, for a private ACME server.
        type: path
      key_type:
        description: Kind of the private key.
        type: str
        choices: [ecdsa, rsa]
        default: ecdsa
      challenge_dir:
        description: Folder in the proxy's container from which it serves C(/.well-known/acme-challenge/).
        type: path
        default: /var/www/certbot
      authenticator:
        description: Options of certbot with which it proves the domain in another way, such as by DNS.
        type: list
        elements: str
        default: []
  services:
    description: The services that serve the certificate.
    type: list
    elements: str
    required: true
  tls_dir:
    description: Folder that gets C(fullchain.pem) and C(privkey.pem).
    type: path
    required: true
  folder:
    description: Folder for the hook and its settings.
    type: path
    required: true
  lock:
    description: The deployments' lock, as for M(residency.scheduler.deploy_lock).
    type: path
    required: true
  timeout:
    description: Seconds that certbot may take.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Have a certificate issued by Let's Encrypt
  residency.scheduler.acme_certificate:
    name: residency-scheduler
    domain: scheduler.example.com
    acme: {agree_terms: true, email: operations@example.com}
    services: [nginx]
    tls_dir: /var/lib/residency-scheduler/tls
    folder: /var/lib/residency-scheduler/acme
    lock: /run/residency-scheduler/residency-scheduler.lock

- name: Try it with Let's Encrypt's staging
  residency.scheduler.acme_certificate:
    name: residency-scheduler
    domain: scheduler.example.com
    acme:
      agree_terms: true
      directory: https://acme-staging-v02.api.letsencrypt.org/directory
    services: [nginx]
    tls_dir: /var/lib/residency-scheduler/tls
    folder: /var/lib/residency-scheduler/acme
    lock: /run/residency-scheduler/residency-scheduler.lock
"""

RETURN = r"""
reason:
  description: Why a certificate was to be issued; empty if the present one will do.
  returned: success
  type: str
  sample: there is none yet
not_after:
  description: Until when the certificate in place is valid; empty without one.
  returned: success
  type: str
  sample: "2026-11-30T12:00:00+00:00"
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import acme, acme_hook, tls
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text, write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem, finish

ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "domain": {"type": "str", "required": True},
    "acme": acme.SPEC,
    "services": {"type": "list", "elements": "str", "required": True},
    "tls_dir": {"type": "path", "required": True},
    "folder": {"type": "path", "required": True},
    "lock": {"type": "path", "required": True},
    "timeout": {"type": "int", "default": 300},
}
LOG = "/var/log/letsencrypt/letsencrypt.log"
LIVE = "/etc/letsencrypt/live"
WHAT = "Having a certificate issued failed"


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner, now: datetime, live: str = LIVE) -> dict[str, Any]:
    """Read, decide, and have a certificate issued and put in place."""
    name, domain, folder = (str(parameters[key]) for key in ("name", "domain", "folder"))
    if not parameters["acme"]["agree_terms"]:
        raise Problem(WHAT, "nobody has agreed to the authority's terms of service", "Read them, then set agree_terms: true.")
    files = _files(parameters, f"{live}/{name}")
    command = acme.certbot_command(name, domain, f"{folder}/hook.py", parameters["acme"])
    before = read(parameters, f"{live}/{name}")
    plan = acme.decide(domain, command, before, now)
    differing = {path: text for path, text in files.items() if read_text(path) != text}
    answer: dict[str, Any] = {"changed": bool(differing) or plan.install, "reason": plan.issue}
    if check_mode or not answer["changed"]:
        return {**answer, "not_after": _until(before)}
    for path, text in differing.items():
        write_text(path, text, 0o644)
    try:
        if plan.issue:
            _issue(command, parameters, runner)
        if plan.issue or plan.install:
            _install(parameters, runner, f"{live}/{name}")
    except Problem as problem:
        if not plan.kept:
            raise
        answer["warnings"] = [f"{problem.message()} The certificate in place stays; it is valid until {_until(before)}."]
        answer["changed"] = bool(differing)
    return {**answer, "not_after": _until(read(parameters, f"{live}/{name}"))}


def _files(parameters: Mapping[str, Any], lineage: str) -> dict[str, str]:
    """Return the texts of the hook and of its settings, by path."""
    settings = acme_hook.Settings(
        project=parameters["name"],
        proxies=parameters["services"],
        challenge_dir=parameters["acme"]["challenge_dir"],
        tls_dir=parameters["tls_dir"],
        lineage=lineage,
        lock=parameters["lock"],
    )
    # The loader is asked, not the file: on a managed host our modules lie in a zip archive.
    loader: Any = acme_hook.__loader__
    hook = str(loader.get_source(acme_hook.__name__))
    folder = parameters["folder"]
    return {f"{folder}/hook.py": hook, f"{folder}/settings.json": json.dumps(asdict(settings), indent=2) + "\n"}


def read(parameters: Mapping[str, Any], lineage: str) -> acme.Present:
    """Return what is on the server."""
    record = read_text(f"{parameters['folder']}/issued.json")
    return acme.Present(
        installed=_certificate(parameters["tls_dir"]),
        newest=_certificate(lineage),
        command=tuple(json.loads(record)) if record else (),
        in_place=acme_hook.read_pair(parameters["tls_dir"]) == acme_hook.read_pair(lineage),
    )


def _certificate(folder: str) -> tls.Certificate | None:
    """Return the certificate of a folder's pair; None without one, or where it cannot be served."""
    pair = f"{folder}/fullchain.pem", f"{folder}/privkey.pem"
    with contextlib.suppress(OSError, TypeError, ValueError):
        return tls.read(pair[0]) if tls.is_key_of(pair[1], pair[0]) else None
    return None


def _until(present: acme.Present) -> str:
    return present.installed.not_after.isoformat() if present.installed else ""


def _issue(command: list[str], parameters: Mapping[str, Any], runner: Runner) -> None:
    """Run certbot, and note by which command the certificate was issued."""
    with acme.answering(f"{parameters['folder']}/challenge") as alone:
        result = runner.run([*command, *acme.account(parameters["acme"]["email"])], timeout=float(parameters["timeout"]))
    who = "this run itself answered on port 80, since nothing listened there" if alone else "who listens on port 80 had to answer"
    url = f"http://{parameters['domain']}/{acme_hook.WELL_KNOWN}/"
    remedy = f"Where the challenge failed, {who}; the authority has to reach {url}. docs/tls.md tells more, and so does {LOG}."
    require(replace(result, stderr=acme.told(result.stdout, result.stderr)), WHAT, remedy)
    write_text(f"{parameters['folder']}/issued.json", json.dumps(command) + "\n", 0o644)


def _install(parameters: Mapping[str, Any], runner: Runner, lineage: str) -> None:
    """Put the newest pair in place: certbot's own call of the hook leaves a certificate of another kind alone."""
    hook = ["/usr/bin/python3", f"{parameters['folder']}/hook.py", "deploy", "--replace"]
    remedy = f"The certificate is in {lineage}. Correct what is named, then run this again."
    require(runner.run(hook, timeout=180), "Putting the certificate in place failed", remedy)


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if module.params["acme"]["ca_file"]:
        os.environ["REQUESTS_CA_BUNDLE"] = module.params["acme"]["ca_file"]
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner(), datetime.now(UTC)))


if __name__ == "__main__":
    main()
