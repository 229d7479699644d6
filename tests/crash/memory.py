"""What the arguments of a waiting system call point at: read from the memory and the descriptors of its process."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.crash.calls import OPEN_CHANGES, SHAPES, Call, Shape
from tests.crash.notify import Notification

_PAGE: Final = 4096
_AT_FDCWD: Final = 0xFFFFFF9C
_VECTOR: Final = struct.Struct("=QQ")
# struct msghdr up to the length of its control data.
_MESSAGE: Final = struct.Struct("=QIIQQQQ")
_DELETED: Final = " (deleted)"


class Memory:
    """The memory of a process that waits. Raises ``OSError`` when it is gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def bytes_at(self, address: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, address) if length else b""

    def text_at(self, address: int) -> str:
        """A string with its final zero byte; nothing is read of the page behind the one that it ends in."""
        found = b""
        while b"\0" not in found:
            start = address + len(found)
            found += self.bytes_at(start, _PAGE - start % _PAGE)
        return os.fsdecode(found.partition(b"\0")[0])

    def vector_at(self, address: int, count: int) -> bytes:
        """What the iovecs point at."""
        vectors = _VECTOR.iter_unpack(self.bytes_at(address, count * _VECTOR.size))
        return b"".join(self.bytes_at(*each) for each in vectors)


@contextmanager
def memory_of(thread: int) -> Iterator[Memory]:
    """The memory of that thread's process, for the length of the block."""
    descriptor = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Memory(descriptor)
    finally:
        os.close(descriptor)


class Sockets:
    """Which socket of the watched processes leads to which peer: noted as they connect.

    :param peers: the peers that count, by address. What the C library asks besides, and a journal that is not there,
        takes no note of the program.
    """

    def __init__(self, peers: Mapping[str, str]) -> None:
        self._peers = peers
        self._connected: dict[str, str] = {}

    def connecting(self, inode: str, address: str) -> str | None:
        """The peer that a socket is about to be connected to; None for one that does not count."""
        peer = self._peers.get(address)
        if peer is None:
            self._connected.pop(inode, None)
        else:
            self._connected[inode] = peer
        return peer

    def peer(self, inode: str) -> str | None:
        """The peer that a socket leads to."""
        return self._connected.get(inode)


def process_of(thread: int) -> int:
    """The process that the thread belongs to. Raises ``OSError`` when it is gone."""
    with open(f"/proc/{thread}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Tgid:"))


def read_call(waiting: Notification, sockets: Sockets) -> Call | None:
    """What this call is about to do; None if nobody outside the process will notice.

    That is a pipe, a pair of sockets that lead from the process to itself, an event counter, a terminal; and a file
    that is opened only to be read.

    :raises OSError: the process was killed meanwhile.
    """
    shape = SHAPES[waiting.number]
    if shape.name == "openat2":
        raise AssertionError("openat2 keeps its flags in memory: nothing used it when this was written")
    if shape.flags is not None and not waiting.arguments[shape.flags] & OPEN_CHANGES:
        return None
    with memory_of(waiting.thread) as memory:
        if shape.path is not None and waiting.arguments[shape.path]:
            return Call(shape.name, waiting.thread, _path(waiting, shape, memory))
        # utimensat(2) without a path is about its descriptor.
        descriptor = waiting.arguments[shape.descriptor or 0] & 0xFFFFFFFF
        opened = str(Path(f"/proc/{waiting.thread}/fd/{descriptor}").readlink())
        if shape.name == "connect":
            address = _address(memory.bytes_at(waiting.arguments[1], waiting.arguments[2] & 0xFFFFFFFF))
            peer = sockets.connecting(opened, address)
            return Call(shape.name, waiting.thread, peer, peer=True, descriptor=descriptor) if peer else None
        peer = sockets.peer(opened)
        if peer is None and not opened.startswith("/"):
            return None
        return Call(
            shape.name,
            waiting.thread,
            peer or opened.removesuffix(_DELETED),
            _data(waiting, shape, memory),
            peer is not None,
            descriptor,
            waiting.arguments[3] if shape.name == "pwrite64" else None,
        )


def _path(waiting: Notification, shape: Shape, memory: Memory) -> str:
    assert shape.path is not None
    path = memory.text_at(waiting.arguments[shape.path])
    if path.startswith("/"):
        return os.path.normpath(path)
    start = "cwd"
    if shape.directory is not None and waiting.arguments[shape.directory] & 0xFFFFFFFF != _AT_FDCWD:
        start = f"fd/{waiting.arguments[shape.directory] & 0xFFFFFFFF}"
    return os.path.normpath(Path(f"/proc/{waiting.thread}/{start}").readlink() / path)


def _data(waiting: Notification, shape: Shape, memory: Memory) -> bytes | None:
    if shape.data == "buffer":
        return memory.bytes_at(waiting.arguments[1], waiting.arguments[2])
    if shape.data == "vector":
        return memory.vector_at(waiting.arguments[1], waiting.arguments[2])
    if shape.data == "message":
        _, _, _, vectors, count, _, control = _MESSAGE.unpack(memory.bytes_at(waiting.arguments[1], _MESSAGE.size))
        # What goes with descriptors cannot be cut here.
        return None if control else memory.vector_at(vectors, count)
    return None


def _address(data: bytes) -> str:
    """A struct sockaddr as text: a path, or ``host:port``."""
    (family,) = struct.unpack_from("=H", data)
    if family == socket.AF_UNIX:
        return os.fsdecode(data[2:].rstrip(b"\0").partition(b"\0")[0] or b"@" + data[3:])
    (port,) = struct.unpack_from("!H", data, 2)
    if family == socket.AF_INET:
        return f"{socket.inet_ntop(family, data[4:8])}:{port}"
    if family == socket.AF_INET6:
        return f"[{socket.inet_ntop(family, data[8:24])}]:{port}"
    return f"family {family}"
