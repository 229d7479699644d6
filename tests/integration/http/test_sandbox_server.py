"""The sandbox's server itself: what stand-ins rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import h11
import pytest
import trio

from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Server, Wire, serve
from torcxd.sandbox.tls import Authority


async def ask(server: Server, *requests: bytes, stream: trio.abc.Stream | None = None) -> list[tuple[int, bytes]]:
    """Send *requests* over one connection with bare h11: statuses and bodies."""
    stream = stream or await trio.open_tcp_stream("127.0.0.1", server.port)
    answers = []
    connection = h11.Connection(h11.CLIENT)
    async with stream:
        for request in requests:
            method, target = request.split(b" ")
            connection.send(h11.Request(method=method, target=target, headers=[("Host", "x")]))
            connection.send(h11.EndOfMessage())
            await stream.send_all(request + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            status, body = 0, b""
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(bytes(await stream.receive_some()))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    break
            answers.append((status, body))
            connection.start_next_cycle()
    return answers


async def test_one_connection_serves_many_requests() -> None:
    async def handler(request: Request) -> Response:
        return Response(304 if request.path == "/same" else 200, {}, request.query.get("say", "").encode())

    async with serve(handler) as server:
        answers = await ask(server, b"GET /a?say=hello", b"GET /same", b"HEAD /a?say=x", b"GET /a?say=bye")
        assert answers == [(200, b"hello"), (304, b""), (200, b""), (200, b"bye")]
        assert server.connections == 1
        assert [each.path for each in server.requests] == ["/a", "/same", "/a", "/a"]
        await server.wait_until(lambda each: each.open_connections == 0)


async def test_it_speaks_tls() -> None:
    async def handler(request: Request) -> Response:
        return Response.from_json({"host": request.headers["host"]})

    authority = Authority()
    async with serve(handler, ssl_context=authority.server_context()) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        stream = await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", server.port, ssl_context=authority.client_context(), https_compatible=True
        )
        assert await ask(server, b"GET /", stream=stream) == [(200, b'{"host": "x"}')]


async def test_a_streamed_body_ends_when_the_client_leaves() -> None:
    ended = trio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await trio.sleep_forever()
        finally:
            ended.set()

    async def handler(request: Request) -> Response:
        return Response(body=body())

    async with serve(handler) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while b"first" not in received:
            received += await stream.receive_some()
        assert b"chunked" in received
        await stream.aclose()
        await ended.wait()
        await server.wait_until(lambda each: each.open_connections == 0)


async def test_a_raw_behaviour_owns_the_wire() -> None:
    async def nonsense(wire: Wire) -> None:
        await wire.send(b"nonsense")

    async def handler(request: Request) -> RawBehaviour:
        return nonsense

    async with serve(handler) as server, await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"".join([piece async for piece in stream]) == b"nonsense"


async def test_a_handlers_mistake_is_loud() -> None:
    async def handler(request: Request) -> Response:
        raise LookupError("scripted")

    with pytest.raises(LookupError, match="scripted"):
        async with serve(handler) as server:
            await ask(server, b"GET /")


async def test_the_blocks_own_error_is_not_wrapped() -> None:
    async def handler(request: Request) -> Response:
        return Response()

    with pytest.raises(LookupError, match="mine"):
        async with serve(handler):
            raise LookupError("mine")
