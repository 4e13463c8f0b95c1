# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in the files of an image: what a build has copied into it, also where a later step has removed it again.

Only the image's working directory is looked at, which is where a build puts the application. Its base has other people's files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: The folders of an image's layers, in Docker's inspection (docs.docker.com, OverlayFS storage driver).
_LAYERS = "overlay2"
#: Larger files are an application's data, and are not read.
_LARGEST = 1_000_000
#: Folders with thousands of other people's files.
_FOREIGN = frozenset({"node_modules", "site-packages"})


def roots(image: Mapping[str, Any], pid: int) -> list[str]:
    """Return the folders that hold an image's files: one for each layer, or the file system of a container of it.

    :arg image: what ``docker image inspect`` tells of it.
    :arg pid: of a process in a container of it; 0 if none runs. Where the layers are not known it shows what is left of them in the end.
    """
    driver = image.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    if driver.get("Name") == _LAYERS and data.get("UpperDir"):
        return [data["UpperDir"], *str(data.get("LowerDir") or "").split(":")]
    return [f"/proc/{pid}/root"] if pid else []


def search(image: Mapping[str, Any], pid: int, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the paths under the image's working directory that hold a secret, by the secrets' names."""
    folder = str((image.get("Config") or {}).get("WorkingDir") or "").strip("/")
    forms = {name: [form.encode() for form in values] for name, values in wanted.items()}
    found: dict[str, set[str]] = {}
    # Without one, it is the whole image.
    for root in filter(None, roots(image, pid) if folder else []):
        for path in _files(root, folder):
            content = _read(path)
            for name in (name for name, values in forms.items() if any(value in content for value in values)):
                found.setdefault(name, set()).add(path[len(root) :])
    return {name: sorted(paths) for name, paths in sorted(found.items())}


def _files(root: str, folder: str) -> Iterator[str]:
    start = root
    for name in folder.split("/"):
        start = os.path.join(start, name)
        # A link in the image would lead to the host's own files.
        if os.path.islink(start) or not os.path.isdir(start):
            return
    device = _device(start)
    for path, folders, names in os.walk(start):
        # What is mounted there is no part of the image.
        folders[:] = [name for name in folders if name not in _FOREIGN and _device(os.path.join(path, name)) == device]
        yield from (os.path.join(path, name) for name in names)


def _device(path: str) -> int:
    try:
        return os.lstat(path).st_dev
    except OSError:  # gone since
        return -1


def _read(path: str) -> bytes:
    """Return a file's content; nothing of what is no file, too large, or gone."""
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            return b""
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""
