"""Prometheus's tools and daemons of the bed's image, and the files under test."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "roles/monitoring/files/alerts.yml"
IMAGE = "residency-bed/prometheus:2"


def rules() -> dict[str, dict[str, Any]]:
    """Return our alerts by name."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}


def tool(folder: Path, *words: str, data: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool or amtool in a container whose working directory is *folder*; errors are in stdout as well."""
    command = ["docker", "run", "--rm", "--interactive", "--network=none", "--volume", f"{folder}:{folder}:ro", "--workdir", str(folder)]
    done = subprocess.run([*command, IMAGE, *words], input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode < 125, f"{' '.join(words)} could not be run:\n{done.stdout}"
    return done
