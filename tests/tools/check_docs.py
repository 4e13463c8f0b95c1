"""Has every module and role documentation, does the action group list the modules that take a project, is docs/checklist.md whole, and
does every link of a document lead somewhere, and does README.md name all that there is?"""

from __future__ import annotations

import json
import re
import subprocess
import sys

import documents
import yaml
from steps import ROOT, environment, tracked

COLLECTION = "residency.scheduler"
#: The document that is automated, as its authors wrote it; its links lead to the application's documents.
CHECKLIST = "docs/deployment-checklist.md"


def documented(kind: str, names: list[str]) -> tuple[set[str], str]:
    """Return the names that ansible-doc has documentation for, and what it complained about."""
    if not names:
        return set(), ""
    words = [f"{COLLECTION}.{name}" for name in names]
    answer = subprocess.run(
        ["ansible-doc", "--type", kind, "--json", *words], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    try:
        found = json.loads(answer.stdout or "{}")
    except ValueError:
        return set(), answer.stderr.strip() or answer.stdout[:500]
    described = {name for name, entry in found.items() if entry.get("doc") or entry.get("entry_points")}
    return {name.removeprefix(f"{COLLECTION}.") for name in described}, answer.stderr.strip()


def variables() -> set[str]:
    """Return the names of the roles' public variables."""
    paths = (ROOT / "roles").glob("*/meta/argument_specs.yml")
    entries = [entry for path in paths for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values()]
    return {name for entry in entries for name in entry.get("options") or {}}


def checklist() -> list[str]:
    """Return the lines of the checklist that docs/checklist.md lacks, and whatever it names that does not exist."""
    text = (ROOT / "docs" / "checklist.md").read_text(encoding="utf-8")
    reported = "".join((ROOT / "roles" / role / "vars" / "main.yml").read_text(encoding="utf-8") for role in ("verify", "scheduler"))
    lines = set(re.findall(r"^ +- id: (\S+)", reported, re.MULTILINE))
    rows = re.findall(r"`((?:pre|post|rollback|tasks)\.[\w.]+)`", text)
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}
    findings = [f"docs/checklist.md lacks {name}" for name in sorted(lines - set(rows))]
    findings += [f"docs/checklist.md: no line has the id {name}" for name in sorted(set(rows) - lines)]
    paths = re.findall(r"`(playbooks/[\w./]+)`", text)
    findings += [f"docs/checklist.md: no {path}" for path in sorted(set(paths)) if not (ROOT / path).is_file()]
    named = {name for row in documents.rows_of(text) for name in re.findall(r"`([a-z]+_[a-z_]+)(?:: [^`]*)?`", row.cells[1])}
    findings += [f"docs/checklist.md: no module or variable {name}" for name in sorted(named - modules - variables())]
    whole = (ROOT / CHECKLIST).read_text(encoding="utf-8")
    told = documents.unmapped(whole, text) + documents.unproven(text, lambda path: (ROOT / path).is_file())
    return findings + [f"docs/checklist.md: {finding}" for finding in told + documents.overlooked(whole, text)]


def links() -> list[str]:
    """Return the links of our documents that lead nowhere; one that is planted has to be among them."""
    texts = {str(path): (ROOT / path).read_text(encoding="utf-8") for path in tracked() if path.suffix == ".md" and str(path) != CHECKLIST}
    planted = documents.broken({"planted.md": "# A\n[b](#b)"}, resolve)
    return documents.broken(texts, resolve) + ([] if planted else ["a link that leads nowhere is not noticed"])


def readme(modules: list[str], roles: list[str]) -> list[str]:
    """Return the modules, roles and playbooks that README.md does not name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [*modules, *(f"playbooks/{path.name}" for path in sorted((ROOT / "playbooks").glob("*.yml")))]
    lacking = [name for name in names if f"`{name}`" not in text] + [role for role in roles if f"(roles/{role}/README.md)" not in text]
    return [f"README.md does not name {name}" for name in lacking]


def resolve(document: str, path: str) -> str | None:
    """Return the path that a link of *document* means, from the root; None where nothing is there."""
    target = (ROOT / document).parent / path
    return str(target.resolve().relative_to(ROOT)) if target.exists() else None


def main() -> int:
    """Print each finding; 1 if there is any."""
    modules = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
    roles = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
    findings = []
    for kind, names in (("module", modules), ("role", roles)):
        found, complaints = documented(kind, names)
        findings += [f"{kind} {name} has no documentation that ansible-doc can read" for name in names if name not in found]
        findings += [complaints] if complaints else []
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    group = runtime["action_groups"]["scheduler"]
    # A default for the group reaches each of its modules, and one that does not know the option fails.
    grouped = [name for name in modules if '"project": PROJECT_SPEC' in (ROOT / f"plugins/modules/{name}.py").read_text(encoding="utf-8")]
    findings += [f"meta/runtime.yml: the action group lacks {name}" for name in grouped if name not in group]
    findings += [f"meta/runtime.yml: the action group lists {name}, which takes no project" for name in group if name not in grouped]
    findings += [] if group == sorted(group) else ["meta/runtime.yml: the action group is not sorted"]
    findings += checklist() + links() + readme(modules, roles)
    print("\n".join(findings) or f"{len(modules)} modules and {len(roles)} roles are documented")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
