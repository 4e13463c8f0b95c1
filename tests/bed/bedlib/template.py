"""A volume with a Docker engine's image store that already holds the base images.

It stands in for a registry that the servers could pull from: each server starts with a copy of it.
"""

from __future__ import annotations

import hashlib

from .cache import cache_path
from .docker import LABEL, image_id, inspect, labelled, remove
from .images import PREFIX, WARMED
from .shell import attempt, pipe, run, say, wait_until

TEMPLATE_PREFIX = "residency-bed-template-"
MAKER = "residency-bed-template-maker"
MAKER_IMAGE = f"{PREFIX}/dind:13"
COPY_IMAGE = f"{PREFIX}/debian:13"


def ensure_template() -> str:
    """Return the name of the template volume for today's images; make it where it is missing."""
    ids = "".join(image_id(name) for name in WARMED)
    volume = TEMPLATE_PREFIX + hashlib.sha256(ids.encode()).hexdigest()[:12]
    finished = cache_path("template")  # names the volume that was filled to the end
    if inspect("volume", volume) is not None and finished.is_file() and finished.read_text() == volume:
        return volume
    say(f"template {volume} with {', '.join(WARMED)}")
    _remove_templates()
    _fill(volume)
    finished.write_text(volume)
    return volume


def copy_template(template: str, volume: str) -> None:
    """Fill a new volume with a copy of the template."""
    remove("volume", volume)
    run(["docker", "volume", "create", "--label", f"{LABEL}=1", volume])
    # Without the identity and the networks of the engine that filled it: each server has its own.
    run(["docker", "run", "--rm", "--network", "none", "--volume", f"{template}:/from:ro", "--volume", f"{volume}:/to",
         COPY_IMAGE, "sh", "-c", "cp -a /from/. /to/ && rm -rf /to/engine-id /to/network"], timeout=300)


def _remove_templates() -> None:
    remove("container", MAKER)
    for volume in labelled("volume"):
        if volume.startswith(TEMPLATE_PREFIX):
            attempt(["docker", "volume", "rm", volume])  # stays while somebody still copies from it


def _fill(volume: str) -> None:
    run(["docker", "volume", "create", "--label", f"{LABEL}=1", volume])
    run(["docker", "run", "--detach", "--privileged", "--name", MAKER, "--label", f"{LABEL}=1",
         "--volume", f"{volume}:/var/lib/docker", MAKER_IMAGE])
    try:
        wait_until(lambda: attempt(["docker", "exec", MAKER, "docker", "info"]).ok, 60,
                   f"the engine in the container does not answer; see: docker logs {MAKER}")
        pipe(["docker", "save", *WARMED], ["docker", "exec", "--interactive", MAKER, "docker", "load"], timeout=600)
        run(["docker", "stop", "--time", "30", MAKER])  # a clean stop: a copy of a running store is worth nothing
    except BaseException:
        say(f"kept for a look: container {MAKER}")
        raise
    remove("container", MAKER)
