"""The HTTP client: redirects, deadlines, limits, reuse of connections, and one error type."""

from __future__ import annotations

import contextlib
import math
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Final

import h11
import trio

from torcxd import __version__
from torcxd.errors import Kind
from torcxd.http.connection import Connection, Opener, basic, proxy_authorization
from torcxd.http.errors import HttpError, Reason
from torcxd.http.proxies import Proxies
from torcxd.http.redirects import MAX_REDIRECTS, REDIRECTS, is_link_local, redirect_error, redirected_question
from torcxd.http.response import Response
from torcxd.http.session import Exchange, Question, Session
from torcxd.http.streamed import StreamedResponse
from torcxd.http.translate import typed_error
from torcxd.http.url import Url, redact

# The largest answer that request() takes whole unless told otherwise: manifests, ConfigMaps and API objects are far
# smaller, and etcd refuses objects above 1.5 MiB.
DEFAULT_MAX_BYTES: Final = 1 << 20

# Methods that may be sent twice with the effect of once (RFC 9110 section 9.2.2).
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for a peer, in seconds. There is no limit for a stream as a whole.

    :param connect: name resolution, TCP, proxy and TLS together. Ten seconds outlast two lost SYNs and a slow resolver.
    :param first_byte: from the first byte of the request to the last of the answer's head. An API server under load,
        or a bucket that wakes a cold object, can take many seconds.
    :param stall: between two pieces of a body. It starts anew with each, so a slow link is fine, a dead one is not.
    :param whole: for the body of an answer that is taken whole. Most have some kilobytes; the largest, 16 MiB, takes a
        line of half a megabit a second. Without a limit a server could hold its client for ever, byte by byte.
    """

    connect: float = 10
    first_byte: float = 30
    stall: float = 30
    whole: float = 300


class HttpClient:
    """An HTTP/1.1 client with its own pool of connections.

    :param proxies: which URLs go through which proxy.
    :param ssl_context: default: the host's certificate authorities, loaded for the first https URL, and no client
            certificate.
    :param server_hostname: the name for SNI and for the check of the certificate, for every https URL, where that is
        not the URL's host: a kubeconfig's ``tls-server-name``.
    :param max_connections: how many answers are read at the same time; a further request waits, without a deadline.
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        proxies: Proxies | None = None,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        max_connections: int = 8,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._proxies = proxies or Proxies.none()
        opener = Opener(self._proxies, ssl_context, server_hostname)
        self._session = Session(opener, max_idle=max_connections)
        self._limiter = trio.CapacityLimiter(max_connections)

    async def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> Response:
        """GET *url*; see :meth:`request`."""
        return await self.request("GET", url, headers=headers, max_bytes=max_bytes)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        max_bytes: int = DEFAULT_MAX_BYTES,
        follow_redirects: bool = True,
    ) -> Response:
        """Send a request and read the answer whole. Every status is returned; see :func:`raise_for_status`.

        The body of an error status that comes with a content encoding is left out: the status matters more.
        Cancellation closes the connection; whether the server acted on the request is then unknown.

        :param max_bytes: the largest acceptable body; a larger one is an error.
        :raises HttpError: for anything but an answer.
        """
        async with self._stream(method, url, headers, body, follow_redirects, self._timeouts.stall) as answer:
            with trio.move_on_after(self._timeouts.whole):
                return Response(answer.status, answer.headers, await _content(answer, max_bytes), answer.url)
            raise HttpError(
                f"the answer was not whole within {self._timeouts.whole:g} s",
                reason=Reason.TIMEOUT,
                kind=Kind.TRANSIENT,
                url=redact(answer.url),
            )

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        follow_redirects: bool = True,
        stall: float | EllipsisType | None = ...,
    ) -> contextlib.AbstractAsyncContextManager[StreamedResponse]:
        """Send a request without a body, and read the answer's body as it arrives, also an endless one (a watch).

        One of the client's connections is taken for the duration of the block. When the block ends, the connection is
        kept for reuse if the body was read to its end, else closed; so it is on cancellation.

        :param stall: seconds to wait for the next piece, None for ever; default: the client's.
        :raises HttpError: on entering the block for anything but an answer; while iterating see
            :meth:`StreamedResponse.__anext__`.
        """
        seconds = self._timeouts.stall if isinstance(stall, EllipsisType) else math.inf if stall is None else stall
        return self._stream(method, url, headers, b"", follow_redirects, seconds)

    async def aclose(self) -> None:
        """Close the idle connections. Streams in use are not disturbed, and the client stays usable."""
        await self._session.close()

    @asynccontextmanager
    async def _stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes,
        follow_redirects: bool,
        stall: float,
    ) -> AsyncIterator[StreamedResponse]:
        question = _question(method, Url.parse(url), headers or {}, body)
        # The token, not the task, borrows the capacity: one task may well read two streams.
        token = object()
        await self._limiter.acquire_on_behalf_of(token)
        try:
            exchange, question = await self._follow(question, follow_redirects)
            try:
                yield StreamedResponse(exchange, question.url, stall)
            finally:
                self._session.release(exchange)
        finally:
            self._limiter.release_on_behalf_of(token)

    async def _follow(self, question: Question, follow_redirects: bool) -> tuple[Exchange, Question]:
        """Ask, and ask again where the answers redirect to: the last answer, and the question it answers."""
        exchange = await self._ask(question)
        hops = 0
        while follow_redirects and exchange.status in REDIRECTS:
            self._session.release(exchange)
            hops += 1
            if hops > MAX_REDIRECTS:
                raise redirect_error(question.url, f"more than {MAX_REDIRECTS} redirects")
            question = redirected_question(question, exchange)
            exchange = await self._ask(question, redirected=True)
        return exchange, question

    async def _ask(self, question: Question, *, redirected: bool = False) -> Exchange:
        """One request and the head of its answer, over a pooled connection or else a new one."""
        connection = await self._connect(question.url, fresh=False)
        try:
            return await self._exchange(connection, question, redirected)
        except HttpError as error:
            # A server may close an idle connection just when the next request is on its way. Nothing was answered, so
            # a request that may be repeated goes out again, once, on a connection that cannot be stale.
            stale = (
                connection.reused and connection.received == 0 and error.reason in {Reason.CONNECT, Reason.TRUNCATED}
            )
            if not (stale and question.method in _IDEMPOTENT):
                raise
        return await self._exchange(await self._connect(question.url, fresh=True), question, redirected)

    async def _connect(self, url: Url, *, fresh: bool) -> Connection:
        seconds = self._timeouts.connect
        with trio.move_on_after(seconds):
            return await self._session.connect(url, fresh=fresh)
        proxy = self._proxies.select(url)
        raise HttpError(
            f"no connection to {f'the proxy {proxy.host}' if proxy else url.host} within {seconds:g} s",
            reason=Reason.TIMEOUT,
            kind=Kind.TRANSIENT,
            url=redact(str(url)),
        )

    async def _exchange(self, connection: Connection, question: Question, redirected: bool) -> Exchange:
        url, seconds = question.url, self._timeouts.first_byte
        proxy = self._proxies.select(url)
        if proxy is not None and url.scheme == "http":
            question = replace(question, target=str(url), headers={**question.headers, **proxy_authorization(proxy)})
        try:
            if redirected and proxy is None and is_link_local(connection.peer_address()):
                raise redirect_error(url, "the redirect leads to a link-local address")
            with trio.move_on_after(seconds):
                return await self._session.exchange(connection, question)
            raise HttpError(
                f"no answer to {question.method} within {seconds:g} s",
                reason=Reason.TIMEOUT,
                kind=Kind.TRANSIENT,
                url=redact(str(url)),
            )
        except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
            connection.close()
            raise typed_error(error, redact(str(url)), at_eof=connection.at_eof) from error
        except (h11.LocalProtocolError, UnicodeEncodeError):
            connection.close()
            # The cause is not shown: it quotes the header, which can be a token.
            raise HttpError(
                f"cannot send {question.method}: the method or a header has characters that it must not have",
                reason=Reason.PROTOCOL,
                kind=Kind.PERMANENT,
                url=redact(str(url)),
            ) from None
        except BaseException:
            connection.close()
            raise


async def _content(answer: StreamedResponse, max_bytes: int) -> bytes:
    """The body; of an error status, nothing if it is encoded."""
    content = bytearray()
    if answer.status < 400 or not answer.is_encoded:
        async for piece in answer:
            content += piece
            if len(content) > max_bytes:
                raise HttpError(
                    f"the answer is larger than {max_bytes} bytes",
                    reason=Reason.TOO_LARGE,
                    kind=Kind.PERMANENT,
                    url=redact(answer.url),
                )
    return bytes(content)


def _question(method: str, url: Url, headers: Mapping[str, str], body: bytes) -> Question:
    own = {
        "Host": url.authority,
        # asks would send "close".
        "Connection": "keep-alive",
        # What is digested, signed and resumed is the content itself, and nothing is unpacked without need.
        "Accept-Encoding": "identity",
        "User-Agent": f"torcxd/{__version__}",
    }
    if url.userinfo and "authorization" not in {each.lower() for each in headers}:
        own["Authorization"] = basic(url)
    return Question(method.upper(), replace(url, userinfo=""), url.target, {**own, **headers}, body)
