"""A socket of the simulated network, as trio's streams and listeners use one."""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import trio

from tests.simulation.world.pipe import Link, Pipe

if TYPE_CHECKING:
    from tests.simulation.world.network import Network

# Whose sockets those are that are opened now; the tasks of one simulated process inherit it.
WORLD: Final = "world"
OWNER: Final[ContextVar[str]] = ContextVar("owner", default=WORLD)

# As the socket module has it for each family: a pair, or the path of a Unix socket.
Address = Any


class Socket(trio.socket.SocketType):
    """One end of a connection, or a listener."""

    def __init__(self, network: Network, family: int) -> None:
        super().__init__()
        self._network = network
        self._family = family
        self._name: Address = ("10.0.0.1", 0)
        self._peer: Address = None
        self._incoming: Pipe | None = None
        self._outgoing: Pipe | None = None
        self._shut = False
        self._lingers = True
        self._closed = False
        self._backlog: deque[Socket] = deque()
        self._arrived = trio.Event()
        self._listening = False
        self.owner = OWNER.get()

    # What trio's streams and listeners ask.

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AddressFamily(self._family)

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        return 0

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802: trio's name
        return self._shut

    def fileno(self) -> int:
        return -1 if self._closed else 1_000_000

    def getsockname(self) -> Address:
        return self._name

    def getpeername(self) -> Address:
        if self._peer is None or self._closed:
            raise OSError(107, "not connected")
        return self._peer

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        return int(self._listening) if optname == socket.SO_ACCEPTCONN else 0

    def setsockopt(self, *arguments: Any) -> None:
        if arguments[1] == socket.SO_LINGER:
            self._lingers = False

    # Its life.

    async def bind(self, address: Address) -> None:
        host, port = address[0], address[1]
        self._name = (host, port or self._network.next_port())

    def bind_path(self, path: str) -> None:
        self._name = path

    def listen(self, backlog: int = 0) -> None:
        self._listening = True
        self._network.listeners[self._name] = self

    async def accept(self) -> tuple[trio.socket.SocketType, Address]:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._backlog:
            self._open()
            await self._arrived.wait()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self._backlog.popleft(), ("10.0.0.1", 1)

    async def connect(self, address: Address) -> None:
        await trio.lowlevel.checkpoint()
        await self._network.connect(self, address)

    def join(self, other: Socket, link: Link, address: Address) -> None:
        """Become connected with *other*, which is the server's side."""
        cut = link.cuts.popleft() if link.cuts else None
        flip = link.flips.popleft() if link.flips else None
        heard = self._network.heard
        self._incoming = other._outgoing = Pipe(link, heard, cut=cut, flip=flip)
        self._outgoing = other._incoming = Pipe(link, heard)
        self._peer = address
        other._peer, other._name = ("10.0.0.1", 1), address

    def offer(self, connection: Socket) -> None:
        self._backlog.append(connection)
        self._arrived.set()
        self._arrived = trio.Event()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._listening:
            if self._network.listeners.get(self._name) is self:
                del self._network.listeners[self._name]
            for each in self._backlog:
                each.close()
            self._arrived.set()
        self._network.sockets.pop(self, None)
        if self._incoming is not None and self._outgoing is not None:
            if not self._lingers:
                self._outgoing.abort()
            self._outgoing.end()
            self._incoming.left = True
            self._incoming.forget()
            self._incoming.wake()

    def abort(self) -> None:
        """Break the connection for both sides."""
        for each in (self._incoming, self._outgoing):
            if each is not None:
                each.abort()

    def vanish(self) -> None:
        """Close it as the kernel does for a process that died."""
        self.close()

    def shutdown(self, flag: int) -> None:
        if flag in (socket.SHUT_WR, socket.SHUT_RDWR):
            self._shut = True
            if self._outgoing is not None:
                self._outgoing.end()

    def is_readable(self) -> bool:
        return self._incoming is not None and self._incoming.is_readable()

    @property
    def link(self) -> Link | None:
        return self._incoming.link if self._incoming is not None else None

    def wake(self) -> None:
        for each in (self._incoming, self._outgoing):
            if each is not None:
                each.wake()

    # Bytes.

    def _open(self) -> None:
        if self._closed:
            raise OSError(9, "bad file descriptor")

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        data, descriptors = await self._receive(buflen)
        for each in descriptors:
            os.close(each)
        return data

    async def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        data, descriptors = await self._receive(bufsize)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())]
        return data, ancillary if descriptors else [], 0, None

    async def _receive(self, most: int) -> tuple[bytes, list[int]]:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._open()
        assert self._incoming is not None
        return await self._incoming.read(most)

    async def send(self, data: Any, flags: int = 0, /) -> int:
        return await self._send(bytes(data), [])

    async def sendmsg(
        self,
        buffers: Iterable[Any],
        ancdata: Iterable[tuple[int, int, Any]] = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int:
        descriptors = [os.dup(each) for _, _, sent in ancdata for each in array.array("i", bytes(sent))]
        return await self._send(b"".join(bytes(each) for each in buffers), descriptors)

    async def _send(self, data: bytes, descriptors: list[int]) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._open()
        assert self._outgoing is not None
        if not data:
            return 0
        sent = await self._outgoing.write(data, descriptors)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return sent
