"""Reads entries as the journal does, by the protocol's description, without a look at the writer."""

from __future__ import annotations

import fcntl
import os
import socket


def receive(listener: socket.socket) -> dict[str, str]:
    """One entry: a datagram, or an empty one with a sealed memory file."""
    data, descriptors, _, _ = socket.recv_fds(listener, 1 << 20, 1)
    if descriptors:
        assert data == b""
        with os.fdopen(descriptors[0], "rb") as file:
            seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
            assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
            file.seek(0)
            data = file.read()
    return parse(data)


def parse(data: bytes) -> dict[str, str]:
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(data[:8], "little")
            value, end, data = data[8 : 8 + length], data[8 + length : 9 + length], data[9 + length :]
            assert end == b"\n"
        fields[name.decode()] = value.decode()
    return fields
