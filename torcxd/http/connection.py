"""Opening connections on trio: name, TCP, proxy tunnel, TLS; and the stream object that asks reads and writes."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from functools import cached_property
from typing import Final

import h11
import trio

from torcxd.errors import Kind
from torcxd.http.errors import HttpError, Reason
from torcxd.http.proxies import Proxies
from torcxd.http.translate import tls_error
from torcxd.http.url import Url, redact

# One read from the socket. With asks's own 10 KB a download spends its time in the event loop instead of the kernel;
# from 256 KiB on, nothing is gained any more but memory is used.
READ_SIZE: Final = 256 * 1024

# What one read from TLS yields at most: a record (RFC 8446 section 5.1). Room for more would be made for nothing, each
# time.
_RECORD_SIZE: Final = 16 * 1024

# Bytes of the answer to CONNECT before it is called nonsense: a status line and a page of headers fit many times.
_TUNNEL_ANSWER_LIMIT: Final = 64 * 1024

TrioStream = trio.SocketStream | trio.SSLStream[trio.SocketStream] | trio.SSLStream[trio.SSLStream[trio.SocketStream]]


class Connection:
    """One connection to one origin, as asks wants its sockets: ``send``, ``receive``, ``aclose``, and three attributes.

    :ivar host: asks's key of the pool; asks sets it.
    :ivar port: likewise, the port as a string.
    :ivar received: bytes received since the connection was last taken from the pool.
    :ivar at_eof: the peer has closed its side.
    """

    def __init__(self, stream: TrioStream) -> None:
        self.host = ""
        self.port = ""
        self.received = 0
        self.at_eof = False
        self.reused = False
        self._active = True  # asks's Session looks at this before it pools a socket
        self._stream = stream
        self._most = _RECORD_SIZE if isinstance(stream, trio.SSLStream) else READ_SIZE
        bottom: TrioStream = stream
        while isinstance(bottom, trio.SSLStream):
            bottom = bottom.transport_stream
        self._socket = bottom.socket

    async def send(self, data: bytes) -> None:
        """Send all of *data*. :raises trio.BrokenResourceError: the peer is gone."""
        await self._stream.send_all(data)

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes | bytearray:
        """What has arrived, at most *max_bytes*; empty at the end. :raises trio.BrokenResourceError: reset by peer."""
        data = await self._stream.receive_some(min(max_bytes, self._most))
        self.received += len(data)
        self.at_eof = not data
        return data

    def close(self) -> None:
        """Close the socket at once, without goodbye and without a checkpoint, so that it works in any clean-up."""
        self._active = False
        self._socket.close()

    async def aclose(self) -> None:
        """:meth:`close`, as asks calls it."""
        self.close()

    def is_stale(self) -> bool:
        """Whether an idle connection has something to read: its end, or an answer to no question. Both spoil it."""
        return self._socket.fileno() < 0 or self._socket.is_readable()

    def peer_address(self) -> str:
        """The numeric address of the other end, or an empty string when it is gone."""
        try:
            return str(self._socket.getpeername()[0])
        except OSError:
            return ""


class Opener:
    """Opens connections the way one client is configured: through its proxies and with its TLS context.

    :param ssl_context: for the URLs' hosts; None for one with the host's certificate authorities.
    :param server_hostname: the name for SNI and for the certificate, where it is not the URL's host.
    """

    def __init__(self, proxies: Proxies, ssl_context: ssl.SSLContext | None, server_hostname: str | None) -> None:
        self._proxies = proxies
        self._ssl_context = ssl_context
        self._server_hostname = server_hostname

    @cached_property
    def _public(self) -> ssl.SSLContext:
        """The host's authorities: some 50 ms, for those who have a use for them."""
        return ssl.create_default_context()

    async def open(self, url: Url) -> Connection:
        """A fresh connection over which *url* can be requested.

        Cancellation closes what was opened so far. The caller sets the deadline.

        :raises HttpError: with the reason resolve, connect, tls or proxy.
        """
        proxy = self._proxies.select(url)
        stream: TrioStream = await _open_tcp(proxy or url, url)
        with _closing_on_failure(stream):
            if proxy is not None and proxy.scheme == "https":
                # The proxy is a public host with a public certificate, whatever authority the target needs.
                stream = await _start_tls(stream, self._public, proxy.host, url)
            if proxy is not None and url.scheme == "https":
                await _open_tunnel(stream, proxy, url)
            if url.scheme == "https":
                context = self._ssl_context or self._public
                stream = await _start_tls(stream, context, self._server_hostname or url.host, url)
        return Connection(stream)


