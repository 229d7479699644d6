"""A network in memory, below trio's streams: sockets that connect, carry bytes late, and break as they are told to.

trio asks a socket factory for each socket it opens, and a resolver for each name. With these two in place everything
that torcxd and its stand-ins say to each other takes virtual time and no real I/O, so that a run is exact.
"""

from __future__ import annotations

import array
import hashlib
import os
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import trio

# Bytes under way in one direction; who sends more waits, as with a kernel's buffers.
_WINDOW: Final = 256 * 1024

# Whose sockets those are that are opened now; the tasks of one simulated process inherit it.
WORLD: Final = "world"
OWNER: Final[ContextVar[str]] = ContextVar("owner", default=WORLD)

Address = Any
# Told of all bytes that are sent, and when they arrive.
Heard = Callable[[float, bytearray], None]


@dataclass(slots=True)
class Link:
    """How it goes with the connections to one peer; may be changed at any time.

    :ivar latency: seconds from sending to arrival.
    :ivar down: connections are refused; see :meth:`Network.cut`.
    :ivar blackhole: nothing arrives any more, and nobody says so.
    :ivar cuts: for each of the next connections, after how many bytes from the server it is reset.
    :ivar flips: for each of the next connections, the number of the byte from the server that arrives as another one.
    :ivar unresolved: its name is not known.
    """

    latency: float = 0.001
    down: bool = False
    blackhole: bool = False
    cuts: deque[int] = field(default_factory=deque)
    flips: deque[int] = field(default_factory=deque)
    unresolved: bool = False


@dataclass(slots=True)
class _Piece:
    due: float
    data: memoryview
    descriptors: list[int]


class Pipe:
    """One direction of a connection."""

    def __init__(self, link: Link, heard: Heard, *, cut: int | None = None, flip: int | None = None) -> None:
        self.link = link
        self._heard = heard
        self.pieces: deque[_Piece] = deque()
        self.buffered = 0
        self.sent = 0
        self.ended = False
        self.reset = False
        self.left = False
        self._cut = cut
        self._flip = flip
        self._changed = trio.Event()

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def write(self, data: bytes, descriptors: list[int]) -> int:
        """Send as much of *data* as there is room for, at least a byte."""
        while True:
            if self.reset:
                raise ConnectionResetError(104, "connection reset by peer")
            if self.left or self.ended:
                raise BrokenPipeError(32, "broken pipe")
            room = _WINDOW - self.buffered
            if room > 0:
                break
            await self._changed.wait()
        piece = bytearray(data[:room])
        if self._flip is not None and self.sent <= self._flip < self.sent + len(piece):
            piece[self._flip - self.sent] ^= 0x20
        if self._cut is not None and self.sent + len(piece) >= self._cut:
            self.abort()
            raise ConnectionResetError(104, "connection reset by peer")
        self.sent += len(piece)
        self.buffered += len(piece)
        last = self.pieces[-1].due if self.pieces else 0.0
        due = max(last, trio.current_time() + self.link.latency)
        self.pieces.append(_Piece(due, memoryview(bytes(piece)), descriptors))
        self._heard(due, piece)
        self.wake()
        return len(piece)

    def end(self) -> None:
        self.ended = True
        self.wake()

    def abort(self) -> None:
        """Break it: what is under way is lost."""
        self.reset = True
        self.forget()
        self.wake()

    def forget(self) -> None:
        for each in self.pieces:
            for descriptor in each.descriptors:
                os.close(descriptor)
        self.pieces.clear()
        self.buffered = 0

    async def read(self, most: int) -> tuple[bytes, list[int]]:
        """What has arrived, empty at the end."""
        while True:
            if self.left:
                raise OSError(9, "bad file descriptor")
            if self.reset:
                raise ConnectionResetError(104, "connection reset by peer")
            if self.link.blackhole:
                await self._changed.wait()
                continue
            if self.pieces:
                piece = self.pieces[0]
                wait = piece.due - trio.current_time()
                if wait > 0:
                    changed = self._changed
                    with trio.move_on_after(wait):
                        await changed.wait()
                    continue
                data = bytes(piece.data[:most])
                piece.data = piece.data[most:]
                descriptors, piece.descriptors = piece.descriptors, []
                if not piece.data:
                    self.pieces.popleft()
                self.buffered -= len(data)
                self.wake()
                return data, descriptors
            if self.ended:
                return b"", []
            await self._changed.wait()

    def is_readable(self) -> bool:
        if self.link.blackhole:
            return False
        return self.reset or (bool(self.pieces) and self.pieces[0].due <= trio.current_time()) or self._is_over()

    def _is_over(self) -> bool:
        return self.ended and not self.pieces


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
        found = await self._incoming.read(most)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return found

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


class Network(trio.abc.SocketFactory, trio.abc.HostnameResolver):
    """All connections of a simulated world.

    :param random_name: the part of the node's folder that is another one in each run; the digest passes over it.
    :ivar links: by the peer's address: ``("10.0.1.1", 443)``, or the path of a Unix socket.
    :ivar names: host names and their addresses.
    :ivar digest: of every byte that was sent, and when it arrived.
    """

    def __init__(self, random_name: str) -> None:
        self.digest = hashlib.sha256()
        self._random_name = random_name.encode()
        self.links: dict[Address, Link] = {}
        self.names: dict[str, str] = {}
        self.listeners: dict[Address, Socket] = {}
        # Insertion order, which a set would not keep.
        self.sockets: dict[Socket, None] = {}
        # Processes that were killed: what they still try goes nowhere.
        self.dead: set[str] = set()
        self._ports = 20_000

    def heard(self, due: float, piece: bytearray) -> None:
        self.digest.update(struct.pack("<d", due))
        self.digest.update(piece.replace(self._random_name, b""))

    def link(self, address: Address) -> Link:
        return self.links.setdefault(address, Link())

    def next_port(self) -> int:
        self._ports += 1
        return self._ports

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> Socket:  # noqa: A002
        made = Socket(self, family)
        self.sockets[made] = None
        return made

    async def connect(self, client: Socket, address: Address) -> None:
        link = self.link(address)
        while link.blackhole:
            await trio.sleep(1)
        await trio.sleep(link.latency)
        listener = self.listeners.get(address)
        if client.owner in self.dead:
            raise ConnectionResetError(104, "connection reset by peer")
        if link.down or listener is None:
            if isinstance(address, str):
                raise FileNotFoundError(2, "no such file or directory")
            raise ConnectionRefusedError(111, "connection refused")
        server = Socket(self, client._family)
        server.owner = listener.owner
        self.sockets[server] = None
        client.join(server, link, address)
        listener.offer(server)

    def cut(self, chosen: Callable[[Socket], bool], *, gently: bool = False) -> int:
        """Break the connections that *chosen* picks; returns how many."""
        picked = [each for each in self.sockets if chosen(each)]
        for each in picked:
            if gently:
                each.vanish()
            else:
                each.abort()
        return len(picked)

    def wake(self) -> None:
        """A link has changed: let everybody who waits look again."""
        for each in list(self.sockets):
            each.wake()

    # Names.

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        await trio.lowlevel.checkpoint()
        name = (host or b"").decode()
        address = self.names.get(name)
        if address is None or self.link((address, int(port))).unresolved:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def listen(network: Network, address: Address) -> Socket:
    """A listening socket at *address*."""
    made = network.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    if isinstance(address, str):
        made.bind_path(address)
    else:
        await made.bind(address)
    made.listen()
    return made


def shuffled(seed: object) -> random.Random:
    """A random stream of its own for each *seed*."""
    return random.Random(repr(seed))
