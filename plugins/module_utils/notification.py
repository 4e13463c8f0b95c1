# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to people: by mail, to a Slack-compatible webhook, to any webhook.

The address of a webhook lets everybody post who knows it, so it is as secret as a password: neither is in any text that is made here.
"""

from __future__ import annotations

import base64
import os
import re
import smtplib
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.residency.scheduler.plugins.module_utils.finding import Finding, kind, numbered, show
from ansible_collections.residency.scheduler.plugins.module_utils.http_probe import Endpoint, fetch
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem

EVENTS = ("start", "success", "failure", "rollback", "maintenance", "alert", "resolved")
#: Standard port by how a mail's way is protected.
PORTS = {"none": 25, "starttls": 587, "tls": 465}
#: A longer text is refused by some of the services that take Slack's messages.
SLACK_CHARACTERS = 4000
_SHARED = ("name", "kind", "events", "ca_file")
#: What each kind of channel knows, and which of it has to be given.
_FIELDS: dict[str, tuple[str, ...]] = {
    "mail": (*_SHARED, "host", "port", "security", "user", "password", "from", "to"),
    "slack": (*_SHARED, "url"),
    "webhook": (*_SHARED, "url", "headers"),
}
_NEEDED: dict[str, tuple[str, ...]] = {"mail": ("host", "from", "to"), "slack": ("url",), "webhook": ("url",)}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True)
class Message:
    """What is told.

    :ivar event: one of :data:`EVENTS`.
    :ivar subject: one line; line ends in it become blanks.
    :ivar lines: the text, of which each may hold line ends.
    :ivar facts: what programs read ("version", "host"), and people below the text.
    """

    event: str
    subject: str
    lines: tuple[str, ...]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Channel:
    """A way to people. Secrets are left out of ``repr``.

    :ivar events: the events that are told by it.
    :ivar security: of a mail's way: ``none``, ``starttls`` (required, not just taken where offered) or ``tls``.
    :ivar ca_file: certificates to trust (PEM) in place of the system's; empty for those.
    """

    name: str
    kind: str
    events: tuple[str, ...] = EVENTS
    ca_file: str = ""
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    host: str = ""
    port: int = 0
    security: str = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)
    sender: str = ""
    to: tuple[str, ...] = ()

    def address(self) -> str:
        """Return what is connected to, without a secret."""
        if self.kind == "mail":
            return f"{self.host}:{self.port}"
        target = urlsplit(self.url)
        return f"{target.hostname}:{target.port or (443 if target.scheme == 'https' else 80)}"

    def reaches(self) -> str:
        """Return who is told, for people, without a secret."""
        return f"{self.kind} to {', '.join(self.to)} by {self.address()}" if self.kind == "mail" else f"{self.kind} at {self.address()}"


@dataclass(frozen=True)
class Delivery:
    """How it went with one channel; *problem* is empty where the message was taken."""

    channel: str
    problem: str


# ---- what is configured ----------------------------------------------------------------------------------------------


def parse(channels: Sequence[Mapping[str, Any]]) -> list[Channel]:
    """Return the channels, or raise a Problem that names each wrong entry and field."""
    wrong = findings(channels)
    if wrong:
        remedy = "Correct notify_channels; docs/notifications.md has examples."
        raise Problem("Reading notify_channels failed", " ".join(numbered(wrong)), remedy)
    return [_channel(entry) for entry in channels]


def _channel(entry: Mapping[str, Any]) -> Channel:
    security = str(entry.get("security") or "starttls")
    return Channel(
        name=str(entry["name"]),
        kind=str(entry["kind"]),
        events=tuple(map(str, entry.get("events") or EVENTS)),
        ca_file=str(entry.get("ca_file") or ""),
        url=str(entry.get("url") or ""),
        headers={str(name): str(value) for name, value in (entry.get("headers") or {}).items()},
        host=str(entry.get("host") or ""),
        port=int(entry.get("port") or PORTS[security]),
        security=security,
        user=str(entry.get("user") or ""),
        password=str(entry.get("password") or ""),
        sender=str(entry.get("from") or ""),
        to=tuple(map(str, entry.get("to") or ())),
    )


def findings(channels: Any) -> list[Finding]:
    """Return what is wrong with the variable ``notify_channels``, all at once; no secret is quoted."""
    if not isinstance(channels, (list, tuple)):
        return [Finding("notify_channels", kind(channels), "a list of channels", "Give a list, each entry with name and kind.")]
    found: list[Finding] = []
    names: set[str] = set()
    for number, entry in enumerate(channels):
        place = f"notify_channels[{number}]"
        if not isinstance(entry, Mapping):
            found.append(Finding(place, kind(entry), "a mapping", "Give the entry a name and a kind."))
            continue
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip() or _CONTROL.search(name):
            found.append(Finding(f"{place}.name", _shown(name), "a name", "Give each channel a name, by which a run tells of it."))
        elif name in names:
            found.append(Finding(f"{place}.name", show(name), "a name of its own", "Another entry has the same name: rename one."))
        else:
            names.add(name)
            place = f"{place} ({name})"
        found += _entry_findings(place, entry)
    return found


def _entry_findings(place: str, entry: Mapping[str, Any]) -> list[Finding]:
    what = entry.get("kind")
    if not isinstance(what, str) or what not in _FIELDS:
        return [Finding(f"{place}.kind", _shown(what), " or ".join(_FIELDS), "Set the kind of the channel.")]
    known = _FIELDS[what]
    found = [
        Finding(f"{place}.{_CONTROL.sub(' ', str(name))}", "an unknown field", f"one of {', '.join(known)}", "Remove or rename it.")
        for name in entry
        if name not in known
    ]
    found += [
        Finding(f"{place}.{name}", "nothing", "a value", f"A channel of kind {what} needs it.")
        for name in _NEEDED[what]
        if entry.get(name) in (None, "", [])
    ]
    events = entry.get("events")
    if events is not None and (not isinstance(events, (list, tuple)) or not events or any(event not in EVENTS for event in events)):
        said = show(", ".join(map(str, events))) if isinstance(events, (list, tuple)) and events else kind(events)
        found.append(Finding(f"{place}.events", said, f"a list of {', '.join(EVENTS)}", "Leave it out to be told of all of them."))
    if entry.get("ca_file") is not None and not isinstance(entry["ca_file"], str):
        found.append(Finding(f"{place}.ca_file", kind(entry["ca_file"]), "the path of a file", "Name a file of certificates (PEM)."))
    return found + (_mail_findings(place, entry) if what == "mail" else _web_findings(place, entry))


def _mail_findings(place: str, entry: Mapping[str, Any]) -> list[Finding]:
    found = []
    host, port, security = entry.get("host"), entry.get("port"), entry.get("security", "starttls")
    if host and (not isinstance(host, str) or re.search(r"[\s/@]", host)):
        found.append(Finding(f"{place}.host", _shown(host), "a name or an address", "Name the mail server, without a port."))
    if port is not None and not (re.fullmatch(r"[0-9]+", str(port)) and 0 < int(port) < 65536):
        found.append(Finding(f"{place}.port", _shown(port), "a number from 1 to 65535", "Correct the mail server's port."))
    if security not in (None, "") and not (isinstance(security, str) and security in PORTS):
        found.append(Finding(f"{place}.security", _shown(security), " or ".join(PORTS), "Set how the way to the mail server is protected."))
    to = entry.get("to") or []
    if not isinstance(to, (list, tuple)):
        found.append(Finding(f"{place}.to", kind(to), "a list of addresses", "Give a list, also for a single address."))
        to = []
    # That there is a sender was looked at with what each kind needs.
    for name, address in (*([("from", entry["from"])] if entry.get("from") else []), *(("to", one) for one in to)):
        if not _is_address(address):
            found.append(Finding(f"{place}.{name}", _shown(address), "a mail address", "Correct the address."))
    return found + _login_findings(place, entry)


def _login_findings(place: str, entry: Mapping[str, Any]) -> list[Finding]:
    found = []
    for name in ("user", "password"):
        if entry.get(name) is not None and not isinstance(entry[name], str):
            found.append(Finding(f"{place}.{name}", f"a value of type {type(entry[name]).__name__}", "a text", "Put it into quotes."))
    if bool(entry.get("user")) != bool(entry.get("password")):
        found.append(Finding(f"{place}.user", "user or password alone", "both or none", "Give the one that is missing, or neither."))
    elif entry.get("password") and entry.get("security") == "none" and not _is_loopback(str(entry.get("host"))):
        remedy = "Set security to starttls or tls; or leave user and password out."
        found.append(Finding(f"{place}.security", '"none", with a password', "starttls or tls", remedy))
    return found


def _web_findings(place: str, entry: Mapping[str, Any]) -> list[Finding]:
    found = []
    url = entry.get("url")
    if url and not _is_web_address(url):
        remedy = "Correct the address; what would stand before an @ belongs into headers, as Authorization."
        found.append(Finding(f"{place}.url", kind(url), "https://HOST/PATH, without user and blanks", remedy))
    headers = entry.get("headers") or {}
    if not isinstance(headers, Mapping):
        found.append(Finding(f"{place}.headers", kind(headers), "a mapping", "Give name and value of each header."))
        headers = {}
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(str(name)) or not isinstance(value, str) or not value.isascii() or _CONTROL.search(value):
            where = f"{place}.headers.{_CONTROL.sub(' ', str(name))}"
            found.append(Finding(where, "a name or value that HTTP does not know", "a line of ASCII", "Correct the header."))
    return found


def _shown(value: object) -> str:
    return show(value) if isinstance(value, str) else kind(value)


def _is_address(value: object) -> bool:
    if not isinstance(value, str) or _CONTROL.search(value):
        return False
    address = parseaddr(value)[1]
    return re.fullmatch(r"[^\s@,;<>]+@[^\s@,;<>]+", address) is not None and value.count("@") == 1


def _is_web_address(value: object) -> bool:
    if not isinstance(value, str) or not value.isascii() or re.search(r"\s", value) or _CONTROL.search(value):
        return False
    try:
        target = urlsplit(value)
        return target.scheme in ("http", "https") and bool(target.hostname) and "@" not in target.netloc and target.port != 0
    except ValueError:  # a port that is no number, an address with half a bracket
        return False


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127\.[0-9.]+", host) is not None


# ---- the message, as each kind of channel wants it -------------------------------------------------------------------


def _text(value: object) -> str:
    # What a command has printed may hold bytes that are no characters.
    return str(value).encode("utf-8", "replace").decode()


def one_line(value: object) -> str:
    """Return *value* as one line: the subject of a mail ends at the first line end, and what follows would be another header."""
    return re.sub(r" {2,}", " ", _CONTROL.sub(" ", _text(value))).strip()


def mail(channel: Channel, message: Message) -> EmailMessage:
    """Return the message as a mail."""
    result = EmailMessage()
    result["Subject"] = one_line(message.subject)
    result["From"] = channel.sender
    result["To"] = ", ".join(channel.to)
    result["Date"] = formatdate(localtime=True)
    # Without the domain, the name of this machine would be looked up, which takes long where nobody knows it.
    result["Message-ID"] = make_msgid(domain=parseaddr(channel.sender)[1].rpartition("@")[2])
    result["Auto-Submitted"] = "auto-generated"
    facts = [f"{name}: {one_line(value)}" for name, value in message.facts.items()]
    paragraphs = ["\n".join(map(_text, part)) for part in (message.lines, facts) if part]
    result.set_content("\n\n".join(paragraphs) + "\n")
    return result


def slack(message: Message) -> dict[str, Any]:
    """Return the message as Slack and its like take it."""
    text = "\n".join((f"*{one_line(message.subject)}*", *map(_text, message.lines)))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": text if len(text) <= SLACK_CHARACTERS else f"{text[: SLACK_CHARACTERS - 2]} …"}


def webhook(message: Message) -> dict[str, Any]:
    """Return the message as data."""
    return {
        "event": message.event,
        "subject": one_line(message.subject),
        "lines": [_text(line) for line in message.lines],
        "facts": {str(name): _text(value) for name, value in message.facts.items()},
    }


# ---- delivery --------------------------------------------------------------------------------------------------------


def wanting(channels: Sequence[Channel], event: str) -> list[Channel]:
    """Return the channels that are told of *event*."""
    return [channel for channel in channels if event in channel.events]


def deliver(channels: Sequence[Channel], message: Message, timeout: float = 10.0) -> list[Delivery]:
    """Send *message* to each channel that wants its event, to all at once, and return how it went, in order.

    Nothing that a network or a receiver does is raised.

    :arg timeout: seconds for each channel, and therefore for all.
    """
    wanted = wanting(channels, message.event)
    problems = [f"{channel.address()}: no answer in time" for channel in wanted]

    def send(number: int) -> None:
        problems[number] = _send(wanted[number], message, timeout)

    # As daemons: one that still looks up a name when the time is over must not keep the process.
    threads = [threading.Thread(target=send, args=(number,), daemon=True) for number in range(len(wanted))]
    for thread in threads:
        thread.start()
    until = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return [Delivery(channel.name, problem) for channel, problem in zip(wanted, tuple(problems), strict=True)]


def _send(channel: Channel, message: Message, timeout: float) -> str:
    """Return why the channel did not take the message; empty if it did."""
    if channel.ca_file and not os.access(channel.ca_file, os.R_OK):
        return f"its ca_file {channel.ca_file} cannot be read"
    try:
        problem = _send_mail(channel, message, timeout) if channel.kind == "mail" else _post(channel, message, timeout)
    except Exception as error:  # a delivery never ends a run, whatever a receiver answers
        problem = f"an unexpected {type(error).__name__}"
    return _without_secrets(channel, problem)


def _post(channel: Channel, message: Message, timeout: float) -> str:
    document = slack(message) if channel.kind == "slack" else webhook(message)
    ca_file = channel.ca_file or None
    answer = fetch(
        Endpoint(channel.name, channel.url, "POST", send=document, send_headers=channel.headers, timeout=timeout, ca_file=ca_file)
    )
    if answer.error:
        return f"{channel.address()}: {answer.error}"
    if 200 <= answer.status < 300:
        return ""
    # What it has to say may repeat the address.
    if answer.status in (401, 403, 404, 410):
        return f"{channel.address()} answered {answer.status}: it does not know this URL, or what stands in the headers"
    return f"{channel.address()} answered {answer.status}"


def _send_mail(channel: Channel, message: Message, timeout: float) -> str:
    where = channel.address()
    try:
        with _connected(channel, timeout) as server:
            if channel.user:
                server.login(channel.user, channel.password)
            refused = server.send_message(mail(channel, message))
    except smtplib.SMTPAuthenticationError as error:
        return f"{where} does not accept user and password ({error.smtp_code})"
    except smtplib.SMTPRecipientsRefused as error:
        return f"{where} refused every address: {_refusals(error.recipients)}"
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
        return f"{where} answered {error.smtp_code}: {one_line(said)[:200]}"
    except ssl.SSLCertVerificationError as error:
        return f"{where}: the certificate is not valid: {error.verify_message}"
    except (OSError, smtplib.SMTPException) as error:
        # smtplib makes "Connection unexpectedly closed: timed out" of some.
        return f"{where}: {'no answer in time' if 'timed out' in str(error) else one_line(error) or type(error).__name__}"
    return f"{where} refused some of the addresses: {_refusals(refused)}" if refused else ""


def _refusals(recipients: Mapping[str, tuple[int, bytes]]) -> str:
    return ", ".join(
        f"{address} ({code} {one_line(said.decode('utf-8', 'replace'))[:100]})" for address, (code, said) in recipients.items()
    )


def _connected(channel: Channel, timeout: float) -> smtplib.SMTP:
    """Return a connection that is as well protected as the channel asks for."""
    if channel.security == "tls":
        context = ssl.create_default_context(cafile=channel.ca_file or None)
        return smtplib.SMTP_SSL(channel.host, channel.port, timeout=timeout, context=context)
    server = smtplib.SMTP(channel.host, channel.port, timeout=timeout)
    if channel.security == "starttls":
        try:
            # Raises where it is not offered: somebody in between may have taken the offer away.
            server.starttls(context=ssl.create_default_context(cafile=channel.ca_file or None))
        except BaseException:
            server.close()
            raise
    return server


def _without_secrets(channel: Channel, text: str) -> str:
    """Return *text* without what a receiver may have repeated."""
    plain = [channel.url, urlsplit(channel.url).path.strip("/"), urlsplit(channel.url).query, channel.password, *channel.headers.values()]
    login = f"\0{channel.user}\0{channel.password}" if channel.password else ""
    coded = [base64.b64encode(value.encode()).decode() for value in (channel.password, login)]
    for value in sorted({*plain, *coded} - {""}, key=len, reverse=True):
        text = text.replace(value, "********")
    return text
