"""Makes and removes the test bed. README.md beside this file tells what it consists of."""

from __future__ import annotations

import argparse
import json
import re
import sys

from bedlib import images, repository, servers
from bedlib.cache import lock
from bedlib.docker import require_engine
from bedlib.shell import BedError
from bedlib.template import ensure_template


def main() -> int:
    arguments = parser().parse_args()
    try:
        require_engine()
        arguments.command(arguments)
    except BedError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="bed", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(function: object, name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=function)
        return sub

    command(make_images, "images", "make all images, and the servers' image store")
    command(serve_repository, "repository", "make and serve the reference application's git repository; print its URL")
    sub = command(server_up, "up", "bring a server up, with all that it needs; print its address")
    sub.add_argument("name", type=server_name)
    sub.add_argument("--debian", choices=("12", "13"), default="12", help="release (default: 12)")
    sub.add_argument("--publish", action="append", default=[], metavar="HOST:PORT:PORT",
                     help="publish a port, as in docker run; may be repeated")
    sub.add_argument("--fresh", action="store_true", help="remove an existing server of this name first")
    sub = command(print_inventory, "inventory", "print Ansible's host variables of servers as JSON")
    sub.add_argument("names", nargs="+", metavar="NAME")
    sub = command(servers_down, "down", "remove servers with all their data")
    sub.add_argument("names", nargs="*", metavar="NAME")
    sub.add_argument("--all", action="store_true",
                     help="every container, network and volume of the bed; images and the image store's template stay")
    command(list_servers, "list", "list the servers")
    return top


def server_name(text: str) -> str:
    """Accept what may be a host's name and a container's."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", text):
        raise argparse.ArgumentTypeError(f"{text!r}: two or more of a-z, 0-9 and -, the first a letter")
    return text


def make_images(_arguments: argparse.Namespace) -> None:
    with lock("shared"):
        images.make_images()
        ensure_template()


def serve_repository(_arguments: argparse.Namespace) -> None:
    with lock("shared"):
        images.make_images()
        print(repository.serve_repository())


def server_up(arguments: argparse.Namespace) -> None:
    with lock("shared"):
        images.make_images()
    settings = servers.Settings(arguments.debian, tuple(arguments.publish))
    print(servers.up(arguments.name, settings, arguments.fresh))


def print_inventory(arguments: argparse.Namespace) -> None:
    print(json.dumps({name: servers.inventory(name) for name in arguments.names}, indent=2))


def servers_down(arguments: argparse.Namespace) -> None:
    if arguments.all == bool(arguments.names):
        raise BedError("nothing was removed: say either the names of servers or --all")
    if arguments.all:
        with lock("shared"):
            servers.down_all()
    for name in arguments.names:
        servers.down(name)


def list_servers(_arguments: argparse.Namespace) -> None:
    for name in servers.servers():
        print("{name:24} {state:10} {address:16} Debian {debian}  {publish}".format(**servers.summary(name)))


if __name__ == "__main__":
    sys.exit(main())
