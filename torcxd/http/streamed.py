"""An answer whose body is read as it arrives."""

from __future__ import annotations

import h11
import trio

from torcxd.errors import Kind
from torcxd.http.errors import HttpError, Reason
from torcxd.http.response import Headers
from torcxd.http.session import Exchange
from torcxd.http.translate import typed_error
from torcxd.http.url import Url, redact


class StreamedResponse:
    """An answer whose body is read by iterating over it, once, in the pieces in which it arrives.

    :ivar status: the status, whatever it is.
    :ivar headers: the header fields.
    :ivar url: as :attr:`Response.url`.
    :ivar is_encoded: whether the body has a content encoding, although none was asked for.
    """

    def __init__(self, exchange: Exchange, url: Url, stall: float) -> None:
        self.status = exchange.status
        self.headers = Headers(exchange.raw_headers)
        self.url = str(url)
        # Once, not for each piece.
        self.is_encoded = _is_encoded(self.headers)
        self._exchange = exchange
        self._stall = stall

    def __aiter__(self) -> StreamedResponse:
        return self

    async def __anext__(self) -> bytes | bytearray:
        """The next piece of the body, as it arrived, never empty.

        Cancellation loses what was underway; the connection is closed with the stream.

        :raises HttpError: stall, truncated, protocol (also for a body with a content encoding) or connect.
        """
        try:
            piece = await self._next_piece()
        except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
            raise typed_error(error, redact(self.url), at_eof=self._exchange.connection.at_eof) from error
        if not piece:
            raise StopAsyncIteration
        if self.is_encoded:
            raise HttpError(
                f"the answer has a content encoding that was not asked for: {self.headers['content-encoding'][:40]!r}",
                reason=Reason.PROTOCOL,
                kind=Kind.PERMANENT,
                url=redact(self.url),
                hint="configure the server, or the proxy before it, to send the content as it is",
            )
        return piece

    async def _next_piece(self) -> bytes | bytearray:
        # Of all that it takes: a chunk's extensions and trailers, sent byte by byte, are no sign of life.
        with trio.move_on_after(self._stall):
            while (piece := self._exchange.body.next_piece()) is None:
                await self._exchange.receive()
            return piece
        raise HttpError(
            f"nothing arrived for {self._stall:g} s in the middle of the answer",
            reason=Reason.STALL,
            kind=Kind.TRANSIENT,
            url=redact(self.url),
        )


def _is_encoded(headers: Headers) -> bool:
    return headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}
