"""A network in memory, below trio's streams: sockets that connect, carry bytes late, and break as they are told to.

trio asks a socket factory for each socket it opens, and a resolver for each name. With these two in place everything
that torcxd and its stand-ins say to each other takes virtual time and no real I/O, so that a run is exact.
"""

from __future__ import annotations

import hashlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import trio

from tests.simulation.world.pipe import Link
from tests.simulation.world.sockets import Address, Socket


class Network(trio.abc.SocketFactory, trio.abc.HostnameResolver):
    """All connections of a simulated world.

    :param random_name: the part of the node's folder that is another one in each run; the digest passes over it.
    :param fired: counts the troubles that somebody ran into.
    :ivar links: by the peer's address: ``("10.0.1.1", 443)``, or the path of a Unix socket.
    :ivar peers: who that is, for people.
    :ivar names: host names and their addresses.
    :ivar digest: of every byte that was sent, and when it arrived.
    """

    def __init__(self, random_name: str, fired: Counter[str]) -> None:
        self._fired = fired
        self.digest = hashlib.sha256()
        self._random_name = random_name.encode()
        self.links: dict[Address, Link] = {}
        self.peers: dict[Address, str] = {}
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
        return self.links.setdefault(address, Link(self.peers.get(address, "another"), self._fired))

    def next_port(self) -> int:
        self._ports += 1
        return self._ports

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> Socket:  # noqa: A002
        made = Socket(self, family)
        self.sockets[made] = None
        return made

    async def connect(self, client: Socket, address: Address) -> None:
        link = self.link(address)
        if link.blackhole:
            link.note("connection withheld")
        while link.blackhole:
            await trio.sleep(1)
        await trio.sleep(link.latency)
        listener = self.listeners.get(address)
        if client.owner in self.dead:
            raise ConnectionResetError(104, "connection reset by peer")
        if link.down or listener is None:
            link.note("connection refused")
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
                if each.link is not None:
                    each.link.note("connection broken")
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
        if address is not None and (link := self.link((address, int(port)))).unresolved:
            link.note("name not resolved")
            address = None
        if address is None:
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
