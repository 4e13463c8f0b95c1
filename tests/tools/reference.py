"""Build the reference of modules and roles as HTML into .cache/reference, by antsibull-docs and Sphinx; a warning about our own text fails.

Links to other projects' documents cannot be looked up where those are not in reach: these warnings alone are let pass.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from in_place import COLLECTION, Failure, call, clone
from steps import ROOT

FOLDER = ROOT / ".cache" / "reference"
#: What Sphinx says of other projects' documents that it could not fetch, and of the labels in them.
ELSEWHERE = re.compile(r"failed to reach any of the inventories|intersphinx inventory|undefined label: '(?!ansible_collections\.residency)")


def warnings(text: str) -> list[str]:
    """Return the warnings that are about our own text. Pure."""
    lines = [line for line in text.splitlines() if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)]
    return [line for line in lines if not ELSEWHERE.search(line)]


def without_templates(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a role's argument spec with what antsibull-docs cannot read, a template as the default of no string, told in words. Pure."""
    changed: dict[str, Any] = json.loads(json.dumps(spec))
    for entry_point in changed["argument_specs"].values():
        for option in (entry_point.get("options") or {}).values():
            default = option.get("default")
            if isinstance(default, str) and "{{" in default and option.get("type", "str") not in ("str", "path"):
                del option["default"]
                described = option["description"] if isinstance(option["description"], list) else [option["description"]]
                told = default.strip().replace("\\", "\\\\").replace(")", "\\)")
                option["description"] = [*described, f"By default V({told})."]
    return changed


def build(folder: Path) -> list[str]:
    """Build the pages, and return the warnings that are ours."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "rst").mkdir(parents=True)
    for each in (folder, folder / "rst"):
        each.chmod(0o700)
    with clone() as checkout:
        for path in (checkout / "roles").glob("*/meta/argument_specs.yml"):
            spec = without_templates(yaml.safe_load(path.read_text(encoding="utf-8")))
            path.write_text(yaml.safe_dump(spec, width=1000), encoding="utf-8")
        at = {"ANSIBLE_COLLECTIONS_PATH": str(checkout / "collections"), "ANSIBLE_CONFIG": None}
        common = ["--use-current", "--squash-hierarchy"]
        call(["antsibull-docs", "sphinx-init", *common, COLLECTION, "--dest-dir", str(folder), "--project", COLLECTION], checkout, **at)
        options = [*common, "--cleanup", "everything", "--dest-dir", "rst"]
        told = call(["antsibull-docs", "--config-file", "antsibull-docs.cfg", "collection", *options, COLLECTION], folder, **at)
    report = folder / "warnings.txt"
    call(["sphinx-build", "-q", "-b", "html", "-c", ".", "-w", str(report), "--keep-going", "rst", "build/html"], folder)
    return warnings(told + report.read_text(encoding="utf-8"))


def main() -> int:
    """Build, and print each finding; 1 if there is any."""
    try:
        findings = build(FOLDER)
    except (Failure, subprocess.SubprocessError) as failure:
        findings = [str(failure)]
    pages = list((FOLDER / "build/html").glob("*.html"))
    names = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
    lacking = sorted(names - {path.name.removesuffix("_module.html") for path in pages})
    findings += [f"there is no page of the module {name}" for name in lacking]
    print("\n".join(findings) or f"{len(pages)} pages: {FOLDER.relative_to(ROOT)}/build/html/index.html")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
