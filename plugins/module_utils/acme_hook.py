# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What certbot calls on the server: ``hook.py challenge``, ``hook.py cleanup`` and ``hook.py deploy [--replace]``.

The module acme_certificate writes this text to the server, with settings.json beside it, and certbot calls it at renewals long after
the run. So it is a program of its own, with the standard library alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

#: Where RFC 8555 has an answer looked for.
WELL_KNOWN = ".well-known/acme-challenge"
#: What a token may consist of (RFC 8555, 8.3); it becomes a file's name.
TOKEN = re.compile(r"[A-Za-z0-9_-]+")
#: Seconds for which a renewal waits for a deployment's end. After that the reload is worth more than the order.
PATIENCE = 3600
#: Set by a deployment for all of its tasks: it has the lock already.
LOCK = "RESIDENCY_SCHEDULER_LOCK"


class Failed(Exception):
    """What failed, why, and what to do."""


@dataclass(frozen=True)
class Settings:
    """What the deployment knows.

    :ivar project: name of the compose project.
    :ivar proxies: its services that serve the certificate.
    :ivar challenge_dir: folder in their containers from which they serve :data:`WELL_KNOWN`.
    :ivar tls_dir: folder of the pair that they serve.
    :ivar lineage: certbot's folder of the newest pair.
    :ivar lock: the deployments' lock.
    """

    project: str
    proxies: list[str]
    challenge_dir: str
    tls_dir: str
    lineage: str
    lock: str


@dataclass(frozen=True)
class Pair:
    """A certificate's chain and its key, as PEM; empty where there is no file."""

    fullchain: str
    privkey: str


def read_pair(folder: str) -> Pair:
    """Return the pair in a folder."""
    return Pair(_read(f"{folder}/fullchain.pem"), _read(f"{folder}/privkey.pem"))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def write_pair(folder: str, pair: Pair) -> None:
    """Write the pair, each file beside the old one and then renamed."""
    for name, text, mode in (("privkey.pem", pair.privkey, 0o600), ("fullchain.pem", pair.fullchain, 0o644)):
        descriptor, beside = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(beside, f"{folder}/{name}")
        except OSError:
            os.unlink(beside)
            raise


def challenge(settings: Settings, folder: str, token: str, answer: str) -> None:
    """Put the answer where the proxy serves it, and where the deployment serves it while no proxy runs."""
    path = f"{folder}/challenge/{_safe(token)}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(answer)
    for container in running(settings):
        served = f"{settings.challenge_dir}/{WELL_KNOWN}"
        _docker("exec", container, "mkdir", "-p", served)
        _docker("exec", "-i", container, "tee", f"{served}/{token}", stdin=answer)


def cleanup(settings: Settings, folder: str, token: str) -> None:
    """Take the answer away."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{folder}/challenge/{_safe(token)}")
    for container in running(settings):
        _docker("exec", container, "rm", "-f", f"{settings.challenge_dir}/{WELL_KNOWN}/{token}")


def _safe(token: str) -> str:
    if not TOKEN.fullmatch(token):
        raise Failed(f"Answering the challenge was refused: the token {token[:80]!r} is none. Look at the ACME server's address.")
    return token


def deploy(settings: Settings, replace: bool) -> str:
    """Put certbot's newest pair in place, and let the proxies read it; tell what was done.

    :arg replace: also where another certificate than one of certbot's is served.
    """
    with between_deployments(settings.lock):
        new, old = read_pair(settings.lineage), read_pair(settings.tls_dir)
        check(settings.lineage)
        if new == old:
            return f"The certificate in {settings.tls_dir} is the newest one"
        if not replace and old.fullchain and old.fullchain not in issued(settings.lineage):
            end = f"certbot delete --cert-name {os.path.basename(settings.lineage)}"
            return f"{settings.tls_dir} has a certificate of another kind, which stays. To end the renewals: {end}"
        containers = running(settings)
        write_pair(settings.tls_dir, new)
        try:
            for words in (["nginx", "-t"], ["nginx", "-s", "reload"]):
                for container in containers:
                    _docker("exec", container, *words)
        except Failed as error:
            if old.fullchain:
                write_pair(settings.tls_dir, old)
            raise Failed(f"{error} The old certificate is back. Correct the configuration, then deploy again.") from error
        return f"The new certificate is in {settings.tls_dir}; reloaded: {len(containers)} of the proxy's containers"


def check(folder: str) -> None:
    """Make sure that key and certificate of a folder belong together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(f"{folder}/fullchain.pem", f"{folder}/privkey.pem")
    except (OSError, ssl.SSLError) as error:
        raise Failed(f"The pair in {folder} is not served: {error}. Issue it anew: certbot renew --force-renewal.") from error


def issued(lineage: str) -> list[str]:
    """Return the chains that certbot has issued under this name so far; it keeps them all."""
    archive = os.path.dirname(os.path.realpath(f"{lineage}/fullchain.pem"))
    return [_read(path) for path in glob.glob(f"{archive}/fullchain*.pem")]


@contextlib.contextmanager
def between_deployments(lock: str) -> Iterator[None]:
    """Wait until no deployment runs, and let none begin meanwhile; within a deployment at once."""
    if os.environ.get(LOCK) == lock:
        yield
        return
    os.makedirs(os.path.dirname(lock), mode=0o700, exist_ok=True)
    descriptor = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o644)
    until = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(1)
        yield
    finally:
        os.close(descriptor)


def running(settings: Settings) -> list[str]:
    """Return the proxies' containers that run."""
    found = []
    for service in settings.proxies:
        labels = {"project": settings.project, "service": service, "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        found += _docker("ps", "--quiet", *filters).split()
    return found


def _docker(*words: str, stdin: str = "") -> str:
    argv = ["docker", *words]
    try:
        # A program of its own has no AnsibleModule.
        result = subprocess.run(  # pylint: disable=ansible-bad-function
            argv, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{' '.join(argv)} failed: {error}.") from error
    if result.returncode != 0:
        raise Failed(f"{' '.join(argv)} failed: {(result.stderr or result.stdout).strip()[-1500:]}.")
    return result.stdout


def main(words: list[str], folder: str) -> int:
    """Do what the first word says; *folder* is the one of settings.json."""
    try:
        settings = Settings(**json.loads(_read(f"{folder}/settings.json")))
        if words == ["challenge"]:
            challenge(settings, folder, os.environ["CERTBOT_TOKEN"], os.environ["CERTBOT_VALIDATION"])
        elif words == ["cleanup"]:
            cleanup(settings, folder, os.environ["CERTBOT_TOKEN"])
        elif words in (["deploy"], ["deploy", "--replace"]):
            sys.stdout.write(deploy(settings, replace="--replace" in words) + "\n")
        else:
            raise Failed("Say challenge, cleanup or deploy.")
    except Failed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], os.path.dirname(os.path.abspath(__file__))))
