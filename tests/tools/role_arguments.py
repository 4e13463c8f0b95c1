"""Do the roles' defaults agree with their argument specs?

Every default is an option, every option's default is the one in defaults/main.yml, every option begins with the role's name or with
``scheduler_`` (stack-wide), and every role has a spec.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from steps import ROOT


def load(path: Path) -> dict[str, Any]:
    """Return the YAML mapping in *path*; empty if there is no file."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def compare(role: str, defaults: dict[str, Any], options: dict[str, dict[str, Any]]) -> list[str]:
    """Return what does not agree. Pure."""
    findings = [f"{role}: {name} has a default, but is no option of the argument spec" for name in defaults if name not in options]
    for name, option in options.items():
        if not name.startswith((f"{role}_", "scheduler_")):
            findings.append(f"{role}: option {name} begins with neither {role}_ nor scheduler_")
        if "default" in option and name not in defaults:
            findings.append(f"{role}: the argument spec gives {name} a default, defaults/main.yml does not")
        elif name in defaults and "default" not in option:
            findings.append(f"{role}: defaults/main.yml gives {name} a default, the argument spec does not")
        elif name in defaults and option["default"] != defaults[name]:
            findings.append(f"{role}: {name} is {defaults[name]!r} in defaults/main.yml, {option['default']!r} in the argument spec")
        if option.get("required") and "default" in option:
            findings.append(f"{role}: {name} is required and has a default")
    return findings


def main() -> int:
    """Print each finding; 1 if there is any."""
    findings = []
    roles = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
    for role in roles:
        specs = load(role / "meta" / "argument_specs.yml").get("argument_specs") or {}
        if "main" not in specs:
            findings.append(f"{role.name}: meta/argument_specs.yml has no entry point main")
        # An option may belong to another entry point (tasks_from) alone.
        options: dict[str, dict[str, Any]] = {}
        for spec in specs.values():
            options.update(spec.get("options") or {})
        findings += compare(role.name, load(role / "defaults" / "main.yml"), options)
    print("\n".join(findings) or f"{len(roles)} roles: defaults and argument specs agree")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
