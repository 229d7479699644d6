"""Docker's version over its socket: a daemon, none, and everything that is not quite one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from torcxd.errors import Kind
from torcxd.host.docker import server_version
from torcxd.http import HttpError, Reason
from torcxd.http.unix import get_over_unix
from torcxd.lifecycle.versions import is_docker

Answer = Callable[[trio.SocketStream], Awaitable[None]]


@pytest.fixture
def path() -> Iterator[Path]:
    """Where Docker listens; pytest's own directory may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="docker.") as directory:
        yield Path(directory) / "docker.sock"


@asynccontextmanager
async def daemon(path: Path, answer: Answer) -> AsyncIterator[list[bytes]]:
    """Something that listens on *path*; yields what it was asked."""
    asked: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            asked.append(bytes(await stream.receive_some(4096)))
            await answer(stream)

    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(sock)])
        yield asked
        nursery.cancel_scope.cancel()


def says(*pieces: bytes) -> Answer:
    async def answer(stream: trio.SocketStream) -> None:
        for each in pieces:
            await stream.send_all(each)
            await wait_all_tasks_blocked()

    return answer


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    counted = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {counted}\r\n\r\n".encode() + body


VERSION = json.dumps({"Version": "17.03.2-ce", "ApiVersion": "1.27", "Os": "linux"}).encode()


@pytest.mark.accepts("N4")
async def test_the_version_is_what_the_daemon_says(path: Path) -> None:
    async with daemon(path, says(http(VERSION))) as asked:
        assert await server_version(path) == "17.03.2-ce"
    (request,) = asked
    assert request.startswith(b"GET /version HTTP/1.1\r\n")
    assert b"connection: close" in request.lower()


async def test_an_answer_may_come_in_pieces_and_without_a_length(path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [b"%x\r\n" % 5 + VERSION[:5] + b"\r\n", b"%x\r\n" % len(VERSION[5:]) + VERSION[5:] + b"\r\n", b"0\r\n\r\n"]
    async with daemon(path, says(head[:9], head[9:], *pieces)):
        assert await server_version(path) == "17.03.2-ce"


@pytest.mark.parametrize(
    "answer",
    [
        http(b"{}"),
        http(b'{"Version": ""}'),
        http(b'{"Version": 17}'),
        http(b"[]"),
        http(b"no JSON"),
        http(b"\xff"),
        http(b'{"message": "the server is starting"}', "503 Service Unavailable"),
        http(VERSION, length=1000),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
)
async def test_what_is_no_docker_has_no_version(path: Path, answer: bytes) -> None:
    async with daemon(path, says(answer)):
        assert await server_version(path) is None


async def test_no_socket_is_no_docker(path: Path) -> None:
    assert await server_version(path) is None
    # What a dead process left there, and a path that is none.
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    sock.close()
    assert await server_version(path) is None
    assert await server_version(path.with_name("x" * 200)) is None
    assert await server_version(path.parent) is None


async def test_a_daemon_that_does_not_answer_is_waited_for_only_so_long(path: Path) -> None:
    async def silence(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with daemon(path, silence):
        assert await server_version(path, timeout=0.01) is None
        with pytest.raises(HttpError) as caught:
            await get_over_unix(path, "/version", seconds=0.01, max_bytes=10)
        assert (caught.value.reason, caught.value.kind) == (Reason.TIMEOUT, Kind.TRANSIENT)
        assert f"unix:{path}/version" in str(caught.value)


async def test_an_answer_without_end_is_not_read(path: Path) -> None:
    async with daemon(path, says(http(b"x" * 11))):
        with pytest.raises(HttpError) as caught:
            await get_over_unix(path, "/", seconds=10, max_bytes=10)
        assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("raw", "reason", "kind"),
    [
        (b"220 ready\r\n\r\n", Reason.PROTOCOL, Kind.PERMANENT),
        (http(b"1", length=2), Reason.TRUNCATED, Kind.TRANSIENT),
        (b"", Reason.TRUNCATED, Kind.TRANSIENT),
    ],
)
async def test_each_failure_has_its_type(path: Path, raw: bytes, reason: Reason, kind: Kind) -> None:
    async with daemon(path, says(raw)):
        with pytest.raises(HttpError) as caught:
            await get_over_unix(path, "/version", seconds=10, max_bytes=1000)
        assert (caught.value.reason, caught.value.kind) == (reason, kind)


@pytest.mark.parametrize(
    ("version", "reference", "same"),
    [
        ("17.03.2-ce", "17.03", True),
        ("17.03.2-ce", "17.03.2", True),
        ("17.03.2-ce", "17.03.2-ce", True),
        ("17.03", "17.03", True),
        ("1.12.6", "1.12", True),
        ("1.12.6", "1.1", False),
        ("17.030.1", "17.03", False),
        ("17.06.2-ce", "17.03", False),
        ("17", "17.03", False),
        ("20.10.5+dfsg1", "20.10", True),
    ],
)
def test_a_reference_names_a_series_by_whole_components(version: str, reference: str, same: bool) -> None:
    assert is_docker(version, reference) is same
