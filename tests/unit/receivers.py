# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail server and a receiver of webhooks on loopback, which keep what they are sent; the same for all tests that send messages."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import json
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Mail:
    """A mail as it came."""

    to: tuple[str, ...]
    content: EmailMessage
    secured: bool
    user: str

    @property
    def subject(self) -> str:
        """Return its subject."""
        return str(self.content["Subject"])

    @property
    def text(self) -> str:
        """Return its text."""
        return str(self.content.get_content()).replace("\r\n", "\n")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@dataclass
class MailServer:
    """Speaks SMTP.

    :ivar context: offer STARTTLS with it; with *tls* speak TLS from the first byte.
    :ivar login: user and password without which no mail is taken; None to ask for none.
    :ivar refuse: a refusal for each recipient ("550 no such user"), by address; "" for each other.
    :ivar silent: seconds before the first word.
    """

    context: ssl.SSLContext | None = None
    tls: bool = False
    login: tuple[str, str] | None = None
    refuse: dict[str, str] = field(default_factory=dict)
    silent: float = 0
    mails: list[Mail] = field(default_factory=list)
    port: int = 0


class _Session(socketserver.StreamRequestHandler):
    mailserver: MailServer

    def handle(self) -> None:
        # The client has hung up, or does not like the certificate.
        with contextlib.suppress(OSError):
            self._talk()

    def _talk(self) -> None:
        server = self.mailserver
        self._user, self._secured, self._to = "", False, []
        if server.silent:
            time.sleep(server.silent)
            return
        if server.tls:
            self._secure()
        self._say("220 receiver ESMTP")
        while line := self.rfile.readline().decode("utf-8", "replace").strip():
            verb, _blank, rest = line.partition(" ")
            if verb.upper() == "QUIT":
                self._say("221 bye")
                return
            self._answer(verb.upper(), rest)

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def _secure(self) -> None:
        assert self.mailserver.context is not None
        self.connection = self.mailserver.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
        self._secured = True

    def _answer(self, verb: str, rest: str) -> None:
        server = self.mailserver
        if verb == "EHLO":
            offers = ["receiver"]
            offers += ["STARTTLS"] if server.context and not self._secured else []
            offers += ["AUTH PLAIN"] if server.login else []
            for offer in offers[:-1]:
                self._say(f"250-{offer}")
            self._say(f"250 {offers[-1]}")
        elif verb == "STARTTLS":
            self._say("220 go ahead")
            self._secure()
        elif verb == "AUTH":
            _nothing, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
            accepted = (user, password) == server.login
            self._user = user if accepted else ""
            self._say("235 welcome" if accepted else f"535 no such login: {rest.partition(' ')[2]} {password}")
        elif verb == "MAIL":
            self._to = []
            self._say("250 ok" if server.login is None or self._user else "530 authenticate first")
        elif verb == "RCPT":
            address = rest.partition("<")[2].partition(">")[0]
            refusal = server.refuse.get(address, "")
            self._to += [] if refusal else [address]
            self._say(refusal or "250 ok")
        elif verb == "DATA":
            self._say("354 end with a dot")
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line[1:] if line.startswith(b"..") else line)
            content = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
            assert isinstance(content, EmailMessage)
            server.mails.append(Mail(tuple(self._to), content, self._secured, self._user))
            self._say("250 taken")
        else:
            self._say("250 ok")


@contextlib.contextmanager
def mail_server(server: MailServer, host: str = "127.0.0.1") -> Iterator[MailServer]:
    """Let *server* listen, and yield it with its port."""
    with _Server((host, server.port), type("Session", (_Session,), {"mailserver": server})) as listener:
        server.port = listener.server_address[1]
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        listener.shutdown()


@dataclass(frozen=True)
class Post:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    document: Any


@dataclass
class WebServer:
    """Takes webhooks.

    :ivar statuses: what to answer, by path; 200 to any other.
    :ivar silent: seconds before each answer.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    context: ssl.SSLContext | None = None
    silent: float = 0
    posts: list[Post] = field(default_factory=list)
    port: int = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the address of *path*."""
        return f"http{'s' if self.context else ''}://{host}:{self.port}{path}"


class _Request(BaseHTTPRequestHandler):
    webserver: WebServer

    def do_POST(self) -> None:
        server = self.webserver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(server.silent)
        server.posts.append(Post(self.path, dict(self.headers.items()), json.loads(body)))
        status = server.statuses.get(self.path, 200)
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.end_headers()
            # As some do: what came in goes back.
            self.wfile.write(f"{self.path} {dict(self.headers.items())}".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's own name
        """Keep quiet."""


@contextlib.contextmanager
def web_server(server: WebServer, host: str = "127.0.0.1") -> Iterator[WebServer]:
    """Let *server* listen, and yield it with its port."""
    with ThreadingHTTPServer((host, server.port), type("Request", (_Request,), {"webserver": server})) as listener:
        listener.handle_error = lambda *_arguments: None  # type: ignore[method-assign]  # a handshake that the client gave up
        if server.context:
            listener.socket = server.context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
        server.port = listener.server_address[1]
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        listener.shutdown()


def certificate(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """Make a self-signed certificate; return a server's context with it, and its file."""
    folder.mkdir(parents=True, exist_ok=True)
    key, chain = folder / "key.pem", folder / "chain.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=receiver"]
    subprocess.run([*words, "-addext", f"subjectAltName={names}", "-keyout", key, "-out", chain], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context, chain
