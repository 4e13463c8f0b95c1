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

#: The storage driver whose layers are folders that Docker's inspection names (docs.docker.com, OverlayFS storage driver).
_OVERLAY = "overlay2"
#: Larger files are an application's data, and are not read.
_LARGEST = 1_000_000
#: Folders with thousands of other people's files.
_FOREIGN = frozenset({"node_modules", "site-packages"})


def layers(image: Mapping[str, Any]) -> list[str]:
    """Return the folder of each layer of an image; none where the storage driver does not tell them.

    :arg image: what ``docker image inspect`` tells of it.
    """
    driver = image.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    if driver.get("Name") != _OVERLAY or not data.get("UpperDir"):
        return []
    return [data["UpperDir"], *filter(None, str(data.get("LowerDir") or "").split(":"))]


def search(image: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the paths under the image's working directory that hold a secret, by the secrets' names."""
    folder = str((image.get("Config") or {}).get("WorkingDir") or "").strip("/")
    forms = {name: [form.encode() for form in values] for name, values in wanted.items()}
    found: dict[str, set[str]] = {}
    # Without one, it would be the whole image.
    for layer in layers(image) if folder else []:
        for path in _files(layer, folder):
            content = _read(path)
            for name in (name for name, values in forms.items() if any(value in content for value in values)):
                found.setdefault(name, set()).add(path[len(layer) :])
    return {name: sorted(paths) for name, paths in sorted(found.items())}


def _files(root: str, folder: str) -> Iterator[str]:
    start = root
    for name in folder.split("/"):
        start = os.path.join(start, name)
        # A link in the image would lead to the host's own files.
        if os.path.islink(start) or not os.path.isdir(start):
            return
    for path, folders, names in os.walk(start):
        folders[:] = [name for name in folders if name not in _FOREIGN]
        yield from (os.path.join(path, name) for name in names)


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
