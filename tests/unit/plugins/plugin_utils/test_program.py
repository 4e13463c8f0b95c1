# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""program: same files, same bytes; and the real program runs by Python alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.residency.scheduler.plugins.plugin_utils.program import PACKAGE, build, needed


def texts(**modules: str) -> object:
    return modules.get


@pytest.mark.parametrize(
    ("modules", "names"),
    [
        ({"a": "import os\n"}, {"a"}),
        ({"a": f"from {PACKAGE} import b\n", "b": f"from {PACKAGE}.c import D\n", "c": "D = 1\n"}, {"a", "b", "c"}),
        ({"a": f"def f():\n    from {PACKAGE}.b import C\n", "b": f"from {PACKAGE} import a\n"}, {"a", "b"}),  # later, and in a circle
        ({"a": "from . import b\n"}, {"a"}),
    ],
)
def test_needed(modules: dict[str, str], names: set[str]) -> None:
    assert set(needed("a", modules.get)) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from ansible.module_utils.basic import AnsibleModule\n", "the module a imports ansible.module_utils.basic"),
        ("import ansible.errors\n", "the module a imports ansible.errors"),
        ("from ansible_collections.community.docker.plugins.module_utils.util import x\n", "which is not on the server"),
        (f"from {PACKAGE}.gone import x\n", "the module gone is not in"),
    ],
)
def test_what_is_not_on_the_server_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        needed("a", {"a": text}.get)


def test_the_program_runs_by_python_alone(tmp_path: Path) -> None:
    program = tmp_path / "monitor.pyz"
    program.write_bytes(build("monitor"))
    assert program.read_bytes() == build("monitor")
    helped = subprocess.run([sys.executable, "-I", "-S", program, "--help"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert helped.returncode == 0, helped.stderr
    assert "drill" in helped.stdout
    refused = subprocess.run([sys.executable, "-I", "-S", program, "health"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Reading the monitor's configuration failed: ")


def test_the_program_has_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    program = tmp_path / "monitor.pyz"
    program.write_bytes(build("monitor"))
    names = {Path(name).stem for name in zipfile.ZipFile(program).namelist()}
    assert {"monitor", "verification", "notification", "drill"} <= names
    assert not names & {"quiet_module", "options", "preflight", "security", "firewall"}
