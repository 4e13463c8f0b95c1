"""The few questions and commands to the Docker engine that the parts of the bed share."""

from __future__ import annotations

import json
from typing import Any

from .shell import BedError, attempt, run

LABEL = "residency.bed"


def require_engine() -> None:
    """Stop early, and clearly, where no engine answers."""
    done = attempt(["docker", "info", "--format", "{{.ServerVersion}}"], timeout=20)
    if not done.ok:
        raise BedError(f"the Docker engine does not answer ({done.errors.strip()}); start it by: ./dev engine")


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """Return what the engine knows of an image, container, volume or network; None where there is none."""
    done = attempt(["docker", kind, "inspect", name])
    if done.ok:
        found: dict[str, Any] = json.loads(done.output)[0]
        # The engine also takes the beginning of an id, and a name may look like one.
        return found if kind == "image" or found["Name"].lstrip("/") == name else None
    if "no such" in done.errors.lower() or "not found" in done.errors.lower():
        return None
    raise BedError(f"docker {kind} inspect {name} failed: {done.errors.strip()}")


def image_label(name: str, label: str) -> str:
    """Return one label of an image; empty where image or label is missing."""
    found = inspect("image", name)
    labels = (found or {}).get("Config", {}).get("Labels") or {}
    return str(labels.get(label, ""))


def image_id(name: str) -> str:
    """Return the id of an image that has to be there."""
    found = inspect("image", name)
    if found is None:
        raise BedError(f"image {name} is missing; make it by: ./dev bed images")
    return str(found["Id"])


def is_running(container: dict[str, Any] | None) -> bool:
    """Tell whether an inspected container runs."""
    return bool(container and container["State"]["Running"])


def labelled(kind: str) -> list[str]:
    """Return the names of all containers, volumes or networks of the bed."""
    command = {"container": ["docker", "container", "ls", "--all", "--format", "{{.Names}}"],
               "volume": ["docker", "volume", "ls", "--format", "{{.Name}}"],
               "network": ["docker", "network", "ls", "--format", "{{.Name}}"]}[kind]
    return sorted(run([*command, "--filter", f"label={LABEL}=1"]).split())


def remove(kind: str, name: str) -> None:
    """Remove a container, volume or network, if it is there."""
    if inspect(kind, name) is not None:
        if kind == "container":
            # What is paused inside a server cannot be killed, and so neither can the server.
            attempt(["docker", "exec", name, "sh", "-c", "docker ps --quiet --filter status=paused | xargs -r docker unpause"])
        run(["docker", kind, "rm", *(["--force", "--volumes"] if kind == "container" else []), name])
