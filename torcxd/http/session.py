"""asks on trio: its request formulation and its connection pool, with everything that touches a socket replaced.

asks 3.0.0 reaches the event loop through anyio 3, whose trio backend needs ``trio.MultiError`` and fails on a current
trio at the first request. So that backend must never be imported: nothing of asks that calls into anyio may run. What
would is overridden here in subclasses, and no attribute of another module is replaced:

- ``Session._open_connection_http`` and ``_open_connection_https`` (``anyio.connect_tcp``) open trio streams;
- ``Session.sema`` (``anyio.Semaphore``) and ``timeout_manager`` (``anyio.fail_after``) are used by ``Session.request``
  and ``StreamBody`` only, which :class:`Session` and :class:`Exchange` do without. Limits and deadlines are trio's own,
  in :mod:`torcxd.http.client`;
- ``RequestProcessor._recv_event`` and ``StreamBody`` know the end of a connection as ``anyio.EndOfStream``; here it is
  trio's empty read, and it is passed on: without it a truncated body looks complete.

The overrides also keep clear of asks's own traps: it follows redirects with credentials to other origins and from https
to http, fails on 304 and on cookies without a value, takes 1xx for the answer and an unframed body for an empty one,
unpacks gzip without a limit, gets the Host of an IPv6 address wrong, and sends a request again on a broken connection
whatever its method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import asks
import h11
from asks.request_object import RequestProcessor
from asks.response_objects import StreamResponse

from torcxd.http.body import body_of, keeps_alive
from torcxd.http.connection import READ_SIZE, Connection, Opener
from torcxd.http.url import Url

# How many interim answers (1xx) one request may get. Real servers send one or two; more than this is an attack.
_MAX_INTERIM: Final = 16


@dataclass(frozen=True, slots=True)
class Question:
    """One request as it goes on the wire.

    :param target: the request line's target: origin-form, or absolute-form for a proxy (RFC 9112 section 3.2).
    :param headers: besides those that asks adds; they win over asks's.
    """

    method: str
    url: Url
    target: str
    headers: dict[str, str]
    body: bytes = b""


class Exchange:
    """An answer whose head has arrived, and the connection that its body comes from."""

    def __init__(self, connection: Connection, conversation: h11.Connection, method: str, head: h11.Response) -> None:
        self.connection = connection
        self.status: int = head.status_code
        self.raw_headers: list[tuple[bytes, bytes]] = list(head.headers)
        self.body = body_of(conversation, method, head)
        self._keeps_alive = keeps_alive(head)

    async def receive(self) -> None:
        """Wait for more of the body. :raises trio.BrokenResourceError: the connection broke."""
        self.body.feed(await self.connection.receive(READ_SIZE))

    def is_reusable(self) -> bool:
        """Whether the connection can carry another request."""
        return self._keeps_alive and self.body.is_complete()


class Session(asks.Session):  # type: ignore[misc]  # asks has no types
    """asks's session on trio: a pool of connections, and requests without asks's input and output.

    :param max_idle: how many unused connections are kept for reuse.
    """

    def __init__(self, opener: Opener, max_idle: int) -> None:
        super().__init__(connections=max_idle)
        self._opener = opener
        self._max_idle = max_idle

    async def connect(self, url: Url, *, fresh: bool) -> Connection:
        """A connection for *url*: a pooled one, unless *fresh*, else a new one.

        :raises HttpError: as :meth:`Opener.open`.
        """
        key = f"{url.scheme}://{url.bracketed_host}:{url.port}"
        connection: Connection = await (self._make_connection(key) if fresh else self._grab_connection(key))
        return connection

    async def exchange(self, connection: Connection, question: Question) -> Exchange:
        """Send *question* over *connection* and wait for the head of the answer. The body is left to the caller.

        :raises h11.RemoteProtocolError: the answer is malformed, or the connection ended before it.
        :raises trio.BrokenResourceError: the connection broke.
        :raises h11.LocalProtocolError: the question has an impossible header.
        """
        processor = _Processor(
            self,
            question.method,
            str(question.url),
            connection.port,
            target=question.target,
            headers=question.headers,
            encoding="ascii",
            data=question.body or None,
            stream=True,
            follow_redirects=False,
            sock=connection,
        )
        _, response = await processor.make_request()
        exchange: Exchange = response.body
        return exchange

    def release(self, exchange: Exchange) -> None:
        """Keep the exchange's connection for reuse when that is safe, else close it. No checkpoint."""
        if not exchange.is_reusable():
            exchange.connection.close()
            return
        while len(self._conn_pool) >= self._max_idle:
            self._conn_pool.pop().close()  # the one that lies idle longest
        self._conn_pool.appendleft(exchange.connection)

    async def _open_connection_http(self, location: tuple[str, int]) -> Connection:
        return await self._opener.open(Url("http", *location, target="/"))

    async def _open_connection_https(self, location: tuple[str, int]) -> Connection:
        return await self._opener.open(Url("https", *location, target="/"))

    def _checkout_connection(self, host_loc: str) -> Connection | None:
        while True:
            connection: Connection | None = super()._checkout_connection(host_loc)
            if connection is None:
                return None
            if not connection.is_stale():
                connection.reused, connection.received = True, 0
                return connection
            connection.close()


class _Processor(RequestProcessor):  # type: ignore[misc]  # asks has no types
    """asks's request formulation. ``target`` and the others arrive through its constructor's keywords."""

    target: str
    sock: Connection

    def _build_path(self) -> None:
        # asks would unquote and quote again, which can spoil a signed URL, and knows no absolute-form.
        self.path = self.req_url = self.target

    async def _request_io(self, request: h11.Request, body: h11.Data | None, conversation: h11.Connection) -> Any:
        await self._send(request, body, conversation)
        head = await self._recv_event(conversation)
        if not isinstance(head, h11.Response):
            raise h11.RemoteProtocolError("no answer where one was due")
        self.streaming = True  # or asks closes the connection here, as its default header says
        return StreamResponse(
            encoding=self.encoding,
            http_version=head.http_version.decode("ascii"),
            status_code=head.status_code,
            reason_phrase=head.reason.decode("latin-1"),
            headers=head.headers,
            body=Exchange(self.sock, conversation, self.method, head),
            method=self.method,
            url=self.req_url,
        )

    async def _recv_event(self, conversation: h11.Connection) -> Any:
        interim = 0
        while interim <= _MAX_INTERIM:
            event = conversation.next_event()
            if isinstance(event, h11.InformationalResponse):
                interim += 1
            elif event is h11.NEED_DATA:
                data = bytes(await self.sock.receive())
                if not data:
                    raise h11.RemoteProtocolError("its head had not arrived")
                if self.sock.received == len(data) and not b"HTTP/".startswith(data[:5]):
                    # h11 would wait for a blank line, which an SSH or SMTP server never sends.
                    raise h11.RemoteProtocolError("the answer does not begin as HTTP does")
                conversation.receive_data(data)
            else:
                return event
        raise h11.RemoteProtocolError("endless interim answers")
