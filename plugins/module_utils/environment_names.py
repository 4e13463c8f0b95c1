# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of an environment against those that a release knows. Pure; no value is looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ansible_collections.residency.scheduler.plugins.module_utils.dotenv import Example
from ansible_collections.residency.scheduler.plugins.module_utils.finding import WARNS, Finding


def check_names(
    given: Mapping[str, Collection[str]], example: Example, used: Collection[str], previous: Collection[str]
) -> list[Finding]:
    """Return a warning for each name that the release does not know, or is about to forget.

    :arg given: the names by the variable that has them.
    :arg used: the names in the release's compose files.
    :arg previous: the names in the environment of the release that serves.
    """
    if not example.known:
        remedy = "Correct environment_example, or have the release bring one."
        return [Finding("environment_example", "no names in the release's example file", "the names of the settings", remedy, WARNS)]
    known = {*example.known, *used}
    findings = []
    for variable, name in ((variable, name) for variable, names in given.items() for name in sorted(names)):
        subject = f"{variable}.{name}"
        if name in example.deprecated:
            said = example.deprecated[name]
            found = f"a name that this release calls deprecated ({said})"
            findings.append(Finding(subject, found, "a name that stays", f"Replace it before a later release forgets {name}.", WARNS))
        elif name not in known and name in previous:
            found = "a deprecated name, which the release that serves knew, and this one does not"
            findings.append(Finding(subject, found, "a name of its example or compose files", "Replace it, or take it out.", WARNS))
        elif name not in known:
            found = "a name that this release does not know"
            findings.append(Finding(subject, found, "a name of its example or compose files", "Correct it, or take it out.", WARNS))
    gone = sorted({*previous} - known - {name for names in given.values() for name in names})
    if gone:
        found = f"{', '.join(gone)} of the release that serves, which this one does not know"
        remedy = "They are left out; look whether other names have taken their place."
        findings.append(Finding("environment", found, "names of its example or compose files", remedy, WARNS))
    return findings
