# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for the server out of the collection's own files: one module of module_utils and all that it imports, as a zip file.

The program needs Python alone. Its bytes depend on the files alone: same files, same bytes.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import os
import zipfile
from collections.abc import Callable

PACKAGE = "ansible_collections.residency.scheduler.plugins.module_utils"
#: Zip files know no time before this.
_TIME = (1980, 1, 1, 0, 0, 0)
_MAIN = """\
import os
import sys

from {module} import main

sys.exit(main(sys.argv[1:], os.path.dirname(os.path.abspath(sys.argv[0]))))
"""

#: Returns the text of a module of module_utils by its name; None where there is no such module.
Source = Callable[[str], "str | None"]


def read_source(name: str) -> str | None:
    """Return the text of a module of this collection, wherever it is installed."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in found.submodule_search_locations or () if found else ():
        path = os.path.join(folder, f"{name}.py")
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as stream:
                return stream.read()
    return None


def needed(entry: str, source: Source) -> dict[str, str]:
    """Return the texts of *entry* and of every module that it imports, by name.

    :raises ValueError: a module is not there, or imports something of Ansible's own, which the server does not have.
    """
    texts: dict[str, str] = {}
    queue = [entry]
    while queue:
        name = queue.pop()
        if name in texts:
            continue
        text = source(name)
        if text is None:
            raise ValueError(f"the module {name} is not in {PACKAGE}")
        texts[name] = text
        for node in ast.walk(ast.parse(text)):
            queue += _imported(name, node, source)
    return texts


def _imported(name: str, node: ast.AST, source: Source) -> list[str]:
    """Return the modules of ours that a statement imports."""
    if isinstance(node, ast.Import):
        foreign = [alias.name for alias in node.names if alias.name.split(".")[0] in ("ansible", "ansible_collections")]
    elif isinstance(node, ast.ImportFrom) and (node.module or "") == PACKAGE:
        return [alias.name for alias in node.names if source(alias.name) is not None]
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
        return [str(node.module).removeprefix(f"{PACKAGE}.")]
    else:
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        foreign = [module] if module.split(".")[0] in ("ansible", "ansible_collections") else []
    if foreign:
        raise ValueError(f"the module {name} imports {foreign[0]}, which is not on the server")
    return []


def build(entry: str, source: Source = read_source) -> bytes:
    """Return the program: a zip file that Python runs, which calls ``main(words, folder)`` of the module *entry*.

    :raises ValueError: see :func:`needed`.
    """
    files = {f"{PACKAGE.replace('.', '/')}/{name}.py": text for name, text in needed(entry, source).items()}
    parts = PACKAGE.split(".")
    files |= {"/".join([*parts[:count], "__init__.py"]): "" for count in range(1, len(parts) + 1)}
    files["__main__.py"] = _MAIN.format(module=f"{PACKAGE}.{entry}")
    buffer = io.BytesIO()
    # Not compressed: compressors differ from one machine to the next.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, text in sorted(files.items()):
            info = zipfile.ZipInfo(path, _TIME)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, text)
    return buffer.getvalue()
