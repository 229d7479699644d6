"""Structured entries for the journal, in its native protocol; https://systemd.io/JOURNAL_NATIVE_PROTOCOL.

An entry is one datagram. One that is too large for that goes into a sealed memory file, whose descriptor is sent in its
place. Nothing here waits: an entry that the journal has no room for is not delivered, and the caller is told so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# The journal drops fields with other names; those with a leading underscore are its own ("trusted fields").
_FIELD_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

# What the kernel answers to a datagram that is larger than the sender's buffer, or that it finds no memory for.
_TOO_LARGE: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})

# The journal maps the file only when nobody can change it any more.
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Journal:
    """The journal that listens at *path*; one that is absent, or restarts, is tried anew with each entry."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, fields: Mapping[str, str]) -> bool:
        """Write one entry.

        :param fields: at least ``MESSAGE``; systemd.journal-fields(7) lists the well-known ones. Values may have
            several lines.
        :returns: whether the journal has taken it; False when nobody listens or its queue is full.
        :raises ValueError: a field name that the journal would drop.
        """
        entry = encode(fields)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.connect(os.fspath(self._path))
                try:
                    sender.send(entry)
                except OSError as error:
                    if error.errno not in _TOO_LARGE:
                        raise
                    _send_as_file(sender, entry)
        except OSError:
            return False
        return True


def encode(fields: Mapping[str, str]) -> bytes:
    """An entry's bytes: ``NAME=value`` lines; a value with line breaks has its length before it instead.

    :raises ValueError: a field name that the journal would drop.
    """
    entry = bytearray()
    for name, value in fields.items():
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a field of the journal")
        data = value.encode("utf-8", "surrogateescape")
        if b"\n" in data:
            entry += name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
        else:
            entry += name.encode() + b"=" + data + b"\n"
    return bytes(entry)


def _send_as_file(sender: socket.socket, entry: bytes) -> None:
    descriptor = os.memfd_create("torcxd-journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        written = 0
        while written < len(entry):
            written += file.write(entry[written:])
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        socket.send_fds(sender, [b""], [file.fileno()])
