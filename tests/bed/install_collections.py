"""Installs pinned Ansible collections into the site-packages of the Python that runs this.

From Galaxy where it answers; else from the `ansible` package on PyPI, a wheel in which the same collections lie.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import yaml
from ansible import constants

SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
GALAXY_SECONDS = 4

Pins = dict[str, str]  # collection -> version


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requirements", type=Path, required=True, help="a requirements file for ansible-galaxy")
    parser.add_argument("--wheel", required=True, help="the package that holds them too, as in ansible==12.3.0")
    parser.add_argument("--pip", required=True, help="the pip to fetch that package with")
    arguments = parser.parse_args()
    pins = read_pins(arguments.requirements)
    if not (galaxy_answers() and install_from_galaxy(arguments.requirements)):
        install_from_wheel(arguments.pip, arguments.wheel, set(pins))
    wrong = {name: found for name, version in pins.items() if (found := installed_version(name)) != version}
    for name, found in wrong.items():
        print(f"ERROR: {name} {pins[name]} is wanted, found is {found or 'none'}; what to do: bring "
              f"{arguments.requirements} and {arguments.wheel} into line", file=sys.stderr)
    return 1 if wrong else 0


def read_pins(path: Path) -> Pins:
    """Return the exact versions that a requirements file asks for."""
    return {entry["name"]: entry["version"] for entry in yaml.safe_load(path.read_text())["collections"]}


def galaxy_answers() -> bool:
    """Ask Galaxy once, for ansible-galaxy itself would try for long."""
    try:
        with urllib.request.urlopen(f"{constants.GALAXY_SERVER.rstrip('/')}/api/", timeout=GALAXY_SECONDS):
            return True
    except (urllib.error.URLError, OSError):
        return False


def install_from_galaxy(requirements: Path) -> bool:
    """Return False where Galaxy answered but did not deliver: the wheel is the way out then."""
    command = [str(Path(sys.executable).parent / "ansible-galaxy"), "collection", "install", "--force", "--no-deps",
               "--requirements-file", str(requirements), "--collections-path", str(SITE_PACKAGES)]
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0


def install_from_wheel(pip: str, package: str, names: set[str]) -> None:
    """Unpack only these collections: a few per cent of the whole."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([pip, "--quiet", "download", "--no-deps", "--only-binary=:all:", "--python-version=3.13",
                        f"--dest={folder}", package], check=True)
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            wanted = [member for member in archive.namelist() if collection_of(member) in names]
            archive.extractall(SITE_PACKAGES, wanted)


def collection_of(member: str) -> str:
    """Return the collection that a file in the wheel belongs to; empty for other files."""
    parts = member.split("/")
    return ".".join(parts[1:3]) if parts[0] == "ansible_collections" and len(parts) > 3 else ""


def installed_version(name: str) -> str:
    """Return the version that an installed collection says it is; empty where it is missing."""
    manifest = SITE_PACKAGES / "ansible_collections" / name.replace(".", "/") / "MANIFEST.json"
    if not manifest.is_file():
        return ""
    return str(json.loads(manifest.read_text())["collection_info"]["version"])


if __name__ == "__main__":
    sys.exit(main())
