"""The body of an answer: what is fed in as it arrives comes out without its framing. No input or output here."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Protocol

import h11

_NO_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Body(Protocol):
    """A body that is being received."""

    def feed(self, data: bytes | bytearray) -> None:
        """Take what has arrived; empty data is the end of the connection."""

    def next_piece(self) -> bytes | bytearray | None:
        """The next piece of what was fed; None when there is none yet, empty at the end of the body.

        :raises h11.RemoteProtocolError: the body is malformed or cut short.
        """

    def is_complete(self) -> bool:
        """Whether the body ended, and nothing that was fed is left over."""


class CountedBody:
    """A body with a Content-Length (RFC 9112 section 6.2).

    Counting is all there is to it. h11 counts as well, but copies every byte three times on the way through its
    buffer, which for an image takes longer than to hash it.

    :param conversation: has just yielded the answer's head; what it received beyond that begins the body.
    """

    def __init__(self, conversation: h11.Connection, length: int) -> None:
        self._remaining = length
        self._data: bytes | bytearray
        self._data, self._ended = conversation.trailing_data
        self._length = length

    def feed(self, data: bytes | bytearray) -> None:
        self._data = data
        self._ended = not data

    def next_piece(self) -> bytes | bytearray | None:
        if not self._remaining:
            return b""
        if not self._data:
            if self._ended:
                received = self._length - self._remaining
                raise h11.RemoteProtocolError(f"{received} of {self._length} bytes arrived")
            return None
        piece, self._data = self._data[: self._remaining], self._data[self._remaining :]
        self._remaining -= len(piece)
        return piece

    def is_complete(self) -> bool:
        return not (self._remaining or self._data or self._ended)


class FramedBody:
    """A body that is chunked, or ends with its connection, or is none: as h11 reads it."""

    def __init__(self, conversation: h11.Connection) -> None:
        self._conversation = conversation
        self._ended = False

    def feed(self, data: bytes | bytearray) -> None:
        # Typed as bytes by h11, but all it does with it is to append it to a bytearray.
        self._conversation.receive_data(data)  # type: ignore[arg-type]

    def next_piece(self) -> bytes | bytearray | None:
        if self._ended:
            return b""  # asked once more, h11 would want the next answer
        event = self._conversation.next_event()
        if event is h11.NEED_DATA:
            return None
        if isinstance(event, h11.Data):
            return event.data  # h11 never hands out an empty one
        self._ended = True
        return b""

    def is_complete(self) -> bool:
        try:
            self.next_piece()  # meets the end of a body that nobody read because it is empty
        except h11.RemoteProtocolError:
            return False
        return self._conversation.their_state is h11.DONE and self._conversation.trailing_data == (b"", False)


def body_of(conversation: h11.Connection, method: str, head: h11.Response) -> Body:
    """The body that follows *head*, the answer to *method* that *conversation* has just yielded.

    h11 has checked by then that a Content-Length is one number.
    """
    headers = dict(head.headers)
    length = headers.get(b"content-length")
    if length is None or b"transfer-encoding" in headers or method == "HEAD" or head.status_code in _NO_BODY:
        return FramedBody(conversation)
    return CountedBody(conversation, int(length))


def keeps_alive(head: h11.Response) -> bool:
    """Whether the server means to keep the connection open (RFC 9112 section 9.3)."""
    options = {
        option.strip().lower() for name, value in head.headers if name == b"connection" for option in value.split(b",")
    }
    return head.http_version >= b"1.1" and b"close" not in options
