"""A forward proxy to put between a client and the sandbox's servers: CONNECT for https, absolute-form for http.

It is a handler for :func:`torcxd.sandbox.http_server.serve`, and so can speak TLS itself.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import trio

from torcxd.sandbox.http_server import PIECE, RawBehaviour, Request, Response, Wire

# A proxy does not pass these on (RFC 9110 section 7.6.1); the body is whole already.
_HOP_BY_HOP: Final = frozenset({"connection", "proxy-authorization", "transfer-encoding"})


class ForwardProxy:
    """A proxy that connects to 127.0.0.1 for every host name, and notes what it was asked for.

    :param ports: where a host's port leads instead, by ``host:port``; other ports stay as they are.
    :param credentials: ``user:password`` that it demands, if any.
    :param refuse: a status to answer everything with.
    :ivar targets: the request targets, in order of arrival.
    """

    def __init__(
        self, ports: Mapping[str, int] | None = None, *, credentials: str | None = None, refuse: int | None = None
    ) -> None:
        self.targets: list[str] = []
        self._ports = ports or {}
        self._expected = base64.b64encode(credentials.encode()).decode() if credentials else None
        self._refuse = refuse

    async def __call__(self, request: Request) -> Response | RawBehaviour:
        self.targets.append(request.target)
        if self._refuse is not None:
            return Response(self._refuse)
        if self._expected and request.headers.get("proxy-authorization") != f"Basic {self._expected}":
            return Response(407, {"Proxy-Authenticate": "Basic"})
        if request.method == "CONNECT":
            return self._tunnel(request.target)
        return self._forward(request)

    async def _connect(self, authority: str) -> trio.SocketStream:
        port = self._ports.get(authority) or int(authority.rpartition(":")[2])
        return await trio.open_tcp_stream("127.0.0.1", port)

    def _tunnel(self, authority: str) -> RawBehaviour:
        async def behave(wire: Wire) -> None:
            async with await self._connect(authority) as upstream, trio.open_nursery() as nursery:
                await wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                nursery.start_soon(_pump, wire.stream, upstream, nursery.cancel_scope)
                nursery.start_soon(_pump, upstream, wire.stream, nursery.cancel_scope)

        return behave

    def _forward(self, request: Request) -> RawBehaviour:
        parts = urlsplit(request.target)
        fields = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
        fields["connection"] = "close"
        lines = [f"{request.method} {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        message = "\r\n".join([*lines, "", ""]).encode("latin-1") + request.body

        async def behave(wire: Wire) -> None:
            async with await self._connect(f"{parts.hostname}:{parts.port or 80}") as upstream:
                await upstream.send_all(message)
                async for piece in upstream:
                    await wire.send(piece)

        return behave


async def _pump(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, scope: trio.CancelScope) -> None:
    """Copy until one side ends; then the whole tunnel ends, as with a real proxy that lingers for nobody."""
    try:
        while data := await source.receive_some(PIECE):
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass
    scope.cancel()
