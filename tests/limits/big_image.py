"""An image of any size that nobody has to keep: the same block again and again, with its true digest."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

import trio

from torcxd.sandbox.http_server import Request, Response

# Random enough for a file system that compresses.
_BLOCK: Final = b"".join(hashlib.sha512(number.to_bytes(4, "big")).digest() for number in range(4096))


class BigImage:
    """The image, and the handler of a server that has it.

    :param size: in bytes.
    :param digest: SHA-512 in hexadecimal; computed where it is not given, which takes a second for 600 MB.
    :param tells_size: whether the server says how much is to come.
    :ivar sent: how many bytes were handed out.
    """

    def __init__(self, size: int, *, digest: str | None = None, tells_size: bool = True) -> None:
        self.size = size
        self.digest = digest or self._computed()
        self.sent = 0
        self._tells_size = tells_size

    def pieces(self) -> Iterator[bytes]:
        """The content."""
        left = self.size
        while left:
            piece = _BLOCK[:left]
            left -= len(piece)
            yield piece

    async def answer(self, _: Request) -> Response:
        """The whole image, whatever is asked for."""
        headers = {"Content-Length": str(self.size)} if self._tells_size else {}
        return Response(200, headers, self._body())

    async def _body(self) -> AsyncIterator[bytes]:
        for piece in self.pieces():
            self.sent += len(piece)
            yield piece
            await trio.lowlevel.checkpoint()

    def _computed(self) -> str:
        found = hashlib.sha512()
        for piece in self.pieces():
            found.update(piece)
        return found.hexdigest()
