# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate by ACME (RFC 8555): is one to be issued, by which command, and who answers while no proxy runs?"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import tls
from ansible_collections.residency.scheduler.plugins.module_utils.acme_hook import TOKEN, WELL_KNOWN
from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, blank, kind, show

DIRECTORY = "https://acme-v02.api.letsencrypt.org/directory"
#: The inventory's ``environment_acme``.
SPEC: dict[str, Any] = {
    "type": "dict",
    "required": True,
    "options": {
        "directory": {"type": "str", "default": DIRECTORY},
        "email": {"type": "str", "default": ""},
        "agree_terms": {"type": "bool", "default": False},
        "ca_file": {"type": "path"},
        "key_type": {"type": "str", "choices": ["ecdsa", "rsa"], "default": "ecdsa", "no_log": False},
        "challenge_dir": {"type": "path", "default": "/var/www/certbot"},
        "authenticator": {"type": "list", "elements": "str", "default": []},
    },
}
_LETS_ENCRYPT = ".letsencrypt.org/"
#: Endings of names that no public authority issues for (RFC 6761, RFC 6762, ICANN).
_PRIVATE = ("localhost", "local", "internal", "test", "example", "invalid", "lan", "home", "corp")
#: How the lines of certbot begin that give no reason.
_NO_REASON = ("Saving debug log", "Requesting a cert", "Renewing an existing", "Account registered", "Some challenges", "Ask for help")
_ADDRESS = re.compile(r"[^@\s,]+@[^@\s,]+\.[^@\s,]+")


@dataclass(frozen=True)
class Present:
    """What is on the server.

    :ivar installed: the certificate that the proxy is given; None without one, or where its key is another's.
    :ivar newest: certbot's newest one under our name; None without one.
    :ivar command: by which it was issued; empty if that is not known.
    :ivar in_place: whether the newest one is the installed one.
    """

    installed: tls.Certificate | None
    newest: tls.Certificate | None
    command: tuple[str, ...]
    in_place: bool


@dataclass(frozen=True)
class Plan:
    """What has to be done.

    :ivar issue: why a certificate is to be issued; empty if the newest one will do.
    :ivar install: whether the newest one has to be put in place then.
    :ivar kept: whether the installed one will do for now, if that fails.
    """

    issue: str
    install: bool
    kept: bool


def decide(domain: str, command: Sequence[str], present: Present, now: datetime) -> Plan:
    """Return what has to be done. Pure."""
    newest = present.newest
    if newest is None:
        issue = "there is none yet"
    elif not tls.covers(newest.names, domain):
        issue = f"the present one is for {', '.join(newest.names) or 'no name'}"
    elif (newest.not_after - now) < (newest.not_after - newest.not_before) * tls.WARN_BELOW:
        issue = f"the present one ends on {newest.not_after:%Y-%m-%d}"
    elif present.command != tuple(command):
        issue = "the present one was issued with other settings"
    else:
        issue = ""
    installed = present.installed
    valid = installed is not None and tls.covers(installed.names, domain) and installed.not_before <= now < installed.not_after
    return Plan(issue, bool(issue) or not present.in_place, valid and installed is not None and not installed.self_signed)


