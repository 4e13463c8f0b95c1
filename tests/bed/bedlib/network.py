"""The bed's own network: fixed addresses, so that controller and servers use the same ones, also after a restart."""

from __future__ import annotations

import ipaddress
import os

from .docker import LABEL, inspect
from .shell import BedError, attempt

NETWORK = "residency-bed"
SUBNET = ipaddress.IPv4Network(os.environ.get("RESIDENCY_BED_SUBNET", "10.213.77.0/24"))
GIT_ADDRESS = str(SUBNET[2])
FIRST_SERVER = 10
# Whoever joins without asking for an address gets one of the upper half.
LOWER_HALF, UPPER_HALF = SUBNET.subnets()


def ensure_network() -> None:
    """Make the network unless it is there already."""
    found = inspect("network", NETWORK)
    if found is None:
        done = attempt(["docker", "network", "create", "--label", f"{LABEL}=1", "--subnet", str(SUBNET),
                        "--ip-range", str(UPPER_HALF), NETWORK])
        if not done.ok:
            raise BedError(f"network {NETWORK} could not be made: {done.errors.strip()}\n"
                           f"  What to do: choose another range, export RESIDENCY_BED_SUBNET=10.x.y.0/24")
    elif found["IPAM"]["Config"][0]["Subnet"] != str(SUBNET):
        raise BedError(f"network {NETWORK} exists with {found['IPAM']['Config'][0]['Subnet']}, wanted is {SUBNET}\n"
                       f"  What to do: ./dev bed down --all, or unset RESIDENCY_BED_SUBNET")


def free_address(taken: set[str]) -> str:
    """Return the first address for servers that is not taken."""
    for address in LOWER_HALF.hosts():
        if int(address) - int(SUBNET.network_address) >= FIRST_SERVER and str(address) not in taken:
            return str(address)
    raise BedError(f"all addresses for servers in {SUBNET} are taken; remove servers by: ./dev bed down NAME")
