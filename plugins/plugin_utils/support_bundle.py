# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The support bundle: all that a diagnosis has seen, as one file for somebody else. The module has taken the secrets out."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ansible_collections.residency.scheduler.plugins.plugin_utils import diagnosis_text

MODE = 0o600


def path(folder: str, host: str, now: datetime) -> str:
    """Return where the bundle of *host* is written."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", host)
    return os.path.join(folder, f"{name}-diagnosis-{now:%Y%m%d%H%M%S}.tar.gz")


def contents(host: str, now: datetime, result: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of the bundle by their names. Pure."""
    shown = "\n".join(text for text, _colour in diagnosis_text.render({**result, "bundle": ""}, host))
    overview = {key: result[key] for key in ("causes", "notes", "unavailable", "parts", "seconds")}
    files = {
        "README.txt": f"Residency Scheduler, diagnosis of {host}, {now:%Y-%m-%d %H:%M:%S} UTC. Secrets are blotted out.\n{shown}",
        "diagnosis.json": _json({"host": host, "at": now.isoformat(timespec="seconds"), **overview}),
        "checks.json": _json(result["checks"]),
    }
    files |= {f"facts/{name}.json": _json(value) for name, value in result["facts"].items()}
    return files | {f"logs/{name}.txt": "\n".join(lines) + "\n" for name, lines in result["logs"].items()}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def write(where: str, host: str, now: datetime, result: Mapping[str, Any]) -> None:
    """Write the bundle, for nobody else to read; the folder is made.

    :raises OSError: it cannot be written.
    """
    os.makedirs(os.path.dirname(where), mode=0o750, exist_ok=True)
    top = os.path.basename(where).removesuffix(".tar.gz")
    descriptor = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in contents(host, now, result).items():
            data = text.encode()
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), MODE, now.timestamp()
            archive.addfile(entry, io.BytesIO(data))
