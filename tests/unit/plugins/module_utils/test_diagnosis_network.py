# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""diagnosis_network and diagnosis_probe: the kernel's tables, and names and ports on real sockets."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import diagnosis_probe
from ansible_collections.residency.scheduler.plugins.module_utils.diagnosis_network import listening, parse_hosts, read_listening

# Linux 6.18, two listening sockets and a connection.
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 41234 1 0000000000000000 100 0 0 10 0
   1: 0B00007F:A5F3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 40001 1 0000000000000000 100 0 0 10 0
   2: 030012AC:B1D2 020012AC:1538 01 00000000:00000000 00:00000000 00000000  1001        0 45555 1 0000000000000000 20 4 30 10 -1
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt
   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0
   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0
"""


def test_the_kernels_tables_are_read() -> None:
    assert listening(TCP) == {("0.0.0.0", 8000), ("127.0.0.11", 42483)}
    assert listening(TCP6) == {("::", 3000), ("::1", 8080)}
    assert listening("") == set()


def test_what_this_process_listens_on_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert f"127.0.0.1:{server.getsockname()[1]}" in read_listening(os.getpid())
    assert read_listening(2**30) == []


def test_hosts_are_read() -> None:
    assert parse_hosts("127.0.0.1 localhost # here\n172.18.0.9\tabc alias\n172.18.0.8 alias\n\n") == {
        "localhost": "127.0.0.1",
        "abc": "172.18.0.9",
        "alias": "172.18.0.9",
    }


@contextmanager
def name_server(code: int, *addresses: str) -> Iterator[int]:
    """Answer one question for an A record; a CNAME comes first, as Docker's and others' do."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(5)

    def answer() -> None:
        question, who = server.recvfrom(512)
        records = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60, 4) + b"\x01x\xc0\x0c"
        records += b"".join(b"\x01y\x00" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address) for address in addresses)
        server.sendto(question[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 1 + len(addresses), 0, 0) + question[12:] + records, who)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        thread.join()
        server.close()


def test_a_name_is_asked_for_by_hand() -> None:
    with name_server(0, "172.18.0.5", "172.18.0.6") as port:
        assert diagnosis_probe.ask("backend", "127.0.0.1", 3.0, port) == "172.18.0.5"
    with name_server(3) as port, pytest.raises(ValueError, match="nobody is not known \\(code 3\\)"):
        diagnosis_probe.ask("nobody", "127.0.0.1", 3.0, port)


def test_ports_are_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        good, unknown = diagnosis_probe.main([["a", port], ["b", port]], [], {"a": "127.0.0.1"}, 2.0)["reached"]
    refused = diagnosis_probe.main([["a", port]], [], {"a": "127.0.0.1"}, 2.0)["reached"][0]
    assert (good["address"], good["error"]) == ("127.0.0.1", "")
    assert unknown["error"] == "the container has no name server"
    assert "refused" in refused["error"]
