"""The endpoint on real sockets: what it answers, and that it is neither filled up nor held up."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h11
import pytest
import trio

from torcxd.daemon import metrics_endpoint
from torcxd.daemon.metrics_endpoint import LARGEST_HEAD, MOST_CONNECTIONS, MetricsEndpoint
from torcxd.errors import TorcxdError

TEXT = b"torcxd_retries_total 0.0\n"
TYPE = "text/plain; version=0.0.4; charset=utf-8"


@pytest.fixture
def path() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="metrics.")
    yield f"{directory}/run/metrics.sock"
    shutil.rmtree(directory)


@pytest.fixture
async def endpoint(path: str, nursery: trio.Nursery) -> MetricsEndpoint:
    served = MetricsEndpoint(lambda: TEXT, TYPE)
    await nursery.start(served.serve, path)
    return served


async def exchange(path: str, request: bytes) -> bytes:
    """Send *request*; everything that comes until the other end closes, or resets because it has not read all."""
    received = bytearray()
    async with await trio.open_unix_socket(path) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(request)
            async for piece in stream:
                received += piece
    return bytes(received)


def parse(answer: bytes, method: bytes = b"GET") -> tuple[int, dict[str, str], bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    client.receive_data(b"")
    head = client.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    return head.status_code, {name.decode(): value.decode() for name, value in head.headers}, body


async def test_the_metrics_are_served(path: str, endpoint: MetricsEndpoint) -> None:
    for target in (b"/metrics", b"/metrics?x=y"):
        answer = await exchange(path, b"GET %s HTTP/1.1\r\nHost: torcxd\r\nAccept: */*\r\n\r\n" % target)
        assert parse(answer) == (
            200,
            {"content-type": TYPE, "content-length": str(len(TEXT)), "connection": "close"},
            TEXT,
        )


async def test_head_tells_the_length_without_the_text(path: str, endpoint: MetricsEndpoint) -> None:
    answer = await exchange(path, b"HEAD /metrics HTTP/1.1\r\nHost: torcxd\r\n\r\n")
    status, headers, body = parse(answer, b"HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(TEXT)), b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /metrics/../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", 405),
        (b"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * LARGEST_HEAD, 431),
    ],
    ids=["root", "other path", "post", "delete", "no host", "tls", "endless head"],
)
async def test_everything_else_is_refused(path: str, endpoint: MetricsEndpoint, request_: bytes, status: int) -> None:
    answer = parse(await exchange(path, request_))
    assert answer[0] == status
    assert TEXT not in answer[2]
    assert ("allow" in answer[1]) == (status == 405)
    assert parse(await exchange(path, b"GET /metrics HTTP/1.0\r\n\r\n"))[0] == 200


async def test_one_connection_has_one_request(path: str, endpoint: MetricsEndpoint) -> None:
    answer = await exchange(path, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    assert answer.count(b"HTTP/1.1 200 OK") == 1


async def test_a_peer_that_hangs_up_disturbs_nobody(path: str, endpoint: MetricsEndpoint) -> None:
    for start in (b"", b"GET /met"):
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(start)
    assert parse(await exchange(path, b"GET /metrics HTTP/1.0\r\n\r\n"))[0] == 200


async def test_a_peer_that_says_nothing_is_hung_up_on(
    path: str, endpoint: MetricsEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_endpoint, "REQUEST_TIMEOUT", 0)
    assert await exchange(path, b"GET /met") == b""


async def test_no_more_than_a_few_connections_are_kept(path: str, endpoint: MetricsEndpoint) -> None:
    silent = [await trio.open_unix_socket(path) for _ in range(MOST_CONNECTIONS)]
    assert await exchange(path, b"GET /metrics HTTP/1.0\r\n\r\n") == b""
    await silent.pop().aclose()
    while not (answer := await exchange(path, b"GET /metrics HTTP/1.0\r\n\r\n")):
        await trio.lowlevel.checkpoint()
    assert parse(answer)[0] == 200
    for each in silent:
        await each.aclose()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_loopback_is_served(host: str, nursery: trio.Nursery) -> None:
    listeners = await nursery.start(MetricsEndpoint(lambda: TEXT, TYPE).serve, f"{host}:0")
    address, port = listeners[0].socket.getsockname()[:2]
    assert address == host.strip("[]")
    async with await trio.open_tcp_stream(address, port) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = b"".join([bytes(piece) async for piece in stream])
    assert parse(answer)[2] == TEXT


async def test_a_socket_that_a_dead_process_left_is_replaced_and_ours_removed(path: str) -> None:
    Path(path).parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(MetricsEndpoint(lambda: TEXT, TYPE).serve, path)
        assert Path(path).stat().st_mode & 0o777 == 0o666
        assert parse(await exchange(path, b"GET /metrics HTTP/1.0\r\n\r\n"))[0] == 200
        nursery.cancel_scope.cancel()
    assert not Path(path).exists()


async def test_a_port_in_use_is_an_error_that_names_it(nursery: trio.Nursery) -> None:
    listeners = await nursery.start(MetricsEndpoint(lambda: TEXT, TYPE).serve, "127.0.0.1:0")
    port = listeners[0].socket.getsockname()[1]
    with pytest.raises(TorcxdError, match=f"cannot serve metrics on 127.0.0.1:{port}: Address already in use"):
        await MetricsEndpoint(lambda: TEXT, TYPE).serve(f"127.0.0.1:{port}")


async def test_a_file_in_the_way_is_kept_told_once_and_tried_again(
    path: str, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_endpoint, "RETRY_INTERVAL", 0)
    Path(path).parent.mkdir()
    Path(path).write_text("precious")
    nursery.start_soon(MetricsEndpoint(lambda: TEXT, TYPE).keep_serving, path)
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    assert Path(path).read_text() == "precious"
    assert len(caplog.records) == 1
    assert path in caplog.text
    Path(path).unlink()
    while not Path(path).is_socket():
        await trio.lowlevel.checkpoint()
    assert parse(await exchange(path, b"GET /metrics HTTP/1.0\r\n\r\n"))[2] == TEXT
    nursery.cancel_scope.cancel()
