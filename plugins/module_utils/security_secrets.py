# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the secrets of the ``.env`` file are besides: in git, images, containers, command lines; and who may read the files.

A value is compared here, on its own host; it is never an argument of a command, and never part of an observation.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.residency.scheduler.plugins.module_utils import dotenv, security_layers
from ansible_collections.residency.scheduler.plugins.module_utils.command import Runner, redact, require
from ansible_collections.residency.scheduler.plugins.module_utils.preflight_secrets import check_secrets
from ansible_collections.residency.scheduler.plugins.module_utils.security import Observation, each, unmade
from ansible_collections.residency.scheduler.plugins.module_utils.security_host import Seen

#: Bytes of git objects that are read at once.
_BATCH = 16_000_000
_SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|SECRET|SECRET_KEY|PRIVATE_KEY|API_?KEY|TOKEN|DSN)$", re.IGNORECASE)
_YES = ("1", "true", "yes", "on", "y", "t")
_FSCK = "Look what `git fsck` says."
_HOME_ORIGINS = ("://localhost", "://127.", "://0.0.0.0", "://[::1]")


def named(text: str) -> dict[str, str]:
    """Return the secrets of a ``.env`` text by their names: those noted as such, and those that are called so.

    Called so in full: ACCESS_TOKEN_EXPIRE_MINUTES is blotted out elsewhere to be safe, but is no secret to look for.
    """
    noted = dotenv.secret_names(text)
    return {name: value for name, value in dotenv.parse(text).items() if value and (name in noted or _SECRET_NAME.search(name))}


def needles(secrets: Mapping[str, str], shortest: int) -> dict[str, tuple[str, ...]]:
    """Return what to look for by name: the value as it is and percent-encoded; a short one would be found in anything."""
    forms = {name: dotenv.secret_values({name: value}, frozenset({name})) for name, value in secrets.items()}
    return {name: kept for name, values in forms.items() if (kept := tuple(value for value in values if len(value) >= shortest))}


