"""The bed's images: the official ones where a registry answers, else stand-ins made of Debian's packages.

Every image carries a label with the digest of all that went into it, and is made anew only when that changed.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .docker import LABEL, image_label, inspect
from .shell import as_root, attempt, pipe, run, say

PREFIX = "residency-bed"
RECIPES = Path(__file__).resolve().parent.parent / "images"
CERTIFICATES = Path("/usr/local/share/ca-certificates")
RECIPE_LABEL = f"{LABEL}.recipe"
MIRROR = os.environ.get("RESIDENCY_DEBIAN_MIRROR", "http://deb.debian.org/debian")
REGISTRY = os.environ.get("RESIDENCY_REGISTRY", "docker.io/library")
PULL_SECONDS = 90
BUILD_SECONDS = 600
AT_ONCE = 2

Files = dict[str, tuple[bytes, int]]  # path in the build context -> content, mode


@dataclass(frozen=True)
class Image:
    """One image: its name below PREFIX, the folder of its recipe, what it is made from, and whom it stands in for."""

    name: str
    recipe: str
    base: str
    official: str = ""

    @property
    def reference(self) -> str:
        return f"{PREFIX}/{self.name}"


# The base of a Debian is the suite that debootstrap unpacks.
BASES = (
    Image("debian:12", "debian", base="bookworm", official="debian:12-slim"),
    Image("debian:13", "debian", base="trixie", official="debian:13-slim"),
)
DERIVED = (
    Image("postgres:15", "postgres", base="debian:12", official="postgres:15"),
    Image("server:debian12", "server", base="debian:12"),
    Image("server:debian13", "server", base="debian:13"),
    Image("dind:13", "dind", base="debian:13"),
    Image("python:3.11", "python", base="debian:12", official="python:3.11-slim"),
    Image("node:18", "node", base="debian:12", official="node:18-slim"),
    Image("nginx:1", "nginx", base="debian:12", official="nginx:1"),
    Image("redis:7", "redis", base="debian:12", official="redis:7"),
    Image("git:1", "git", base="debian:12"),
    Image("prometheus:2", "prometheus", base="debian:13"),
)
# What a server finds in its image store at once, as if it had pulled it from a registry.
WARMED = tuple(f"{PREFIX}/{name}" for name in ("python:3.11", "postgres:15", "redis:7", "nginx:1", "node:18"))


def make_images() -> None:
    """Make all images that are missing or whose recipe changed."""
    for generation in (BASES, DERIVED):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(_make, generation))  # list(): so that an error of one is raised here


def _make(image: Image) -> None:
    own = _own_context(image)
    own_digest = _digest(own, _identity_of_base(image))
    official = _official_context(image)
    official_digest = _digest(official, f"{REGISTRY}/{image.official}")
    label = image_label(image.reference, RECIPE_LABEL)
    if label == own_digest or (image.official and label == official_digest):
        return
    if image.official and _pull(f"{REGISTRY}/{image.official}"):
        _build(image, official, f"{REGISTRY}/{image.official}", official_digest)
    elif image in BASES:
        _build(image, own, _debootstrap(image), own_digest)
    else:
        _build(image, own, f"{PREFIX}/{image.base}", own_digest)


def _identity_of_base(image: Image) -> str:
    if image in BASES:
        return f"{image.base} {MIRROR}"
    return image_label(f"{PREFIX}/{image.base}", RECIPE_LABEL)


def _own_context(image: Image) -> Files:
    files = _read(RECIPES / image.recipe)
    return files | _certificates() if image in BASES else files


def _official_context(image: Image) -> Files:
    if image in BASES:
        return _own_context(image)
    if not _certificates():
        return {"Dockerfile": (b"ARG BASE\nFROM ${BASE}\n", 0o644)}
    return _read(RECIPES / "official") | _certificates()


def _certificates() -> Files:
    found = _read(CERTIFICATES, "*.crt") if CERTIFICATES.is_dir() else {}
    return {f"certificates/{name}": entry for name, entry in found.items()}


def _read(folder: Path, pattern: str = "*") -> Files:
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
    # Git keeps no more of a mode than "executable": nothing else may change the digest.
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)
            for path in paths}


def _digest(files: Files, base: str) -> str:
    digest = hashlib.sha256(base.encode())
    for name, (content, mode) in sorted(files.items()):
        digest.update(f"\0{name}\0{mode:o}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _pull(name: str) -> bool:
    return REGISTRY != "none" and attempt(["docker", "pull", "--quiet", name], timeout=PULL_SECONDS).ok


def _debootstrap(image: Image) -> str:
    """Unpack a minimal Debian and return the name of the image it became."""
    name = f"{PREFIX}/debootstrap:{image.base}"
    say(f"debootstrap {image.base}")
    pipe(as_root([str(RECIPES / "debian" / "make_rootfs.sh"), image.base, MIRROR]),
         ["docker", "import", "-", name], timeout=BUILD_SECONDS)
    return name


def _build(image: Image, files: Files, base: str, digest: str) -> None:
    say(f"image {image.reference} from {base}")
    previous = inspect("image", image.reference)
    run(["docker", "build", "--quiet", "--tag", image.reference, "--build-arg", f"BASE={base}",
         "--label", f"{LABEL}=1", "--label", f"{RECIPE_LABEL}={digest}", "-"],
        data=_tar(files), timeout=BUILD_SECONDS)
    if previous is not None:
        attempt(["docker", "image", "rm", previous["Id"]])  # stays while a container still uses it


def _tar(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("certificates")  # COPY wants it even where it is empty
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
