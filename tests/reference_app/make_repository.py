#!/usr/bin/env python3
"""Make the reference application's bare git repository, the same commit ids everywhere.

Needs Python 3.11 and git, and nothing else.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
PERSON = b"Residency Scheduler <scheduler@example.com>"
FIRST_DATE = 1_764_547_200  # 2025-12-01 00:00 UTC; each release is a day younger than the one that it builds on
DAY = 86_400
DIGEST_FILE = "reference-app.sha256"
IGNORED = {"__pycache__", ".mypy_cache", ".ruff_cache"}

Tree = dict[str, tuple[bytes, bytes]]  # path -> (git file mode, content)


@dataclass(frozen=True)
class Release:
    """One entry of releases.json."""

    tag: str
    parent: str | None
    message: str
    delete: tuple[str, ...]


def fail(what: str, remedy: str) -> NoReturn:
    """End the program with a message that says what to do."""
    sys.exit(f"make_repository.py: {what}\n  What to do: {remedy}")


def read_releases(path: Path) -> tuple[str, list[Release]]:
    """Return the tag that branch main points to, and all releases in order."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        releases = [
            Release(item["tag"], item["from"], item["message"], tuple(item.get("delete", ())))
            for item in data["releases"]
        ]
        main = data["main"]
    except (KeyError, TypeError, ValueError) as error:
        fail(f"{path.name} cannot be read: {error!r}", "give main, and for each release tag, from and message")
    known: set[str | None] = {None}
    for release in releases:
        if release.parent not in known or release.tag in known:
            fail(
                f"{path.name}: {release.tag} is there twice, or builds on {release.parent}, which does not precede it",
                "give each tag once, after the one that it builds on",
            )
        known.add(release.tag)
    if main not in known:
        fail(f"{path.name}: main names {main}, which is no release", "name one of the tags")
    return main, releases


def read_tree(root: Path) -> Tree:
    """Read all files below a directory."""
    tree: Tree = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_symlink():
            fail(f"{path} is a symbolic link", "make it a file")
        if path.is_file() and not IGNORED.intersection(relative.parts):
            mode = b"100755" if path.stat().st_mode & 0o100 else b"100644"
            tree[relative.as_posix()] = (mode, path.read_bytes())
    if not tree:
        fail(f"{root} is missing or empty", "put there the files that this release has otherwise than the one before")
    return tree


def build_trees(releases: list[Release], source: Path) -> dict[str, Tree]:
    """Lay each release's own files over the tree of the release that it builds on."""
    trees: dict[str, Tree] = {}
    for release in releases:
        below = trees[release.parent] if release.parent else read_tree(source / "base")
        overlay = source / "releases" / release.tag
        own = read_tree(overlay) if overlay.is_dir() or (release.parent and not release.delete) else {}
        if missing := ", ".join(sorted(set(release.delete) - set(below))):
            fail(f"{release.tag} deletes {missing}, which {release.parent} does not have", "correct the paths")
        trees[release.tag] = {path: file for path, file in (below | own).items() if path not in release.delete}
    return trees


def data_block(content: bytes) -> bytes:
    """Frame bytes for git fast-import."""
    return b"data %d\n%s\n" % (len(content), content)


def fast_import_stream(main: str, releases: list[Release], trees: dict[str, Tree]) -> bytes:
    """Describe the whole repository in the language of git fast-import."""
    marks = {release.tag: number for number, release in enumerate(releases, 1)}
    dates: dict[str | None, int] = {None: FIRST_DATE - DAY}
    parts: list[bytes] = []
    for release in releases:
        dates[release.tag] = dates[release.parent] + DAY
        when = b"%s %d +0000\n" % (PERSON, dates[release.tag])
        message = data_block(f"{release.tag}: {release.message}\n".encode())
        parts += [b"commit refs/tags/%s\nmark :%d\n" % (release.tag.encode(), marks[release.tag])]
        parts += [b"author ", when, b"committer ", when, message]
        if release.parent:
            parts.append(b"from :%d\n" % marks[release.parent])
        parts.append(b"deleteall\n")
        for path, (mode, content) in sorted(trees[release.tag].items()):
            parts += [b"M %s inline %s\n" % (mode, json.dumps(path, ensure_ascii=False).encode()), data_block(content)]
        parts += [b"tag %s\nfrom :%d\ntagger " % (release.tag.encode(), marks[release.tag]), when, message]
    parts.append(b"reset refs/heads/main\nfrom :%d\n\n" % marks[main])
    return b"".join(parts)


def git(*arguments: str, stdin: bytes = b"") -> str:
    """Run git without the user's configuration, which could change what it writes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *arguments], input=stdin, capture_output=True, env=environment, check=True, timeout=60
        )
    except FileNotFoundError:
        fail("there is no git on this machine", "install git")
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        fail(f"{' '.join(error.cmd)} failed ({error.returncode}): {said}", "mend what git names, and run it again")
    return done.stdout.decode()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let one run at a time work in a directory; the lock ends with the process and leaves no file."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_repository(output: Path, stream: bytes) -> bool:
    """Bring the output to the wanted state; return whether it was another one."""
    digest = hashlib.sha256(stream).hexdigest()
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output.parent):
        stamp = output / DIGEST_FILE
        if stamp.is_file() and stamp.read_text(encoding="ascii") == digest:
            return False
        if output.exists() and not stamp.is_file():
            fail(f"{output} exists and was not made by this program", "remove it, or name another directory")
        new, old = (output.with_name(f".{output.name}.{word}") for word in ("new", "old"))
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(new))
        git("-C", str(new), "fast-import", "--quiet", "--date-format=raw", stdin=stream)
        (new / DIGEST_FILE).write_text(digest, encoding="ascii")
        if output.exists():
            output.rename(old)
        new.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    return True


def main() -> None:
    """Read the releases, make the repository, print its tags and commits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR.git", help="the bare repository to make")
    output: Path = parser.parse_args().output.absolute()
    branch, releases = read_releases(HERE / "releases.json")
    changed = make_repository(output, fast_import_stream(branch, releases, build_trees(releases, HERE)))
    commits = {
        release.tag: git("-C", str(output), "rev-parse", f"{release.tag}^{{commit}}").strip() for release in releases
    }
    print(json.dumps({"changed": changed, "repository": str(output), "main": branch, "releases": commits}, indent=2))


if __name__ == "__main__":
    main()
