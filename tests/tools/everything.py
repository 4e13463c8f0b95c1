"""Every test there is, two steps at a time; `everything.py STEP ...` runs those named and what they need."""

from __future__ import annotations

import os
import sys

import scenarios
from steps import Step, conclude, run_all

#: Scenarios that take more than ten minutes.
LONG = ("releases",)
#: Also with the older ansible-core, whose rules are nearly the same.
SANITY = ("2.19", "newest") if os.environ.get("RESIDENCY_LONG_TESTS") else ("newest",)


def all_steps() -> list[Step]:
    """Return all steps; a new one is a line here. The slow way to the servers starts first, the rest runs beside it."""
    return [
        Step("setup", ["./dev", "setup", "newest"]),
        Step("engine", ["./dev", "engine"], ("setup",)),
        Step("bed images", ["./dev", "bed", "images"], ("engine",)),
        Step("lint", ["./dev", "lint"], ("setup",)),
        Step("units", ["./dev", "units"], ("setup",)),
        Step("in-place", ["./dev", "in-place"], ("setup",)),
        *(Step(f"sanity {core}", ["./dev", "sanity", core, "--only", "sanity"], ("setup",)) for core in SANITY),
        # Those with the older ansible-core are the step "units".
        Step("units newest", ["./dev", "sanity", "newest", "--only", "units"], ("setup",)),
        # The longest first, so that none is left alone at the end.
        Step("faults", ["./dev", "faults"], ("bed images",)),
        *(scenarios.step(name, ("bed images",)) for name in LONG),
        Step("operations", ["./dev", "operations"], ("bed images",)),
        Step("sick stacks", ["./dev", "sick"], ("bed images",)),
        *(scenarios.step(name, ("bed images",)) for name in scenarios.SCENARIOS if name not in LONG),
        Step("database", ["./dev", "database"], ("bed images",)),
        Step("monitoring", ["./dev", "monitoring"], ("bed images",)),
        Step("package", ["./dev", "package"], ("bed images",)),
        Step("image", ["./dev", "image"], ("bed images",)),
        Step("awx", ["./dev", "awx"], ("setup",)),
        Step("reference", ["./dev", "reference"], ("setup",)),
        # After the engine, since both install packages.
        Step("report page", ["./dev", "browser"], ("engine",)),
    ]


def with_needs(steps: list[Step], names: list[str]) -> list[Step]:
    """Return the steps with these names and those they need, in order."""
    by_name = {step.name: step for step in steps}
    wanted: set[str] = set()
    queue = list(names)
    while queue:
        step = by_name[queue.pop()]
        wanted.add(step.name)
        queue += [name for name in step.needs if name not in wanted]
    return [step for step in steps if step.name in wanted]


def main(names: list[str]) -> int:
    """Run the steps and print the summary."""
    steps = all_steps()
    unknown = set(names) - {step.name for step in steps}
    if unknown:
        print(f"ERROR: no step {', '.join(sorted(unknown))}; there are {', '.join(step.name for step in steps)}", file=sys.stderr)
        return 2
    return conclude(run_all(with_needs(steps, names) if names else steps), table=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
