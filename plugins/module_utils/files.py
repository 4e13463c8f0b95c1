# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write small text files so that a reader sees the old or the new one, never a part."""

from __future__ import annotations

import os
import tempfile

from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem


def read_text(path: str) -> str:
    """Return the file's text; empty if there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"Reading {path} failed", str(error), "Look at the file's type, owner and mode.") from error


def write_text(path: str, text: str, mode: int) -> None:
    """Write *text* beside *path*, flush it to the disk, and rename it into place; parent folders are made (0755)."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
    except OSError as error:
        raise Problem(f"Writing {path} failed", str(error), "Look at the folder's mode, and at `df -h`.") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError as error:
        os.unlink(beside)
        raise Problem(f"Writing {path} failed", str(error), "The old file is intact. Look at `df -h`.") from error
