"""Servers to deploy to: a Debian with systemd and sshd in a privileged container, in which Docker can be installed."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .cache import cache_path, lock
from .docker import LABEL, inspect, is_running, labelled, remove
from .images import PREFIX
from .network import NETWORK, ensure_network, free_address
from .repository import URL
from .shell import BedError, attempt, run, say, wait_until
from .template import copy_template, ensure_template

BOOT_SECONDS = 90
SETTINGS_LABEL = f"{LABEL}.server"


@dataclass(frozen=True)
class Settings:
    """What a server was asked to be."""

    debian: str
    publish: tuple[str, ...]

    def to_label(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def up(name: str, settings: Settings, fresh: bool) -> str:
    """Bring a server up and return its address. One that runs already is kept, unless a fresh one is asked for."""
    with lock(f"server-{name}"):
        container = inspect("container", name)
        if container is not None and fresh:
            _down(name)
            container = None
        if container is None:
            _create(name, settings)
        else:
            _require_same(name, container, settings)
        if not is_running(container):
            run(["docker", "start", name])
        _wait_for_boot(name)
        _authorize_key(name)
        address = address_of(name)
        wait_until(lambda: _ssh_answers(address), 30, f"sshd of {name} does not answer at {address}:22")
        return address


def down(name: str) -> None:
    """Remove a server and its volume."""
    with lock(f"server-{name}"):
        _down(name)


def down_all() -> None:
    """Remove every container, network and volume of the bed. Images and the template stay."""
    for name in labelled("container"):
        remove("container", name)
    for name in labelled("volume"):
        if not name.startswith("residency-bed-template-"):
            remove("volume", name)
    for name in labelled("network"):
        remove("network", name)


def servers() -> list[str]:
    """Return the names of all servers."""
    return [container["Name"].lstrip("/") for container in _containers() if SETTINGS_LABEL in _labels(container)]


def address_of(name: str) -> str:
    """Return a server's address in the bed's network."""
    return str(_existing(name)["NetworkSettings"]["Networks"][NETWORK]["IPAddress"])


def summary(name: str) -> dict[str, str]:
    """Return one line of the list of servers."""
    container = _existing(name)
    settings = json.loads(_labels(container)[SETTINGS_LABEL])
    return {"name": name, "state": container["State"]["Status"], "address": _fixed_address(container),
            "debian": settings["debian"], "publish": " ".join(settings["publish"])}


def inventory(name: str) -> dict[str, str]:
    """Return the host variables by which Ansible reaches a server."""
    return {
        "ansible_host": address_of(name),
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(private_key()),
        # Servers come and go at the same addresses, with other host keys each time.
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        "ansible_python_interpreter": "/usr/bin/python3",
        "scheduler_repo": URL,
    }


def private_key() -> Path:
    """Return the key that opens every server of the bed; made at first use."""
    key = cache_path("ssh", "id_ed25519")
    with lock("ssh"):
        if not key.is_file():
            key.parent.chmod(0o700)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "residency-bed", "-f", str(key)])
    return key


def _create(name: str, settings: Settings) -> None:
    say(f"server {name}: Debian {settings.debian}")
    with lock("shared"):
        ensure_network()
        template = ensure_template()
    volume = f"{name}-docker"
    copy_template(template, volume)
    resolver = _resolver(name)
    with lock("shared"):  # from choosing an address to holding it
        address = free_address({_fixed_address(container) for container in _containers()})
        published = [word for spec in settings.publish for word in ("--publish", spec)]
        run(["docker", "create", "--name", name, "--hostname", name, "--privileged", "--cgroupns", "private",
             "--tmpfs", "/run", "--tmpfs", "/run/lock", "--env", "container=docker",
             "--stop-signal", "SIGRTMIN+3", "--restart", "unless-stopped",
             "--label", f"{LABEL}=1", "--label", f"{SETTINGS_LABEL}={settings.to_label()}",
             "--network", NETWORK, "--ip", address, *published,
             "--volume", f"{volume}:/var/lib/docker", "--volume", f"{resolver}:/etc/resolv.conf:ro",
             f"{PREFIX}/server:debian{settings.debian}"])


def _resolver(name: str) -> Path:
    """Write down the machine's own name servers for a server.

    In a network of its own a container gets the engine's resolver at 127.0.0.11, which the containers *inside* a server
    cannot reach. The default network shows the real ones.
    """
    path = cache_path("resolver", f"{name}.conf")
    path.write_text(run(["docker", "run", "--rm", f"{PREFIX}/debian:12", "cat", "/etc/resolv.conf"]) + "\n")
    return path


def _down(name: str) -> None:
    container = inspect("container", name)
    if container is not None:
        _require_server(name, container)
        remove("container", name)
    remove("volume", f"{name}-docker")
    cache_path("resolver", f"{name}.conf").unlink(missing_ok=True)


def _wait_for_boot(name: str) -> None:
    """Wait from outside: a client that connects while systemd still mounts things loses its files."""
    state = ""

    def booted() -> bool:
        nonlocal state
        command = ["docker", "exec", name, "systemctl", "is-system-running", "--wait"]
        state = attempt(command, timeout=BOOT_SECONDS).output.strip()
        return state in ("running", "degraded")

    try:
        wait_until(booted, BOOT_SECONDS, f"server {name} did not finish booting")
    except BedError as error:
        log = attempt(["docker", "exec", name, "journalctl", "--no-pager", "--lines", "20"]).output
        raise BedError(f"{error}; last state: {state or 'none'}; its journal ends:\n{log}") from error


def _authorize_key(name: str) -> None:
    public_key = private_key().with_suffix(".pub").read_bytes()
    script = "cd /root/.ssh && umask 077 && cat >authorized_keys.new && mv authorized_keys.new authorized_keys"
    run(["docker", "exec", "--interactive", name, "sh", "-c", script], data=public_key)


def _ssh_answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _existing(name: str) -> dict[str, Any]:
    container = inspect("container", name)
    if container is None:
        raise BedError(f"there is no server {name}; make it by: ./dev bed up {name}")
    return container


def _containers() -> list[dict[str, Any]]:
    """Return all containers of the bed, but for those that go while we look."""
    found = [inspect("container", name) for name in labelled("container")]
    return [container for container in found if container is not None]


def _labels(container: dict[str, Any]) -> dict[str, str]:
    return container["Config"]["Labels"] or {}


def _fixed_address(container: dict[str, Any]) -> str:
    network = container["NetworkSettings"]["Networks"].get(NETWORK) or {}
    return str((network.get("IPAMConfig") or {}).get("IPv4Address", ""))


def _require_server(name: str, container: dict[str, Any]) -> None:
    if SETTINGS_LABEL not in _labels(container):
        raise BedError(f"container {name} is not one of the bed's servers, and is left alone; choose another name")


def _require_same(name: str, container: dict[str, Any], settings: Settings) -> None:
    _require_server(name, container)
    found = _labels(container)[SETTINGS_LABEL]
    if found != settings.to_label():
        raise BedError(f"server {name} exists with other settings: {found}, wanted: {settings.to_label()}\n"
                       f"  What to do: ask for the same, or make it anew by --fresh (its data is lost)")
