"""Plain requests, bodies, limits and the reuse of connections, over real TLS."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from torcxd.errors import Kind
from torcxd.http import HttpClient, HttpError, Reason
from torcxd.sandbox.http_faults import Ending, cut_short, endless_body, head, send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, serve
from torcxd.sandbox.tls import Authority

NewClient = Callable[..., HttpClient]


async def echo(request: Request) -> Response:
    """Say what was asked."""
    return Response.from_json(
        {
            "method": request.method,
            "target": request.target,
            "headers": dict(request.headers),
            "body": request.body.decode(),
        }
    )


async def test_a_get(client: HttpClient, authority: Authority) -> None:
    async with serve(echo, ssl_context=authority.server_context()) as server:
        response = await client.get(f"{server.url}/a%2Fb;c?d=e+f&g=%C3%BC#h", headers={"Authorization": "Bearer t"})
        asked = json.loads(response.body)
        assert response.status == 200
        assert response.headers["content-TYPE"] == "application/json"
        assert response.url == f"{server.url}/a%2Fb;c?d=e+f&g=%C3%BC"
        assert (asked["method"], asked["target"]) == ("GET", "/a%2Fb;c?d=e+f&g=%C3%BC")
        assert asked["headers"]["host"] == f"127.0.0.1:{server.port}"
        assert asked["headers"]["authorization"] == "Bearer t"
        assert asked["headers"]["accept-encoding"] == "identity"
        assert asked["headers"]["user-agent"].startswith("torcxd/")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_body_is_sent_as_it_is(client: HttpClient, method: str) -> None:
    async with serve(echo) as server:
        response = await client.request(
            method, server.url, headers={"content-type": "application/merge-patch+json"}, body=b'{"a": 1}'
        )
        asked = json.loads(response.body)
        assert (asked["method"], asked["body"]) == (method, '{"a": 1}')
        assert asked["headers"]["content-type"] == "application/merge-patch+json"
        assert asked["headers"]["content-length"] == "8"


async def test_userinfo_becomes_basic_credentials(client: HttpClient) -> None:
    async with serve(echo) as server:
        response = await client.get(f"http://us%40er:p:w@127.0.0.1:{server.port}/")
        assert json.loads(response.body)["headers"]["authorization"] == "Basic dXNAZXI6cDp3"
        assert response.url == f"{server.url}/"


@pytest.mark.parametrize("status", [200, 204, 206, 300, 304, 400, 404, 416, 500, 503])
async def test_every_status_is_returned(client: HttpClient, status: int) -> None:
    async def handler(request: Request) -> Response:
        return Response(status, {"ETag": '"x"'})

    async with serve(handler) as server:
        response = await client.get(server.url)
        assert (response.status, response.body, response.headers["etag"]) == (status, b"", '"x"')
        async with client.stream("GET", server.url) as answer:
            assert answer.status == status
            assert [piece async for piece in answer] == []
        assert server.connections == 1


async def test_a_304_may_announce_the_length_that_it_does_not_send(client: HttpClient) -> None:
    async def handler(request: Request) -> RawBehaviour:
        return send_then(head(304, {"Content-Length": str(1 << 30)}), Ending.STALL)

    async with serve(handler) as server:
        assert (await client.get(server.url)).status == 304


async def test_head_has_no_body_whatever_its_length_says(client: HttpClient) -> None:
    async def handler(request: Request) -> Response:
        return Response(body=b"x" * 100)

    async with serve(handler) as server:
        response = await client.request("HEAD", server.url)
        assert (response.body, response.headers["content-length"]) == (b"", "100")
        assert (await client.get(server.url)).body == b"x" * 100
        assert server.connections == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n\r\nall of it",
        b"HTTP/1.0 200 OK\r\n\r\nall of it",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nall\r\n6\r\n of it\r\n0\r\nTrailer: t\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall of it",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: no value\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\nX: \xff\r\n\r\nall of it",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=nonsense\r\nContent-Length: 9\r\n\r\nall of it",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 9\r\n\r\nall of it",
        b"HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\nall of it and more that nobody asked for",
    ],
    ids=["unframed", "http-1.0", "close", "chunked", "interim", "odd-headers", "odd-charset", "identity", "leftover"],
)
async def test_unusual_but_fine_answers(client: HttpClient, raw: bytes) -> None:
    async def handler(request: Request) -> RawBehaviour:
        return send_then(raw)

    async with serve(handler) as server:
        assert (await client.get(server.url)).body == b"all of it"
        assert (await client.get(server.url)).body == b"all of it"
        assert server.connections == 2  # none of them could be kept


async def test_a_large_answer_is_refused_and_not_read_to_its_end(client: HttpClient) -> None:
    async def handler(request: Request) -> Response | RawBehaviour:
        return endless_body if request.path == "/endless" else Response(body=b"x" * 1000)

    async with serve(handler) as server:
        assert len((await client.get(server.url, max_bytes=1000)).body) == 1000
        for path, limit in (("/", 999), ("/endless", 1 << 20)):
            with pytest.raises(HttpError, match=f"larger than {limit} bytes") as caught:
                await client.get(server.url + path, max_bytes=limit)
            assert (caught.value.reason, caught.value.kind) == (Reason.TOO_LARGE, Kind.PERMANENT)
        await server.wait_until(lambda each: each.open_connections == 0)


async def test_a_stream_delivers_pieces_as_they_arrive(client: HttpClient, authority: Authority) -> None:
    send, receive = trio.open_memory_channel[bytes](0)

    async def handler(request: Request) -> Response:
        return Response(body=receive)

    async with (
        serve(handler, ssl_context=authority.server_context()) as server,
        client.stream("GET", server.url, stall=None) as answer,
    ):
        for piece in (b'{"type":"ADDED"}\n', b'{"type":"MODIFIED"}\n'):
            await send.send(piece)
            assert await anext(answer) == piece
        await send.aclose()
        assert [piece async for piece in answer] == []


async def test_a_huge_body_is_not_kept_in_memory(client: HttpClient, authority: Authority) -> None:
    piece = bytes(1 << 20)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield piece

    async def handler(request: Request) -> Response:
        return Response(headers={"Content-Length": str(64 << 20)}, body=body())

    async with serve(handler, ssl_context=authority.server_context()) as server:
        received, largest = 0, 0
        async with client.stream("GET", server.url) as answer:
            async for each in answer:
                received += len(each)
                largest = max(largest, len(each))
        assert received == 64 << 20
        assert largest <= 1 << 20


async def test_connections_are_reused_one_by_one(client: HttpClient, authority: Authority) -> None:
    async with serve(echo, ssl_context=authority.server_context()) as server:
        for _ in range(5):
            assert (await client.get(server.url)).status == 200
        assert server.connections == 1
        await client.aclose()
        await server.wait_until(lambda each: each.open_connections == 0)
        assert (await client.get(server.url)).status == 200
        assert server.connections == 2


async def test_a_stream_that_is_left_early_closes_its_connection(client: HttpClient) -> None:
    async def handler(request: Request) -> RawBehaviour:
        return endless_body

    async with serve(handler) as server:
        async with client.stream("GET", server.url) as answer:
            assert await anext(answer)
        await server.wait_until(lambda each: each.open_connections == 0)


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(client: HttpClient) -> None:
    async def handler(request: Request) -> RawBehaviour:
        # Keep-alive as far as the headers say, and closed all the same.
        return send_then(head(200, {"Content-Length": "2"}) + b"ok")

    async with serve(handler) as server:
        for count in (1, 2, 3):
            assert (await client.request("POST", server.url, body=b"x")).body == b"ok"
            await server.wait_until(lambda each: each.open_connections == 0)
            assert len(server.requests) == count


async def _die_on_the_second_request(stream: trio.SocketStream) -> None:
    async with stream:
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b""):
            await stream.receive_some(65536)
            await stream.send_all(answer)


@pytest.mark.parametrize(("method", "survives"), [("GET", True), ("PUT", True), ("POST", False), ("PATCH", False)])
async def test_a_request_that_meets_a_dying_connection_is_repeated_if_it_may_be(
    client: HttpClient, nursery: trio.Nursery, method: str, survives: bool
) -> None:
    listeners = await nursery.start(trio.serve_tcp, _die_on_the_second_request, 0)
    port = listeners[0].socket.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    assert (await client.request(method, url)).body == b"ok"
    if survives:
        assert (await client.request(method, url)).body == b"ok"
    else:
        with pytest.raises(HttpError) as caught:
            await client.request(method, url)
        assert (caught.value.reason, caught.value.kind) == (Reason.TRUNCATED, Kind.TRANSIENT)
    nursery.cancel_scope.cancel()


async def test_only_so_many_streams_at_once(new_client: NewClient) -> None:
    client = new_client(max_connections=2)
    done: list[int] = []

    async def ask(url: str) -> None:
        done.append((await client.get(url)).status)

    async with (
        serve(echo) as server,
        trio.open_nursery() as nursery,
        client.stream("GET", server.url),
        client.stream("GET", server.url),
    ):
        nursery.start_soon(ask, server.url)
        await wait_all_tasks_blocked()
        assert (len(server.requests), done) == (2, [])
    assert (len(server.requests), done) == (3, [200])


async def test_the_pool_keeps_no_more_than_it_may(new_client: NewClient) -> None:
    client = new_client(max_connections=1)
    async with serve(echo) as one, serve(echo) as two:
        await client.get(one.url)
        await client.get(two.url)
        await one.wait_until(lambda each: each.open_connections == 0)
        assert two.open_connections == 1


async def test_cancellation_closes_the_connection_at_every_stage(client: HttpClient, authority: Authority) -> None:
    async def handler(request: Request) -> RawBehaviour:
        return send_then(b"", Ending.STALL) if request.path == "/head" else cut_short(b"some", ending=Ending.STALL)

    async with serve(handler, ssl_context=authority.server_context()) as server:
        for path in ("/head", "/body"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.get, server.url + path)
                await server.wait_until(lambda each: bool(each.requests))
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            await server.wait_until(lambda each: each.open_connections == 0)
            server.requests.clear()
    # The capacity came back as well.
    async with serve(echo) as server:
        assert (await client.get(server.url)).status == 200


@pytest.mark.parametrize(
    "headers", [{"X": "a\r\nY: b"}, {"X y": "b"}, {"X": "ü"}, {"Authorization": "Bearer hunter2\n"}]
)
async def test_an_impossible_header_is_refused_and_not_shown(client: HttpClient, headers: dict[str, str]) -> None:
    async with serve(echo) as server:
        with pytest.raises(HttpError) as caught:
            await client.get(server.url, headers=headers)
        assert (caught.value.reason, caught.value.kind) == (Reason.PROTOCOL, Kind.PERMANENT)
        assert caught.value.__suppress_context__
        assert "hunter2" not in str(caught.value)
        assert server.requests == []


def test_anyios_trio_backend_is_never_imported() -> None:
    script = """
import sys, trio
from torcxd.http import HttpClient
from torcxd.sandbox.http_server import Response, serve
async def handler(request): return Response(body=b"x" * 100)
async def main():
    client = HttpClient()
    async with serve(handler) as server:
        assert (await client.request("POST", server.url, body=b"y")).status == 200
        async with client.stream("GET", server.url) as answer:
            assert b"".join([piece async for piece in answer]) == b"x" * 100
    await client.aclose()
trio.run(main)
print([each for each in sys.modules if each.startswith("anyio._backends._")])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
