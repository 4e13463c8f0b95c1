"""All linters, two at a time. `lint.py NAME...` runs only those."""

from __future__ import annotations

import sys

from steps import ROOT, Step, conclude, run_all, tracked


def shell_scripts() -> list[str]:
    """Return our shell scripts: by suffix, or by their first line."""
    scripts = []
    for path in tracked():
        if path.suffix == ".sh":
            scripts.append(str(path))
        elif not path.suffix and (ROOT / path).is_file() and not (ROOT / path).is_symlink():
            with (ROOT / path).open("rb") as stream:
                if stream.readline(64).rstrip().endswith((b"/sh", b"/bash", b" bash", b" sh")):
                    scripts.append(str(path))
    return scripts


def linters() -> list[Step]:
    """Return the linters, the slowest first."""
    python = sys.executable
    return [
        Step("ansible-lint", ["ansible-lint", "--offline", "--strict", "--nocolor", "-q"]),
        Step("docs", [python, "tests/tools/check_docs.py"]),
        Step("mypy", ["mypy"]),
        Step("changelog", ["antsibull-changelog", "lint"]),
        Step("yamllint", ["yamllint", "--strict", "."]),
        Step("ruff", ["ruff", "check", "--no-fix", "."]),
        Step("shellcheck", ["shellcheck", "--external-sources", *shell_scripts()]),
        Step("role-arguments", [python, "tests/tools/role_arguments.py"]),
        Step("role-readme", [python, "tests/tools/role_readme.py", "--check"]),
        Step("alert-table", [python, "tests/tools/alert_table.py", "--check"]),
    ]


def main(names: list[str]) -> int:
    """Run the linters with these names; all when there are none."""
    known = linters()
    unknown = set(names) - {step.name for step in known}
    if unknown:
        print(f"ERROR: no linter {', '.join(sorted(unknown))}; there are {', '.join(step.name for step in known)}", file=sys.stderr)
        return 2
    return conclude(run_all([step for step in known if not names or step.name in names], log_prefix="lint-"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
