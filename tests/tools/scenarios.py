"""Run molecule's scenarios, two at a time, each as a process of its own."""

from __future__ import annotations

import os
import sys

from steps import ROOT, Step, conclude, run_all

SCENARIOS = tuple(sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")))


def step(name: str, needs: tuple[str, ...] = ()) -> Step:
    """Return the step that tests scenario *name*."""
    command = ["molecule", "test", "--scenario-name", name]
    variables = {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        # The step's log is a file; molecule's own is what is in it.
        "ANSIBLE_FORCE_COLOR": "0",
        "PY_COLORS": "0",
    }
    return Step(f"molecule {name}", command, needs, variables)


def main(names: list[str]) -> int:
    """Run the scenarios with these names; the all when there are none."""
    missing = [name for name in names if not (ROOT / "molecule" / name / "molecule.yml").exists()]
    if missing:
        print(f"ERROR: no scenario {', '.join(missing)}; there are {', '.join(SCENARIOS) or 'none'}", file=sys.stderr)
        return 2
    at_once = int(os.environ.get("RESIDENCY_AT_ONCE", "2"))
    return conclude(run_all([step(name) for name in names or SCENARIOS], at_once=at_once))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
