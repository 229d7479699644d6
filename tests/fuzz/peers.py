"""Peers in memory: what the fuzzer made up is what they say."""

from __future__ import annotations

import ssl
from typing import Final

from torcxd.errors import Kind
from torcxd.http import HttpClient, HttpError, Reason
from torcxd.http.connection import READ_SIZE, Connection, Opener
from torcxd.http.proxies import Proxies
from torcxd.http.session import Session
from torcxd.http.url import Url, redact

# Made once: reading the system's authorities takes longer than all the rest.
_CONTEXT: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Spoken(Connection):
    """A connection whose other end says what it was given, in pieces of *size* bytes, and closes."""

    def __init__(self, said: bytes, size: int) -> None:
        self.host = ""
        self.port = ""
        self.received = 0
        self.at_eof = False
        self.reused = False
        self.closed = False
        self._active = True
        self._said = said
        self._size = max(1, size)

    async def send(self, data: bytes) -> None:
        """The other end listens to nothing."""

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes | bytearray:
        """The next piece."""
        size = min(max_bytes, self._size)
        piece, self._said = self._said[:size], self._said[size:]
        self.received += len(piece)
        self.at_eof = not piece
        return piece

    def close(self) -> None:
        """Remember it."""
        self._active = False
        self.closed = True

    def is_stale(self) -> bool:
        """As if nothing had arrived: then what is left is taken for the next answer, which is the harder case."""
        return self.closed

    def peer_address(self) -> str:
        """A public one."""
        return "192.0.2.1"


class _Speaking(Opener):
    """Connects to a new peer each time, for as long as there is one."""

    def __init__(self, said: list[bytes], size: int) -> None:
        self.opened: list[Spoken] = []
        self._said = said
        self._size = size

    async def open(self, url: Url) -> Connection:
        """The next peer, whoever was asked for."""
        if not self._said:
            raise HttpError("nobody listens", reason=Reason.CONNECT, kind=Kind.TRANSIENT, url=redact(str(url)))
        self.opened.append(Spoken(self._said.pop(0), self._size))
        return self.opened[-1]


class SpokenClient(HttpClient):
    """The client, with *said* for what its connections will receive, one after the other.

    :param size: of the pieces in which it arrives.
    """

    def __init__(self, said: list[bytes], size: int) -> None:
        super().__init__(proxies=Proxies.none(), ssl_context=_CONTEXT)
        self.opener = _Speaking(said, size)
        self._session = Session(self.opener, max_idle=8)


def answers(data: bytes) -> list[bytes]:
    """What several connections say, in one input: cut at lines of ``====``."""
    return data.split(b"\n====\n")
