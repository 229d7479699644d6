"""The two places that talk HTTP for themselves: Docker's socket, and a proxy's answer to CONNECT."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import h11
import trio

from tests.fuzz.oracle import demand, refusing
from torcxd.errors import TorcxdError
from torcxd.host.docker import server_version
from torcxd.http import HttpError
from torcxd.http.connection import _open_tunnel
from torcxd.http.unix import get_over_unix
from torcxd.http.url import Url

WORDS: Final = (
    "HTTP/1.1 200 OK\r\n", "HTTP/1.1 407 x\r\n", "HTTP/1.1 100 x\r\n\r\n", "Content-Length: 5\r\n", "\r\n\r\n",
    '{"Version":"17.03.2-ce"}', "Transfer-Encoding: chunked\r\n", "[[[[",
)  # fmt: skip


class _Stream:
    """A stream of trio's whose other end says what it was given, and closes."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    async def __aenter__(self) -> _Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send_all(self, data: bytes | None) -> None:
        """Nobody listens."""

    async def receive_some(self, most: int = 7) -> bytes:
        """The next piece."""
        most = min(most, 7)
        piece, self._said = self._said[:most], self._said[most:]
        return piece


def check(data: bytes) -> None:
    trio.run(_docker, data)
    trio.run(_tunnel, data)


async def _docker(data: bytes) -> None:
    async def opened(path: Any) -> _Stream:
        return _Stream(data)

    with patch("trio.open_unix_socket", opened):
        with refusing(HttpError):
            answer = await get_over_unix(Path("/run/docker.sock"), "/version", seconds=5, max_bytes=64)
            demand(len(answer.body) <= 64, "a larger body than was asked for")
        version = await server_version(Path("/run/docker.sock"))
        demand(version is None or isinstance(version, str), "a version that is no text")


async def _tunnel(data: bytes) -> None:
    stream: Any = _Stream(data)
    with refusing(TorcxdError, secrets=("hunter2",)):
        await _open_tunnel(stream, Url.parse("http://user:hunter2@proxy:3128"), Url.parse("https://h/"))
        # It was opened only if a proxy says so.
        conversation = h11.Connection(h11.CLIENT)
        conversation.send(h11.Request(method="CONNECT", target="h:443", headers=[("Host", "h:443")]))
        conversation.send(h11.EndOfMessage())
        conversation.receive_data(data)
        event = conversation.next_event()
        while isinstance(event, h11.InformationalResponse):
            event = conversation.next_event()
        demand(isinstance(event, h11.Response) and 200 <= event.status_code < 300, "a tunnel that nobody opened")
