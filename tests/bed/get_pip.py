"""Stands in for the get-pip script that ansible-test would fetch from the web: Python brings pip along."""

from __future__ import annotations

import ensurepip
import sys


def main() -> int:
    """ansible-test imports this and calls main() with pip's arguments in sys.argv."""
    ensurepip.bootstrap(default_pip=True, verbosity=0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