def proxy_authorization(proxy: Url) -> dict[str, str]:
    """The header by which *proxy*'s userinfo is sent, if it has any (RFC 7617)."""
    return {"Proxy-Authorization": basic(proxy)} if proxy.userinfo else {}


def basic(url: Url) -> str:
    """*url*'s userinfo as the value of an Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(url.credentials).decode("ascii")


@contextlib.contextmanager
def _closing_on_failure(stream: TrioStream) -> Iterator[None]:
    try:
        yield
    except BaseException:
        Connection(stream).close()
        raise


async def _open_tcp(hop: Url, url: Url) -> trio.SocketStream:
    via = "" if hop is url else "the proxy "
    try:
        return await trio.open_tcp_stream(hop.host, hop.port)
    except socket.gaierror as error:
        raise HttpError(
            f"cannot resolve {via}{hop.host}: {error.strerror}",
            reason=Reason.RESOLVE,
            # Also "no such name": early in a boot that is what a resolver says that has no network yet.
            kind=Kind.TRANSIENT,
            url=redact(str(url)),
            hint="check the name, and the node's DNS",
        ) from error
    except OSError as error:
        raise HttpError(
            f"cannot connect to {via}{hop.bracketed_host} port {hop.port}: {_why(error)}",
            reason=Reason.CONNECT,
            kind=Kind.TRANSIENT,
            url=redact(str(url)),
        ) from error


def _why(error: OSError) -> str:
    """What the last tried address said: of several, trio keeps the errors in a group behind its own."""
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[-1]
    found = cause if isinstance(cause, OSError) else error
    # By its number: trio puts the address into strerror, which the message has already.
    return os.strerror(found.errno) if found.errno else str(found)


async def _start_tls(
    stream: TrioStream, context: ssl.SSLContext, name: str, url: Url
) -> trio.SSLStream[trio.SocketStream]:
    # trio's type for TLS within TLS is a type of its own; the code is the same.
    tls: trio.SSLStream[trio.SocketStream] = trio.SSLStream(
        stream,  # type: ignore[arg-type]
        context,
        server_hostname=name,
        https_compatible=True,
    )
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        raise tls_error(error, name, redact(str(url))) from error
    return tls


async def _open_tunnel(stream: TrioStream, proxy: Url, url: Url) -> None:
    """Ask *proxy* for a tunnel to *url*'s host and port (RFC 9110 section 9.3.6)."""
    target = f"{url.bracketed_host}:{url.port}"
    conversation = h11.Connection(h11.CLIENT, max_incomplete_event_size=_TUNNEL_ANSWER_LIMIT)
    headers = {"Host": target, **proxy_authorization(proxy)}
    request = h11.Request(method="CONNECT", target=target, headers=list(headers.items()))
    try:
        await stream.send_all(conversation.send(request))
        await stream.send_all(conversation.send(h11.EndOfMessage()))
        status = await _tunnel_status(conversation, stream)
    except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
        raise HttpError(
            f"the proxy {proxy.host} did not answer CONNECT as a proxy does",
            reason=Reason.PROXY,
            kind=Kind.TRANSIENT,
            url=redact(str(url)),
        ) from error
    if 200 <= status < 300:
        return
    if status == 407:
        kind, hint = Kind.CONFIGURATION, "put the right user and password into the proxy variable"
    elif status in {408, 429} or status >= 500:
        kind, hint = Kind.TRANSIENT, ""
    else:
        kind, hint = Kind.PERMANENT, "let the proxy allow this host and port, or name the host in NO_PROXY"
    raise HttpError(
        f"the proxy {proxy.host} refuses a tunnel to {target} with status {status}",
        reason=Reason.PROXY,
        kind=kind,
        url=redact(str(url)),
        status=status,
        hint=hint,
    )


async def _tunnel_status(conversation: h11.Connection, stream: TrioStream) -> int:
    received = 0
    while received <= _TUNNEL_ANSWER_LIMIT:
        event = conversation.next_event()
        if isinstance(event, h11.Response):
            return event.status_code
        if event is h11.NEED_DATA:
            # What may follow the answer is dropped: in TLS the server does not speak first, so nothing rightly does.
            data = bytes(await stream.receive_some(4096))
            received += len(data)
            conversation.receive_data(data)
    raise h11.RemoteProtocolError("endless answer to CONNECT")
