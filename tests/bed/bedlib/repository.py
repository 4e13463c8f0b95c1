"""The reference application's git repository, served read-only to controller and servers by one URL."""

from __future__ import annotations

import sys
from pathlib import Path

from .cache import cache_path
from .docker import LABEL, image_id, inspect, is_running, remove
from .images import PREFIX
from .network import GIT_ADDRESS, NETWORK, ensure_network
from .shell import BedError, attempt, run, wait_until

SOURCES = Path(__file__).resolve().parents[2] / "reference_app"
CONTAINER = "residency-bed-git"
IMAGE = f"{PREFIX}/git:1"
NAME = "residency-scheduler.git"
URL = f"git://{GIT_ADDRESS}/{NAME}"


def serve_repository() -> str:
    """Make the repository, serve it, and return its URL."""
    _make_repository()
    _serve()
    return URL


def _make_repository() -> None:
    script = SOURCES / "make_repository.py"
    if not script.is_file():
        raise BedError(f"{script}, which makes the repository, is missing; check out the whole clone")
    # It does nothing where the repository is what the sources say.
    run([sys.executable, str(script), "--output", str(cache_path("git", NAME))], timeout=120)


def _serve() -> None:
    ensure_network()
    folder = str(cache_path("git", NAME).parent)
    container = inspect("container", CONTAINER)
    current = container is not None and container["Image"] == image_id(IMAGE) and \
        any(mount.get("Source") == folder for mount in container["Mounts"])
    if not (current and is_running(container)):
        remove("container", CONTAINER)
        run(["docker", "run", "--detach", "--init", "--restart", "unless-stopped", "--name", CONTAINER,
             "--label", f"{LABEL}=1", "--network", NETWORK, "--ip", GIT_ADDRESS,
             "--volume", f"{folder}:/srv/git:ro", IMAGE])
    wait_until(lambda: attempt(["git", "ls-remote", URL, "HEAD"], timeout=10).ok, 20,
               f"{URL} does not answer; see: docker logs {CONTAINER}")