def within(text: str, wanted: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of the secrets whose values *text* holds."""
    return sorted(name for name, forms in wanted.items() if any(form in text for form in forms))


# ---- files ---------------------------------------------------------------------------------------------------------------


def observe_files(env_file: str, private: Sequence[str], backups: Sequence[str], owner: int = 0) -> list[Observation]:
    """Judge modes and owners.

    :arg backups: folders of backups; one that is not there yet is no finding.
    :arg owner: who has to own them.
    """
    return [
        _modes("secrets.env_mode", [env_file], owner),
        *([_modes("secrets.private_files", private, owner)] if private else []),
        *([_modes("secrets.backups", list(_below(backups)), owner)] if backups else []),
    ]


def _below(folders: Iterable[str]) -> Iterable[str]:
    for top in folders:
        for folder, _folders, names in os.walk(top):
            yield folder
            yield from (os.path.join(folder, name) for name in names)


def _modes(rule: str, paths: Sequence[str], owner: int) -> Observation:
    bad = []
    for path in paths:
        try:
            status = os.stat(path, follow_symlinks=rule != "secrets.backups")
        except FileNotFoundError:
            if rule == "secrets.backups":  # pruned in the meantime
                continue
            return unmade(rule, f"{path} is not there")
        except OSError as error:
            return unmade(rule, f"{path}: {error.strerror}")
        if stat.S_ISLNK(status.st_mode):
            continue
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077 or status.st_uid != owner:
            bad.append(f"{path} {mode:04o}, owner {status.st_uid}")
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    good = f"good: {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "") if paths else "nothing there"
    return Observation(rule, not bad, ", ".join(bad[:5]) + more if bad else good)


# ---- git -----------------------------------------------------------------------------------------------------------------


def observe_git(
    directory: str, env_file: str, wanted: Mapping[str, Sequence[str]], limits: Mapping[str, Any], runner: Runner
) -> list[Observation]:
    """Look for the env file and for its values in the repository."""
    git = ["git", "-C", directory]
    if runner.run([*git, "rev-parse", "--git-dir"]).rc != 0:
        why = f"{directory} is no checkout that git reads"
        return [unmade(f"secrets.{name}", why) for name in ("env_tracked", "env_ignored", "git")]
    tracked = runner.run([*git, "ls-files", "--error-unmatch", "--", env_file]).rc == 0
    ignored = runner.run([*git, "check-ignore", "--quiet", "--", env_file]).rc == 0
    return [
        Observation("secrets.env_tracked", not tracked, "tracked" if tracked else "not tracked"),
        Observation("secrets.env_ignored", ignored, "ignored" if ignored else "not ignored: one `git add .` away"),
        _search_git(git, wanted, limits, runner),
    ]


def _search_git(git: Sequence[str], wanted: Mapping[str, Sequence[str]], limits: Mapping[str, Any], runner: Runner) -> Observation:
    """Read every object, also those that no branch reaches any more, and look for the values."""
    started = time.monotonic()
    form = "--batch-check=%(objectname) %(objecttype) %(objectsize)"
    listed = require(
        runner.run([*git, "cat-file", "--batch-all-objects", "--unordered", form], timeout=60), "Listing git's objects failed", _FSCK
    )
    fields = [line.split() for line in listed.stdout.splitlines()]
    # A tree holds names and hashes only.
    objects = [(name, int(size)) for name, kind, size in fields if kind in ("blob", "commit", "tag")]
    read, total, found = 0, sum(size for _name, size in objects), {}
    for batch in batches(objects, _BATCH):
        size = sum(size for _name, size in batch)
        left = limits["git_seconds"] - (time.monotonic() - started)
        if read + size > limits["git_bytes"] or left <= 0:
            continue
        found.update(_search_batch(git, [name for name, _size in batch], wanted, left, runner))
        read += size
    seconds = time.monotonic() - started
    if found:
        places = [f"{', '.join(names)} in {_whereabouts(git, name, runner)}" for name, names in list(found.items())[:5]]
        more = f"; {len(found)} objects in all" if len(found) > 1 else ""
        return Observation("secrets.git", False, "; ".join(dict.fromkeys(places)) + more, seconds=seconds)
    told = f"in none of {len(objects)} objects, {total / 1e6:.1f} MB"
    if read < total:
        why = f"only {read / 1e6:.0f} of {total / 1e6:.0f} MB of git's objects were read; raise git_bytes or git_seconds"
        return unmade("secrets.git", why)
    return Observation("secrets.git", True, told, seconds=seconds)


def batches(objects: Sequence[tuple[str, int]], most: int) -> list[list[tuple[str, int]]]:
    """Return *objects* in groups of at most *most* bytes, the small ones first; a larger one is a group of its own."""
    groups: list[list[tuple[str, int]]] = []
    size = 0
    for item in sorted(objects, key=lambda entry: entry[1]):
        if not groups or size + item[1] > most:
            groups.append([])
            size = 0
        groups[-1].append(item)
        size += item[1]
    return groups


def _search_batch(
    git: Sequence[str], names: Sequence[str], wanted: Mapping[str, Sequence[str]], timeout: float, runner: Runner
) -> dict[str, list[str]]:
    """Return the secrets' names by the object that holds them; halves a batch in which one is, until it is alone."""
    result = runner.run([*git, "cat-file", "--batch", "--buffer"], stdin="\n".join(names) + "\n", timeout=max(1.0, timeout))
    # Not the output: it is what is read.
    require(replace(result, stdout=""), "Reading git's objects failed", _FSCK)
    held = within(result.stdout, wanted)
    if not held:
        return {}
    if len(names) == 1:
        return {names[0]: held}
    middle = len(names) // 2
    return {
        **_search_batch(git, names[:middle], wanted, timeout, runner),
        **_search_batch(git, names[middle:], wanted, timeout, runner),
    }


def _whereabouts(git: Sequence[str], name: str, runner: Runner) -> str:
    result = runner.run([*git, "log", "--all", "--format=commit %h", "--name-only", f"--find-object={name}", "-1"], timeout=20)
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    return f"{', '.join(reversed(lines[:2]))}" if result.rc == 0 and len(lines) > 1 else f"object {name[:12]}"


# ---- images and containers -----------------------------------------------------------------------------------------------


def observe_images(services: Sequence[Seen], wanted: Mapping[str, Sequence[str]], runner: Runner) -> list[Observation]:
    """Look for the values in every image that runs: its history, its settings, and the files that a build has put into it."""
    if not services:
        return [unmade("secrets.image", "no container of the project is running")]
    by_image: dict[str, Seen] = {}
    for item in services:
        by_image.setdefault(item.image_id, item)
    bad, silent = {}, []
    for image, item in by_image.items():
        history = runner.run(["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image])
        settings = runner.run(["docker", "image", "inspect", "--format", "{{json .}}", image])
        if history.rc != 0 or settings.rc != 0:
            silent.append(item.name)
        known = _parsed(settings.stdout)
        # Docker's JSON writes <, > and & as escapes.
        plain = " ".join(str(entry) for entry in (known.get("Config") or {}).get("Env") or ())
        held = dict.fromkeys(within(history.stdout + settings.stdout + plain, wanted), "its history or settings")
        held |= {name: ", ".join(paths[:3]) for name, paths in security_layers.search(known, wanted).items()}
        if held:
            places = "; ".join(f"{name} in {where}" for name, where in sorted(held.items()))
            bad[item.name] = f"{places}; image {image.removeprefix('sha256:')[:12]}"
    if silent and not bad:
        return [unmade("secrets.image", f"the history of {', '.join(silent)} could not be read")]
    return each("secrets.image", bad, sorted(item.name for item in by_image.values()))


def _parsed(text: str) -> dict[str, Any]:
    try:
        known = json.loads(text)
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def observe_placement(
    services: Sequence[Seen], wanted: Mapping[str, Sequence[str]], needed: Mapping[str, Sequence[str]]
) -> list[Observation]:
    """Look which services have which secret, and how.

    :arg needed: the services that need a secret, by its name.
    """
    if not services:
        return [unmade("secrets.container", "no container of the project is running")]
    extra: dict[str, set[str]] = {}
    unlisted: dict[str, set[str]] = {}
    shown: dict[str, set[str]] = {}
    for item in services:
        for name in within("\0".join(item.environment.values()), wanted):
            if name not in needed:
                unlisted.setdefault(name, set()).add(item.name)
            elif item.name not in needed[name]:
                extra.setdefault(item.name, set()).add(name)
        for name in within(item.texts, wanted):
            shown.setdefault(item.name, set()).add(name)
    names = sorted({item.name for item in services})
    return [
        *each("secrets.container", {name: f"has {', '.join(sorted(held))}" for name, held in extra.items()}, names),
        *each("secrets.unlisted", {name: f"in {', '.join(sorted(held))}" for name, held in unlisted.items()}, [], "all have a list"),
        *each("secrets.command_line", {name: f"shows {', '.join(sorted(held))}" for name, held in shown.items()}, names),
    ]


# ---- strength and settings -----------------------------------------------------------------------------------------------


def observe_strength(secrets: Mapping[str, str], ours: Iterable[str]) -> list[Observation]:
    """Judge the secrets as the preflight does, which is not asked when somebody edits the file by hand.

    :arg ours: those of them whose length is ours to choose.
    """
    bad: dict[str, str] = {}
    for finding in check_secrets(dict(secrets), [name for name in ours if name in secrets]):
        target = finding.subject.partition(".")[2] or "all"
        bad[target] = redact(f"{bad[target]}; {finding.found}" if target in bad else finding.found, tuple(secrets.values()))
    return each("secrets.strength", bad, sorted(secrets), "there are no secrets")


def observe_settings(
    environment: Mapping[str, str], services: Sequence[Seen], debug_names: Sequence[str], public: str = ""
) -> list[Observation]:
    """Judge the settings, in the env file and as the running containers have them.

    :arg public: the public name; where it is localhost, as of a demonstration, that is no foreign origin.
    """
    bad: dict[str, str] = {}
    for where, values in [("env file", environment), *((item.name, item.environment) for item in services)]:
        on = [f"{name}={values[name][:10]}" for name in debug_names if values.get(name, "").strip().lower() in _YES]
        if on:
            bad[where] = ", ".join(on)
    origins, hosts = (_in_force(name, environment, services) for name in ("CORS_ORIGINS", "TRUSTED_HOSTS"))
    homes = [home for home in _HOME_ORIGINS if home.removeprefix("://") != public]
    loose = [item for item in _listed(origins) if "*" in item or item.startswith("http://") or any(home in item for home in homes)]
    return [
        *each("settings.debug", bad, ["env file", *sorted({item.name for item in services})]),
        Observation("settings.cors", not loose, ", ".join(loose or _listed(origins)) or "not set"),
        Observation("settings.hosts", bool(hosts) and "*" not in _listed(hosts), hosts[:200] or "not set"),
    ]


def _in_force(name: str, environment: Mapping[str, str], services: Sequence[Seen]) -> str:
    """Return a setting as a container has it; the compose file may have a default for what the env file leaves out."""
    return next((item.environment[name] for item in services if name in item.environment), environment.get(name, ""))


def _listed(text: str) -> list[str]:
    """Return the items of a JSON list, or of a comma-separated one."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text.split(",")
    return [str(item).strip() for item in (value if isinstance(value, list) else [value]) if str(item).strip()]
