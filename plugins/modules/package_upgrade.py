#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades installed packages, but for those that have to stay."""

from __future__ import annotations

DOCUMENTATION = r"""
module: package_upgrade
short_description: Upgrade installed packages, but for those that have to stay
version_added: 0.6.0
description:
  - Installs the upgrades that apt has for the installed packages. Packages that match O(keep) stay at their version during this one
    call; no hold and no pin is left behind, however the call ends.
  - An upgrade of Docker or containerd may restart it under the containers that run. This is how a deployment upgrades the rest.
  - The lists of packages are not read anew; M(ansible.builtin.apt) with C(update_cache) does that.
author:
  - Residency Scheduler operations team (@residency-scheduler)
requirements:
  - apt-get, as on Debian and Ubuntu
attributes:
  check_mode:
    support: full
    description: Tells which upgrades would be installed.
  diff_mode:
    support: full
    description: Shows the packages with their versions.
  idempotent:
    support: full
    description: What apt has no upgrade for is left alone.
options:
  upgrade:
    description:
      - V(safe) removes no package (C(apt-get upgrade --with-new-pkgs)). V(full) removes what stands in the way of an upgrade
        (C(apt-get dist-upgrade)).
    type: str
    choices: [safe, full]
    default: safe
  keep:
    description: Packages that stay as they are, also by pattern (V(docker*)).
    type: list
    elements: str
    default: []
  lock_timeout:
    description: Seconds to wait for another user of apt.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Upgrade the server without restarting Docker
  residency.scheduler.package_upgrade:
    keep: [docker*, containerd*, runc]

- name: Upgrade everything in a maintenance window
  residency.scheduler.package_upgrade:
    upgrade: full
"""

RETURN = r"""
upgraded:
  description: The upgrades that were installed, or would be.
  returned: always
  type: list
  elements: str
  sample: [openssl 3.0.16-1 -> 3.0.17-1]
kept:
  description: The upgrades that O(keep) kept away.
  returned: always
  type: list
  elements: str
  sample: [docker.io 26.1.5 -> 26.1.6]
removed:
  description: The packages that were removed, or would be.
  returned: always
  type: list
  elements: str
  sample: []
"""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, SubprocessRunner, require
from ansible_collections.residency.scheduler.plugins.module_utils.files import read_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import finish

#: The one file of pins that apt reads before those in preferences.d; of two that match a package the first one counts.
_PREFERENCES = "/etc/apt/preferences"
#: needrestart, where it is installed, would restart services after the upgrade; it lists them.
_ENVIRONMENT = ("env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l")
_WORDS = {"safe": ("upgrade", "--with-new-pkgs"), "full": ("dist-upgrade",)}
_CHANGE = re.compile(r"^(Inst|Remv) (\S+)(?: \[(\S+)\])?(?: \((\S+))?", re.MULTILINE)
_SIMULATE_SECONDS = 60.0
_UPGRADE_SECONDS = 1800.0


@dataclass(frozen=True)
class Change:
    """What apt would do with a package; no *old* version where it would be new, no *new* one where it would be removed."""

    name: str
    old: str
    new: str

    def told(self) -> str:
        """Return it for a person."""
        return f"{self.name} {self.old} -> {self.new}" if self.old and self.new else f"{self.name} {self.new or self.old}"


def parse(text: str) -> list[Change]:
    """Parse what ``apt-get --simulate`` prints. Pure."""
    found = _CHANGE.findall(text)
    return [Change(name, old, new if action == "Inst" else "") for action, name, old, new in found]


def is_kept(name: str, keep: Sequence[str]) -> bool:
    """Tell whether a package is one of those that stay. Pure."""
    return any(fnmatchcase(name.partition(":")[0], pattern) for pattern in keep)


def pins(keep: Sequence[str], present: str) -> str:
    """Return the preferences by which apt has no candidate for the packages that stay; *present* are those of the host. Pure."""
    return f"Package: {' '.join(keep)}\nPin: release *\nPin-Priority: -1\n\n{present}"


def command(upgrade: str, lock_timeout: int, options: Sequence[str] = ()) -> list[str]:
    """Return the command. Pure."""
    always = ["--assume-yes", "-o", f"DPkg::Lock::Timeout={lock_timeout}"]
    files = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
    return [*_ENVIRONMENT, "apt-get", *always, *files, *options, *_WORDS[upgrade]]


def run(parameters: Mapping[str, Any], check_mode: bool, runner: Runner) -> dict[str, Any]:
    """Look what apt would do, and let it do that without what has to stay."""
    upgrade, keep, lock_timeout = parameters["upgrade"], parameters["keep"], parameters["lock_timeout"]

    def apt(options: Sequence[str], seconds: float) -> str:
        remedy = "Look at `apt-get --simulate upgrade`; `dpkg --configure -a` and `apt-get -f install` mend what was cut."
        return require(runner.run(command(upgrade, lock_timeout, options), timeout=seconds), "Upgrading failed", remedy).stdout

    changes = parse(apt(["--simulate"], _SIMULATE_SECONDS))
    kept = [change for change in changes if is_kept(change.name, keep)]
    with tempfile.NamedTemporaryFile("w", prefix="residency-pins-", encoding="utf-8") as preferences:
        pinned: list[str] = []
        if kept:
            preferences.write(pins(keep, read_text(_PREFERENCES)))
            preferences.flush()
            os.chmod(preferences.name, 0o644)
            pinned = ["-o", f"Dir::Etc::Preferences={preferences.name}"]
            changes = parse(apt(["--simulate", *pinned], _SIMULATE_SECONDS))
        if changes and not check_mode:
            apt(pinned, _UPGRADE_SECONDS)
    return {
        "changed": bool(changes),
        "upgraded": [change.told() for change in changes if change.new],
        "removed": [change.told() for change in changes if not change.new],
        "kept": [change.told() for change in kept],
        "diff": {"before": _lines(changes, "old"), "after": _lines(changes, "new")},
    }


def _lines(changes: Sequence[Change], side: str) -> str:
    return "".join(f"{change.name} {getattr(change, side)}\n" for change in changes if getattr(change, side))


def main() -> None:
    """Wire parameters, adapters and result together."""
    module = AnsibleModule(
        argument_spec={
            "upgrade": {"type": "str", "choices": ["safe", "full"], "default": "safe"},
            "keep": {"type": "list", "elements": "str", "default": []},
            "lock_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: run(module.params, module.check_mode, SubprocessRunner()))


if __name__ == "__main__":
    main()
