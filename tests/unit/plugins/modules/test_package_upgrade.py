# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""package_upgrade: what apt's simulation says, what stays, and that nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import package_upgrade
from ansible_collections.residency.scheduler.plugins.modules.package_upgrade import Change

DOCKER = ("docker*", "containerd*", "runc")
PROBE = "Inst residency-probe [1] (2 Debian-Security:stable-security [all])\nConf residency-probe (2 Debian [all])\n"
BOTH = "Inst docker.io [26.1.5] (99 Debian-Security:stable-security [all])\n" + PROBE
PARAMETERS: dict[str, Any] = {"upgrade": "safe", "keep": list(DOCKER), "lock_timeout": 5}


def test_what_apt_prints(recorded) -> None:
    assert package_upgrade.parse(recorded("apt-2.6-simulate-changes-and-removals.txt")) == [
        Change("docker-cli", "26.1.5+dfsg1-9+deb13u1+b1", ""),
        Change("systemd-timesyncd", "252.39-1~deb12u2", ""),
        Change("chrony", "", "4.3-2+deb12u3"),
        Change("docker.io", "26.1.5+dfsg1-9+deb13u1+b1", "20.10.24+dfsg1-1+deb12u1+b6"),
        Change("cgroupfs-mount", "", "1.4"),
    ]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("docker.io", True),
        ("docker-ce-cli", True),
        ("containerd.io", True),
        ("runc", True),
        ("runc:amd64", True),
        ("runcible", False),
        ("python3-docker", False),
        ("libdocker", False),
    ],
)
def test_what_goes_by_as_docker(name: str, kept: bool) -> None:
    assert package_upgrade.is_kept(name, DOCKER) is kept


def test_ours_come_before_the_pins_of_the_host() -> None:
    text = package_upgrade.pins(DOCKER, "Package: x\nPin: release *\nPin-Priority: 990\n")
    assert text.startswith("Package: docker* containerd* runc\nPin: release *\nPin-Priority: -1\n\nPackage: x\n")


def test_nothing_to_upgrade_is_one_look(runner) -> None:
    fake = runner(("--simulate upgrade --with-new-pkgs", "0 upgraded\n"))
    result = package_upgrade.run(PARAMETERS, False, fake)
    assert (result["changed"], result["upgraded"], result["kept"]) == (False, [], [])


def test_without_docker_nothing_is_pinned(runner) -> None:
    fake = runner(("--simulate dist-upgrade", PROBE), ("dist-upgrade", "done"))
    result = package_upgrade.run({**PARAMETERS, "upgrade": "full"}, False, fake)
    assert result["upgraded"] == ["residency-probe 1 -> 2"]
    assert "Preferences" not in " ".join(fake.calls[1][0])


class Apt:
    """Answers as apt does, as long as the pins that it is pointed to say so."""

    def __init__(self) -> None:
        self.pins: list[str] = []
        self.upgrades = 0

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Simulate, or count an upgrade."""
        paths = [word.partition("=")[2] for word in argv if word.startswith("Dir::Etc::Preferences=")]
        for path in paths:
            with open(path, encoding="utf-8") as stream:
                assert stream.read().startswith("Package: docker* containerd* runc\n")
        self.pins += paths
        if "--simulate" not in argv:
            assert paths, "an upgrade without the pins would take Docker too"
            self.upgrades += 1
        return CommandResult(tuple(argv), 0, PROBE if paths else BOTH, "", 0.1)


@pytest.mark.parametrize("check_mode", [True, False])
def test_docker_stays_and_the_rest_is_upgraded(check_mode: bool) -> None:
    apt = Apt()
    result = package_upgrade.run(PARAMETERS, check_mode, apt)
    assert result["kept"] == ["docker.io 26.1.5 -> 99"]
    assert result["upgraded"] == ["residency-probe 1 -> 2"]
    assert result["diff"] == {"before": "residency-probe 1\n", "after": "residency-probe 2\n"}
    assert apt.upgrades == (0 if check_mode else 1)
    assert apt.pins
    assert not any(os.path.exists(path) for path in apt.pins)


def test_a_removal_is_told(runner) -> None:
    fake = runner(("--simulate dist-upgrade", "Remv old [1] \n" + PROBE))
    result = package_upgrade.run({**PARAMETERS, "upgrade": "full"}, True, fake)
    assert result["removed"] == ["old 1"]
    assert result["diff"]["before"] == "old 1\nresidency-probe 1\n"


def test_a_failure_tells_what_apt_said(runner) -> None:
    failed = CommandResult(("apt-get",), 100, "", "E: dpkg was interrupted", 0.1)
    with pytest.raises(Problem) as caught:
        package_upgrade.run(PARAMETERS, False, runner(("--simulate", failed)))
    assert "E: dpkg was interrupted" in caught.value.message()
    assert "dpkg --configure -a" in caught.value.message()
