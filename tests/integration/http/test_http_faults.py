"""Servers that misbehave: each misdeed has its reason, its kind and its message, and no connection is left over."""

from __future__ import annotations

import socket

import pytest
import trio

from torcxd.errors import Kind
from torcxd.http import HttpClient, HttpError, Reason
from torcxd.sandbox import http_faults as faults
from torcxd.sandbox.http_faults import Ending, cut_short, cut_short_chunked, head, send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Wire, serve
from torcxd.sandbox.tls import Authority

OK = "HTTP/1.1 200 OK\r\n"
SECRET = "hunter2"


@pytest.mark.accepts("N7")
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("behaviour", "reason", "kind", "says"),
    [
        (send_then(b""), Reason.TRUNCATED, Kind.TRANSIENT, "closed the connection"),
        (send_then(b"HTTP/1.1 200 OK\r\nContent-"), Reason.TRUNCATED, Kind.TRANSIENT, "closed the connection"),
        (send_then(b"", Ending.RESET), Reason.CONNECT, Kind.TRANSIENT, "broke"),
        (cut_short(b"x" * 100, 23), Reason.TRUNCATED, Kind.TRANSIENT, "100 of 123 bytes"),
        (cut_short(b"x" * 100, 1, Ending.ABORT), Reason.TRUNCATED, Kind.TRANSIENT, "100 of 101 bytes"),
        (cut_short(b"", 1), Reason.TRUNCATED, Kind.TRANSIENT, "0 of 1 bytes"),
        (cut_short_chunked(b"x" * 100), Reason.TRUNCATED, Kind.TRANSIENT, "incomplete chunked read"),
        (
            send_then(f"{OK}Transfer-Encoding: chunked\r\n\r\nff".encode()),
            Reason.TRUNCATED,
            Kind.TRANSIENT,
            "closed the connection",
        ),
        (faults.endless_headers, Reason.PROTOCOL, Kind.PERMANENT, "does not speak HTTP"),
        (faults.endless_interim, Reason.PROTOCOL, Kind.PERMANENT, "endless interim answers"),
        (send_then(b"SSH-2.0-OpenSSH_9.2\r\n", Ending.STALL), Reason.PROTOCOL, Kind.PERMANENT, "begin as HTTP does"),
        (send_then(b"H"), Reason.TRUNCATED, Kind.TRANSIENT, "closed the connection"),
        (send_then(b"\x15\x03\x01\x00\x02\x02\x50" * 9), Reason.PROTOCOL, Kind.PERMANENT, "does not speak HTTP"),
        (send_then(b"HTTP/1.1 999999 Huh\r\n\r\n"), Reason.PROTOCOL, Kind.PERMANENT, "does not speak HTTP"),
        (
            send_then(f"{OK}Content-Length: -1\r\n\r\n".encode()),
            Reason.PROTOCOL,
            Kind.PERMANENT,
            "bad Content-Length",
        ),
        (
            send_then(f"{OK}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx".encode()),
            Reason.PROTOCOL,
            Kind.PERMANENT,
            "conflicting Content-Length",
        ),
        (
            send_then(f"{OK}Transfer-Encoding: gzip\r\n\r\nxx".encode(), Ending.STALL),
            Reason.PROTOCOL,
            Kind.PERMANENT,
            "does not speak HTTP",
        ),
        (
            send_then(f"{OK}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(), Ending.STALL),
            Reason.PROTOCOL,
            Kind.PERMANENT,
            "illegal chunk header",
        ),
        (send_then(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), Reason.PROTOCOL, Kind.PERMANENT, "does not speak"),
        (
            send_then(f"{OK}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x0b".encode()),
            Reason.PROTOCOL,
            Kind.PERMANENT,
            "content encoding that was not asked for: 'gzip'",
        ),
    ],
)
async def test_a_misdeed(
    client: HttpClient,
    authority: Authority,
    tls: bool,
    behaviour: RawBehaviour,
    reason: Reason,
    kind: Kind,
    says: str,
) -> None:
    async def handler(request: Request) -> RawBehaviour:
        return behaviour

    async with serve(handler, ssl_context=authority.server_context() if tls else None) as server:
        with pytest.raises(HttpError) as caught:
            await client.get(f"{server.url}/image?token={SECRET}")
        error = caught.value
        assert (error.reason, error.kind) == (reason, kind), error
        assert says in error.message
        assert error.url == f"{server.url}/image?token=***"
        assert str(error).startswith(error.url)
        assert SECRET not in f"{error} {error!r}"
        await server.wait_until(lambda each: each.open_connections == 0)
        assert server.connections == 1


@pytest.mark.accepts("N7")
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_reset_in_the_middle_leaves_what_came_before(
    client: HttpClient, authority: Authority, tls: bool
) -> None:
    received, go_on = bytearray(), trio.Event()

    async def behave(wire: Wire) -> None:
        await wire.send(head(200, {"Content-Length": "2000"}) + b"x" * 1000)
        await go_on.wait()
        await wire.reset()

    async def handler(request: Request) -> RawBehaviour:
        return behave

    async def fetch(url: str) -> None:
        async with client.stream("GET", url) as answer:
            async for piece in answer:
                received.extend(piece)
                if len(received) == 1000:
                    go_on.set()

    async with serve(handler, ssl_context=authority.server_context() if tls else None) as server:
        with pytest.raises(HttpError) as caught:
            await fetch(server.url)
        assert (caught.value.reason, caught.value.kind) == (Reason.CONNECT, Kind.TRANSIENT)
        assert received == b"x" * 1000


@pytest.mark.parametrize("status", [404, 503])
async def test_an_error_status_matters_more_than_its_encoding(client: HttpClient, status: int) -> None:
    async def handler(request: Request) -> Response:
        return Response(status, {"Content-Encoding": "gzip"}, b"\x1f\x8b")

    async with serve(handler) as server:
        response = await client.get(server.url)
        assert (response.status, response.body) == (status, b"")


async def test_nobody_listens(client: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HttpError, match=f"cannot connect to 127.0.0.1 port {port}: Connection refused") as caught:
        await client.get(f"https://127.0.0.1:{port}/")
    assert (caught.value.reason, caught.value.kind) == (Reason.CONNECT, Kind.TRANSIENT)


async def test_no_such_name(client: HttpClient) -> None:
    # RFC 6761: this top-level name never resolves.
    with pytest.raises(HttpError, match=r"cannot resolve bucket\.invalid") as caught:
        await client.get("https://bucket.invalid/")
    assert (caught.value.reason, caught.value.kind) == (Reason.RESOLVE, Kind.TRANSIENT)


async def test_a_bad_url_is_refused_before_anything_is_opened(client: HttpClient) -> None:
    with pytest.raises(HttpError) as caught:
        await client.get("file:///etc/shadow")
    assert caught.value.reason is Reason.URL
    with pytest.raises(HttpError):
        async with client.stream("GET", "ftp://h/"):
            pytest.fail("entered")
