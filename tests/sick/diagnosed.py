"""Runs the diagnosis as an operator does, and reads what it said from the support bundle."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import time
from dataclasses import dataclass
from typing import Any

from deployed_server import ROOT, Server, ansible
from leaks import search


@dataclass(frozen=True)
class Diagnosed:
    """What a diagnosis said.

    :ivar bundle: the texts of the support bundle by their names; empty where none was written.
    :ivar told: seconds of the module, as it said; -1 where there was no bundle.
    :ivar seconds: of the whole playbook.
    """

    output: str
    causes: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    unavailable: dict[str, str]
    bundle: dict[str, str]
    told: float
    seconds: float

    def first(self) -> str:
        """Return id and subject of the first cause; empty where there is none."""
        return f"{self.causes[0]['id']} {self.causes[0]['subject']}".strip() if self.causes else ""


def diagnose(server: Server, *options: str, **variables: Any) -> Diagnosed:
    """Run diagnose.yml; it has to end well, change nothing, and show no secret, in the bundle neither."""
    for old in server.reports.glob("*"):
        old.unlink()
    extra = json.dumps({"scheduler_reports_dir": str(server.reports), **variables})
    command = [*ansible("ansible-playbook"), "-i", str(server.inventory), "-e", extra, "playbooks/diagnose.yml", *options]
    started = time.monotonic()
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    seconds = time.monotonic() - started
    output = answer.stdout + answer.stderr
    assert answer.returncode == 0, output
    assert re.search(r"changed=0 .*failed=0", output), output
    bundles = list(server.reports.glob("*.tar.gz"))
    texts: dict[str, str] = {}
    if bundles:
        assert bundles[0].stat().st_mode & 0o777 == 0o600
        with tarfile.open(bundles[0]) as archive:
            for entry in archive:
                content = archive.extractfile(entry)
                assert content is not None
                texts[entry.name.partition("/")[2]] = content.read().decode()
    assert search(server.secrets, {**texts, "what was printed": output}) == []
    said = json.loads(texts["diagnosis.json"]) if texts else {"causes": [], "notes": [], "unavailable": {}, "seconds": -1.0}
    if not texts:
        assert "Nothing is wrong" in output
    return Diagnosed(output, said["causes"], said["notes"], said["unavailable"], texts, said["seconds"], seconds)
