# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look into a release before it is checked out: who signed it, whether its changelog speaks of it, and what is in its files."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.residency.scheduler.plugins.module_utils import release_content
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, require
from ansible_collections.residency.scheduler.plugins.module_utils.finding import STOPS, WARNS, Finding, redact_url, show
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.release_content import Content

_PGP = re.compile(r"\s*-----BEGIN PGP PUBLIC KEY BLOCK-----")
_SSH = re.compile(r"\s*(?:sk-)?(?:ssh|ecdsa)-[\w@.-]+ [A-Za-z0-9+/]+=*(?: [^\n]*)?\s*")
#: Of ``git verify-tag --raw``: who signed by which PGP key, and why a signature is not taken.
_PGP_TROUBLE = re.compile(r"\[GNUPG:\] (NO_PUBKEY|BADSIG|EXPSIG|EXPKEYSIG|REVKEYSIG) (\S+)")
_TROUBLES = {
    "NO_PUBKEY": "by a key that is none of those",
    "BADSIG": "whose content was changed",
    "EXPSIG": "which has expired",
    "EXPKEYSIG": "by a key that has expired",
    "REVKEYSIG": "by a key that was revoked",
}
_KEYS = "preflight_signing_keys"
#: Settings of git by which files of Git LFS stay what is stored for them.
_LFS = ("smudge=", "process=", "required=false")


@dataclass(frozen=True)
class Release:
    """What a version was resolved to.

    :ivar version: the tag, or the commit itself.
    :ivar kind: ``tag`` or ``commit``.
    """

    repository: str
    version: str
    commit: str
    kind: str


def check_programs(keys: Sequence[str], host: str) -> list[Finding]:
    """Return a finding for each program that is missing and that knows the signatures of these keys."""
    needed = {"gpg": ("gnupg", any(map(_PGP.match, keys))), "ssh-keygen": ("openssh-client", any(map(_SSH.fullmatch, keys)))}
    return [
        Finding(_KEYS, f"no {program} on {host}", "the program that knows these signatures", f"Install it: apt-get install {package}.")
        for program, (package, wanted) in needed.items()
        if wanted and not shutil.which(program)
    ]


def check_keys(keys: Sequence[str]) -> list[Finding]:
    """Return a finding for each text that is no public key, before git sees any."""
    wanted = "a PGP public key block, or a line with an SSH public key"
    remedy = "Give the public key: `gpg --armor --export KEY`, or the content of a file such as id_ed25519.pub."
    return [
        Finding(f"{_KEYS}[{number}]", f"{len(key)} characters that are no public key", wanted, remedy)
        for number, key in enumerate(keys)
        if not _PGP.match(key) and not _SSH.fullmatch(key)
    ]


@dataclass(frozen=True)
class Look:
    """What is to be looked at in a release.

    :ivar keys: public keys of which one has to have signed it; none for no signature.
    :ivar changelog: path in the repository; empty for none.
    :ivar wanted: what the inventory has for its files; None where they are not looked at.
    :ivar docker: whether Docker and Compose answer here, on the server itself.
    """

    keys: Sequence[str]
    changelog: str
    wanted: release_content.Wanted | None = None
    docker: bool = False


def inspect(release: Release, look: Look, runner: Runner, timeout: float) -> release_content.Content:
    """Fetch the version alone into a folder of its own, look into it, and return what is wrong, and its revisions.

    Where its signature is not accepted, nothing of its files is looked at.
    """
    with tempfile.TemporaryDirectory(prefix="residency-release-") as folder:
        repository, tree = os.path.join(folder, "git"), os.path.join(folder, "tree")
        os.mkdir(tree)
        git = ["git", "--git-dir", repository]
        reference = f"refs/tags/{release.version}" if release.kind == "tag" else release.commit
        local = reference if release.kind == "tag" else "refs/heads/wanted"
        for words in (
            ["git", "init", "--quiet", "--bare", repository],
            [*git, "fetch", "--quiet", "--depth", "1", "--no-tags", "--", release.repository, f"{reference}:{local}"],
        ):
            answer = runner.run(words, timeout=timeout)
            if answer.rc != 0 or answer.timed_out:
                why = f"no answer within {timeout:.0f} s" if answer.timed_out else redact_url(answer.last_lines(3)).strip()
                return Content((_unknown(release, why.rstrip(". "), STOPS if look.keys else WARNS),), ())
        findings = list(_signature(release, local, look.keys, folder, runner)) if look.keys else []
        unsigned, looked_at = bool(findings), ["signature"] if look.keys else []
        if look.changelog and release.kind == "tag":
            looked_at.append("changelog")
            told = runner.run([*git, "show", f"{release.commit}:{look.changelog}"], timeout=timeout).stdout
            findings += _changelog(release, look.changelog, told)
        if look.wanted is None or unsigned:
            return Content(tuple(findings), (), tuple(looked_at))
        content = _files(release, look.wanted, tree, [*git, "--work-tree", tree], runner, timeout, docker=look.docker)
        return Content((*findings, *content.findings), content.revisions, (*looked_at, *content.looked_at))


