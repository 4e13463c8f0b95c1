#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges a certificate and its key before they replace another pair."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_check
short_description: Find every reason not to serve a certificate, before it is installed
version_added: 0.5.0
description:
  - Looks whether the two files can be read, whether the key is the certificate's, whether it is for the domain, and for how long.
  - Does not fail for what it finds; M(residency.scheduler.preflight_check) tells it together with the rest.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - cryptography
extends_documentation_fragment:
  - residency.scheduler.attributes.read_only
options:
  fullchain:
    description: PEM file with the certificate first, and those of its issuers after it.
    type: path
    required: true
  privkey:
    description: PEM file with the private key, without a passphrase.
    type: path
    required: true
  domain:
    description: Name that the certificate has to be for.
    type: str
    required: true
  days:
    description: Days for which it has to be valid still.
    type: int
    default: 7
  warn_days:
    description: Days for which it should be valid still; fewer are a warning.
    type: int
    default: 30
    version_added: 0.6.0
"""

EXAMPLES = r"""
- name: Judge the certificate that is to be installed
  residency.scheduler.certificate_check:
    fullchain: /etc/ssl/scheduler/fullchain.pem
    privkey: /etc/ssl/scheduler/privkey.pem
    domain: scheduler.example.com
  register: certificate
"""

RETURN = r"""
findings:
  description: The reasons not to serve it.
  returned: always
  type: list
  elements: dict
  sample:
    - subject: certificate
      found: one that ended on 2025-12-01
      wanted: one that is valid for 7 days or more
      remedy: "Renew /etc/ssl/scheduler/fullchain.pem."
      severity: stops
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils import tls
from ansible_collections.residency.scheduler.plugins.module_utils.finding import WARNS, Finding
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish


def run(parameters: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Read the files, and judge them."""
    return {"changed": False, "findings": [finding.to_dict() for finding in judge(parameters, now)]}


def judge(parameters: Mapping[str, Any], now: datetime) -> list[Finding]:
    """Return the reasons not to serve the certificate."""
    fullchain, privkey, domain = str(parameters["fullchain"]), str(parameters["privkey"]), str(parameters["domain"])
    findings = []
    try:
        certificate = tls.read(fullchain)
    except (OSError, ValueError) as error:
        found = f"{fullchain}, which cannot be read ({_brief(error)})"
        return [Finding("certificate", found, "a PEM file", "Correct its path or its content.")]
    if not tls.covers(certificate.names, domain):
        names = ", ".join(certificate.names) or "no name"
        remedy = "Have one issued for it, or correct scheduler_domain."
        findings.append(Finding("certificate", f"one for {names}", f"one for {domain}", remedy))
    findings += _lifetime(certificate, parameters, now)
    try:
        if not tls.is_key_of(privkey, fullchain):
            remedy = "Bring the pair together; the first certificate in the file has to be the server's own."
            findings.append(Finding("certificate", f"the key {privkey} of another certificate", f"the key of {fullchain}", remedy))
    except (OSError, TypeError, ValueError) as error:
        found = f"{privkey}, which cannot be read ({_brief(error)})"
        findings.append(Finding("certificate", found, "a private key in PEM form without a passphrase", "Correct its path or its content."))
    return findings


def _lifetime(certificate: tls.Certificate, parameters: Mapping[str, Any], now: datetime) -> list[Finding]:
    until, renew = f"{certificate.not_after:%Y-%m-%d}", f"Renew {parameters['fullchain']}."
    wanted = "one that is valid for {} days or more"
    if certificate.not_before > now:
        remedy = "Look at the clocks, or take another one."
        return [Finding("certificate", f"one that begins on {certificate.not_before:%Y-%m-%d}", "one that is valid", remedy)]
    if certificate.not_after <= now:
        return [Finding("certificate", f"one that ended on {until}", wanted.format(parameters["days"]), renew)]
    if certificate.not_after < now + timedelta(days=parameters["days"]):
        return [Finding("certificate", f"one that ends on {until}", wanted.format(parameters["days"]), renew)]
    if certificate.not_after < now + timedelta(days=parameters["warn_days"]):
        return [Finding("certificate", f"one that ends on {until}", wanted.format(parameters["warn_days"]), renew, WARNS)]
    return []


def _brief(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error).splitlines()[0][:120].rstrip(".")


def main() -> None:
    """Wire parameters and result together."""
    module = AnsibleModule(
        argument_spec={
            "fullchain": {"type": "path", "required": True},
            "privkey": {"type": "path", "required": True, "no_log": False},
            "domain": {"type": "str", "required": True},
            "days": {"type": "int", "default": 7},
            "warn_days": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, datetime.now(UTC)))


if __name__ == "__main__":
    main()
