"""The folder that all clones on this machine share, and the locks in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_directory() -> Path:
    """Return where everything made by the bed and worth keeping lives; common.sh says the same in bash."""
    chosen = os.environ.get("RESIDENCY_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "residency-scheduler"


def cache_path(*parts: str) -> Path:
    """Return a path in the cache whose folder exists."""
    path = cache_directory().joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Let one process at a time past; the lock falls with its process, however that ends."""
    with cache_path("lock", f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
