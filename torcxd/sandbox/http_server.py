"""A small HTTP/1.1 server on 127.0.0.1 for stand-ins and tests, whose handlers can also misbehave on the raw wire.

A handler gets a :class:`Request` and returns a :class:`Response`, which h11 frames correctly, or a coroutine function
that gets the :class:`Wire` and does as it likes (``torcxd.sandbox.http_faults`` has the usual misdeeds). The server has
no timeouts, so that it runs under a virtual clock, and it trusts its peer: it is no server for production.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import h11
import trio

# As much as the kernel usually takes or hands out at once on loopback; more only costs memory.
PIECE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What the client asked.

    :param target: as on the request line: origin-form, absolute-form at a proxy, ``host:port`` for CONNECT.
    :param path: the target's path, still percent-encoded.
    :param query: the target's query, decoded; of a repeated name the last value.
    :param headers: lower-case names; repeated ones joined with ``", "``.
    :param body: the whole body.
    """

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A well-behaved answer.

    :param body: bytes are sent with their Content-Length. An async iterable is sent piece by piece, chunked unless
        *headers* has a Content-Length; it is cancelled when the client goes away.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterable[bytes] = b""

    @classmethod
    def from_json(cls, value: Any, status: int = 200) -> Response:
        """An ``application/json`` answer."""
        return cls(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


class Wire:
    """A connection in the hands of a handler that does its own framing. It is closed when the handler returns."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.stream = stream

    async def send(self, data: bytes | bytearray) -> None:
        """Send all of *data*. :raises trio.BrokenResourceError: the client is gone."""
        await self.stream.send_all(data)

    async def until_client_leaves(self) -> None:
        """Read and forget until the client has closed the connection."""
        while await self.stream.receive_some(PIECE):
            pass

    async def abort(self) -> None:
        """Close as a crashed process does: a TCP FIN, but no TLS close_notify."""
        await trio.aclose_forcefully(self.stream)

    async def reset(self) -> None:
        """Close with a TCP RST."""
        bare = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
        # Lingering for zero seconds makes close(2) send RST; see socket(7).
        bare.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(self.stream)


RawBehaviour = Callable[[Wire], Awaitable[None]]
Handler = Callable[[Request], Awaitable[Response | RawBehaviour]]


class Server:
    """A running server: where it is, and what it has seen.

    :ivar requests: every request, in order of arrival.
    :ivar connections: how many connections were accepted, failed TLS handshakes included.
    :ivar open_connections: how many of them are open now.
    :ivar failure: what ended the server early.
    """

    def __init__(
        self, handler: Handler, port: int, ssl_context: ssl.SSLContext | None, cancel_scope: trio.CancelScope
    ) -> None:
        self.port = port
        self.url = f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}"
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self.failure: Exception | None = None
        self._cancel_scope = cancel_scope
        self._handler = handler
        self._ssl_context = ssl_context
        self._changed = trio.Condition()

    async def wait_until(self, condition: Callable[[Server], bool]) -> None:
        """Wait until *condition* holds; it is tested whenever a request arrives or a connection opens or closes."""
        async with self._changed:
            while not condition(self):
                await self._changed.wait()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def serve_connection(self, bare: trio.SocketStream) -> None:
        """Serve one connection to its end. Only :func:`serve` calls this."""
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = bare
        if self._ssl_context is not None:
            stream = trio.SSLStream(bare, self._ssl_context, server_side=True, https_compatible=True)
        self.connections += 1
        self.open_connections += 1
        try:
            await self._notify()
            await self._converse(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # The client left, or refused the certificate: its right.
        except Exception as error:
            # Kept aside: on its way through trio's own clean-up a Cancelled could take its place.
            self.failure = self.failure or error
            self._cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
                self.open_connections -= 1
                await self._notify()

    async def _converse(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            try:
                request = await _read_request(connection, stream)
            except h11.RemoteProtocolError:
                await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                break
            if request is None:
                break
            self.requests.append(request)
            await self._notify()
            answer = await self._handler(request)
            if not isinstance(answer, Response):
                await answer(Wire(stream))
                return
            await _send_response(connection, stream, answer, head_only=request.method == "HEAD")
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                break
            connection.start_next_cycle()
        await stream.aclose()


@asynccontextmanager
async def serve(handler: Handler, *, ssl_context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Server]:
    """Serve *handler* on 127.0.0.1 while the block runs.

    An exception of the handler cancels the block and is raised in its place: a stand-in must not fail unnoticed. An
    exception of the block itself comes out as it is. Cancellation closes every connection.

    :param ssl_context: a server-side context makes it HTTPS.
    :param port: 0 for any free one; see :attr:`Server.port`.
    """
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        bound_port = listeners[0].socket.getsockname()[1]
        server = Server(handler, bound_port, ssl_context, nursery.cancel_scope)
        nursery.start_soon(trio.serve_listeners, server.serve_connection, listeners)
        try:
            yield server
        except Exception as error:  # kept out of the nursery, which would wrap it in a group
            server.failure = server.failure or error
        nursery.cancel_scope.cancel()
    if server.failure is not None:
        raise server.failure


async def _read_request(connection: h11.Connection, stream: trio.abc.ReceiveStream) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(PIECE)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _request(head, bytes(body))
        else:
            return None


def _request(head: h11.Request, body: bytes) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    method, target = head.method.decode("ascii"), head.target.decode("latin-1")
    parts = urlsplit("" if method == "CONNECT" else target)
    return Request(method, target, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)


async def _send_response(
    connection: h11.Connection, stream: trio.abc.Stream, response: Response, *, head_only: bool
) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    bodiless = response.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    if isinstance(response.body, bytes) and not bodiless and b"content-length" not in {n.lower() for n, _ in headers}:
        headers.append((b"Content-Length", b"%d" % len(response.body)))
    head = h11.Response(status_code=response.status, headers=headers, reason=_reason(response.status))
    await stream.send_all(connection.send(head))
    if not head_only and not bodiless:
        if isinstance(response.body, bytes):
            for start in range(0, len(response.body), PIECE):
                await _send_piece(connection, stream, response.body[start : start + PIECE])
        else:
            await _send_pieces(connection, stream, response.body)
    if connection.our_state is h11.SEND_BODY and (end := connection.send(h11.EndOfMessage())):
        await stream.send_all(end)


async def _send_pieces(connection: h11.Connection, stream: trio.abc.Stream, body: AsyncIterable[bytes]) -> None:
    complete = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_client_leaves, connection, stream, nursery.cancel_scope)
        # Raised below, outside of the nursery, which would wrap it.
        with suppress(trio.BrokenResourceError):
            async for piece in body:
                await _send_piece(connection, stream, piece)
            complete = True
        nursery.cancel_scope.cancel()
    if not complete:
        raise trio.BrokenResourceError("the client left before the end of the body")


async def _send_piece(connection: h11.Connection, stream: trio.abc.Stream, piece: bytes) -> None:
    # An empty piece is no event, and h11 would send it as the chunk that ends the body.
    if piece:
        for part in connection.send_with_data_passthrough(h11.Data(data=piece)) or ():
            await stream.send_all(part)


async def _cancel_when_client_leaves(
    connection: h11.Connection, stream: trio.abc.ReceiveStream, scope: trio.CancelScope
) -> None:
    data = b"?"
    while data:
        try:
            data = bytes(await stream.receive_some(PIECE))
        except trio.BrokenResourceError:
            data = b""
        connection.receive_data(data)  # a next request that comes early must not be lost
    scope.cancel()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
