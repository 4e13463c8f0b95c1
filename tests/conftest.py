"""What all tests share.

RESIDENCY_LONG_TESTS=1 runs the tests that are marked "long" too.
"""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes many minutes, unless it is asked for."""
    if os.environ.get("RESIDENCY_LONG_TESTS"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; RESIDENCY_LONG_TESTS=1 runs it"))