def certbot_command(name: str, domain: str, hook: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the command that issues a certificate, without the account's address, which is none of the certificate's. Pure."""
    call = f"/usr/bin/python3 {hook}"
    hooks = ["--manual", "--preferred-challenges", "http", "--manual-auth-hook", f"{call} challenge"]
    hooks += ["--manual-cleanup-hook", f"{call} cleanup"]
    words = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--cert-name", name, "--domains", domain]
    # We decide when; certbot itself would ask, or keep a certificate of another server.
    words += ["--renew-with-new-domains", "--force-renewal", "--key-type", settings["key_type"], "--server", settings["directory"]]
    return [*words, *(settings["authenticator"] or hooks), "--deploy-hook", f"{call} deploy"]


def account(email: str) -> list[str]:
    """Return how certbot makes an account where it has none."""
    return ["--email", email] if email else ["--register-unsafely-without-email"]


def told(stdout: str, stderr: str) -> str:
    """Return what certbot says of a failure: the authority's reasons go to its standard output. Pure."""
    lines = [line.strip() for line in f"{stdout}\n{stderr}".splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith(_NO_REASON))


@contextlib.contextmanager
def answering(folder: str, port: int = 80) -> Iterator[bool]:
    """Serve the challenge's answers in *folder* while nobody else has the port; tell whether that is so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.path.removeprefix(f"/{WELL_KNOWN}/")
            try:
                if not TOKEN.fullmatch(token):
                    raise FileNotFoundError(token)
                with open(f"{folder}/{token}", "rb") as stream:
                    answer = stream.read()
            except OSError:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_words: Any) -> None:
            """Write nothing: a module's output is its result."""

    listener = _listen(port)
    if listener is None:
        yield False
        return
    with ThreadingHTTPServer(("", port), Handler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = listener
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield True
        finally:
            server.shutdown()
            thread.join()


def _listen(port: int) -> socket.socket | None:
    """Listen on all addresses; None where somebody does already."""
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)
    except OSError:
        return None


def check_settings(settings: object, domain: str) -> list[Finding]:
    """Return what is wrong with ``environment_acme``, and with a domain for it; one that is empty is wrong already."""
    name, options = "environment_acme", SPEC["options"]
    if not isinstance(settings, Mapping) or blank(settings):
        found = "nothing" if blank(settings) else kind(settings)
        return [Finding(name, found, "a mapping", f"Set {name}, for example {{agree_terms: true, email: operations@example.com}}.")]
    findings = [
        Finding(f"{name}.{key}", "an unknown option", f"one of {', '.join(options)}", "Correct its name.")
        for key in settings
        if key not in options
    ]
    for key, good, wanted, remedy in _rules(settings):
        if not good:
            findings.append(Finding(f"{name}.{key}", "nothing" if blank(settings.get(key)) else show(settings[key]), wanted, remedy))
    ending = domain.lower().rpartition(".")
    # Another authority's directory may be that of one's own, which the system's store knows.
    own = settings.get("ca_file") or _LETS_ENCRYPT not in str(settings.get("directory") or DIRECTORY)
    if domain and not own and (not ending[0] or ending[2] in _PRIVATE):
        remedy = "Set it to the public name, or give environment_acme.directory of your own authority (and its ca_file)."
        findings.append(Finding("scheduler_domain", show(domain), "a public name, which Let's Encrypt can reach", remedy))
    return findings


def _rules(settings: Mapping[str, Any]) -> list[tuple[str, bool, str, str]]:
    """Return key, whether its value is good, what is wanted, and the remedy."""
    directory, email, authenticator = (settings.get(key) for key in ("directory", "email", "authenticator"))
    words = authenticator or []
    return [
        (
            "agree_terms",
            settings.get("agree_terms") is True,
            "true",
            "Read the authority's terms of service, then set environment_acme.agree_terms: true.",
        ),
        (
            "directory",
            directory is None or bool(re.fullmatch(r"https://\S+", str(directory))),
            "an https address",
            f"Leave it out for Let's Encrypt, or set it to the authority's directory, for example {DIRECTORY}.",
        ),
        (
            "email",
            blank(email) or bool(_ADDRESS.fullmatch(str(email))),
            "one e-mail address",
            "Set environment_acme.email to where the authority can write to, or leave it out.",
        ),
        (
            "key_type",
            settings.get("key_type", "ecdsa") in SPEC["options"]["key_type"]["choices"],
            "ecdsa or rsa",
            "Leave environment_acme.key_type out for ecdsa.",
        ),
        (
            "challenge_dir",
            str(settings.get("challenge_dir", "/")).startswith("/"),
            "an absolute path in the proxy's container",
            "Take it from the proxy's configuration: the root of location /.well-known/acme-challenge/.",
        ),
        (
            "authenticator",
            isinstance(words, list) and all(isinstance(word, str) for word in words) and (not words or words[0].startswith("--")),
            "a list of certbot's options",
            "Set environment_acme.authenticator, for example [--dns-rfc2136, --dns-rfc2136-credentials, /root/dns.ini].",
        ),
    ]