def _files(
    release: Release, wanted: release_content.Wanted, tree: str, git: Sequence[str], runner: Runner, timeout: float, *, docker: bool
) -> Content:
    """Write the release's files into *tree*, and look into them; that they cannot be read is a warning, since a checkout may do better."""
    # Large files would be asked of a server; what stands for them is enough here.
    plain = ["-c", "core.bare=false", *(word for name in _LFS for word in ("-c", f"filter.lfs.{name}"))]
    try:
        for words in (["read-tree", release.commit], ["checkout-index", "--all"]):
            answer = runner.run([*git, *plain, *words], timeout=timeout)
            require(answer, "Reading the release failed", "Look at the disk of the temporary folder.")
        return release_content.look(tree, wanted, runner, docker=docker)
    except Problem as problem:
        why = " ".join(problem.why.replace(tree + "/", "").split())[:300].rstrip(". ")
        remedy = f"The deployment finds out what is wrong with them, if anything is. {problem.remedy}"
        return Content((Finding("release", f"files that cannot be looked at ({why})", "files that can be read", remedy, WARNS),), ())


def _unknown(release: Release, why: str, severity: str) -> Finding:
    found = f"{show(release.version)}, which cannot be fetched from {redact_url(release.repository)} ({why})"
    remedy = f"Try `git fetch --depth 1 {redact_url(release.repository)} {release.version}` in a clone."
    return Finding("scheduler_version", found, "a version that can be fetched", remedy, severity)


def _signature(release: Release, reference: str, keys: Sequence[str], folder: str, runner: Runner) -> Iterator[Finding]:
    wanted = f"one that a key of {_KEYS} has signed"
    remedy = f"Nothing of it was checked out. Ask who publishes the releases; sign by `git tag --sign`, or correct {_KEYS}."
    git = ["git", "--git-dir", os.path.join(folder, "git")]
    if release.kind == "tag":
        if runner.run([*git, "cat-file", "-t", reference]).stdout.strip() != "tag":
            yield Finding("scheduler_version", f"{show(release.version)}, a tag without message, author and signature", wanted, remedy)
            return
        # An old tag under a new name is signed as well as it ever was.
        name = re.search(r"^tag (.*)$", runner.run([*git, "cat-file", "tag", reference]).stdout, re.MULTILINE)
        if not name or name.group(1) != release.version:
            own = show(name.group(1)) if name else "nothing"
            yield Finding("scheduler_version", f"{show(release.version)}, which was signed as {own}", wanted, remedy)
        commit = runner.run([*git, "rev-parse", f"{reference}^{{commit}}"]).stdout.strip()
        if commit != release.commit:
            yield Finding("scheduler_version", f"{show(release.version)}, which moved to {commit[:12]} just now", wanted, "Try again.")
    environment, settings = _keyring(keys, folder, runner)
    verb = "verify-tag" if release.kind == "tag" else "verify-commit"
    answer = runner.run([*environment, *git, *settings, verb, "--raw", reference])
    if answer.rc != 0:
        yield Finding("scheduler_version", f"{show(release.version)}, {_why(answer.stdout + answer.stderr)}", wanted, remedy)


def _keyring(keys: Sequence[str], folder: str, runner: Runner) -> tuple[list[str], list[str]]:
    """Let git know these keys only, and return the words before and behind ``git`` for that."""
    home = os.path.join(folder, "gnupg")
    signers = os.path.join(folder, "signers")
    os.mkdir(home, 0o700)
    environment = ["env", f"GNUPGHOME={home}"]
    for key in keys:
        if _PGP.match(key):
            runner.run([*environment, "gpg", "--batch", "--quiet", "--import"], stdin=key)
    with open(signers, "w", encoding="utf-8") as stream:
        stream.writelines(f'release namespaces="git" {key.strip()}\n' for key in keys if _SSH.fullmatch(key))
    return environment, ["-c", f"gpg.ssh.allowedSignersFile={signers}"]


def _why(words: str) -> str:
    trouble = _PGP_TROUBLE.search(words)
    if trouble:
        return f"signed {_TROUBLES[trouble.group(1)]} ({trouble.group(2)})"
    if "No principal matched" in words:
        return "signed by a key that is none of those"
    if "Could not verify signature" in words or "incorrect signature" in words.lower():
        return "whose signature does not fit"
    last = [line for line in words.splitlines() if line.strip()]
    return "which nobody has signed" if not last or "no signature found" in words else f"whose signature cannot be judged: {last[-1][:200]}"


def _changelog(release: Release, path: str, text: str) -> list[Finding]:
    number = release.version.removeprefix("v")
    if re.search(rf"(?<![\w.])v?{re.escape(number)}(?![\w-]|\.\d)", text):
        return []
    found = f"no word of {show(release.version)} in {path}" if text else f"no {path} in {show(release.version)}"
    remedy = "Ask what this release changes before you deploy it; preflight_changelog names another file, or none."
    return [Finding("changelog", found, "what this release changes", remedy, WARNS)]
