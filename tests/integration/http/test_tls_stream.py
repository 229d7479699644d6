"""TLS on a stream: against trio's own server side, and OpenSSL's for what Python cannot bring about."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing

from torcxd.http.tls import TlsStream
from torcxd.sandbox.tls import Authority

_RECORD: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Pair:
    """Both ends of a connection after the handshake.

    :param wire: what lies below the server's end.
    """

    client: TlsStream
    server: trio.SSLStream[trio.SocketStream]
    wire: trio.SocketStream


async def connect(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> Pair:
    ours, theirs = trio.socket.socketpair()
    wire = trio.SocketStream(theirs)
    client = TlsStream(trio.SocketStream(ours), client_context, "localhost")
    server = trio.SSLStream(wire, server_context, server_side=True, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.handshake)
        nursery.start_soon(server.do_handshake)
    return Pair(client, server, wire)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
async def pair(request: pytest.FixtureRequest, authority: Authority) -> AsyncIterator[Pair]:
    context = authority.server_context()
    context.minimum_version = context.maximum_version = request.param
    made = await connect(authority.client_context(), context)
    yield made
    await trio.aclose_forcefully(made.wire)
    await made.client.transport.aclose()  # type: ignore[union-attr]  # no TLS within TLS here


async def receive_exactly(stream: TlsStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await stream.receive_some(count - len(data))
    return data


async def test_both_directions(pair: Pair) -> None:
    await pair.client.send_all(b"question")
    assert await pair.server.receive_some() == b"question"
    await pair.server.send_all(b"answer")
    assert await pair.client.receive_some() == b"answer"


async def test_what_has_arrived_comes_at_once(pair: Pair) -> None:
    content = bytes(range(256)) * (4 * _RECORD // 256)
    await pair.server.send_all(content)
    assert await pair.client.receive_some() == content


async def test_no_more_than_asked_for_and_nothing_is_lost(pair: Pair) -> None:
    await pair.server.send_all(b"x" * (_RECORD + 10))
    assert len(await pair.client.receive_some(10)) == 10
    assert len(await pair.client.receive_some(_RECORD - 1)) == _RECORD - 1
    # It is in OpenSSL by now, no longer on the wire.
    assert await pair.client.receive_some() == b"x"


async def test_large_data_in_both_directions_at_once_from_two_ends(pair: Pair) -> None:
    content = b"z" * 3_000_000

    async def answer() -> None:
        received = 0
        while received < len(content):
            received += len(await pair.server.receive_some())
        await pair.server.send_all(content)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        await pair.client.send_all(content)
        assert await receive_exactly(pair.client, len(content)) == content


@pytest.mark.parametrize("goodbye", [True, False], ids=["goodbye", "no goodbye"])
async def test_the_end_stays_the_end(pair: Pair, goodbye: bool) -> None:
    await pair.server.send_all(b"last")
    if goodbye:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.server.unwrap)
            # It waits for an answer now, which a client of HTTPS need not give.
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    else:
        await pair.wire.send_eof()
    assert await pair.client.receive_some() == b"last"
    assert await pair.client.receive_some() == b""
    assert await pair.client.receive_some() == b""


async def test_what_came_before_a_forgery_is_handed_out_and_then_it_is_told(pair: Pair) -> None:
    await pair.server.send_all(b"genuine")
    # An application-data record that nobody encrypted.
    await pair.wire.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert await pair.client.receive_some() == b"genuine"
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError) as caught:
            await pair.client.receive_some()
        assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_cancellation_loses_nothing(pair: Pair) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await pair.client.receive_some()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.client.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await pair.server.send_all(b"still there")
    assert await pair.client.receive_some() == b"still there"


async def test_the_certificate_is_checked_against_the_name(authority: Authority) -> None:
    ours, theirs = trio.socket.socketpair()
    client = TlsStream(trio.SocketStream(ours), authority.client_context(), "elsewhere.example")
    server = trio.SSLStream(trio.SocketStream(theirs), authority.server_context(), server_side=True)

    async def serve() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await server.do_handshake()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.handshake()
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        ours.close()


async def test_a_connection_that_ends_in_the_handshake(authority: Authority) -> None:
    ours, theirs = trio.socket.socketpair()
    theirs.shutdown(trio.socket.SHUT_WR)
    client = TlsStream(trio.SocketStream(ours), authority.client_context(), "localhost")
    with pytest.raises(trio.BrokenResourceError) as caught:
        await client.handshake()
    assert isinstance(caught.value.__cause__, ssl.SSLEOFError)
    ours.close()
    theirs.close()


async def test_new_keys_are_answered_with_new_keys(tmp_path: Path, authority: Authority) -> None:
    pem = tmp_path / "pair.pem"
    pem.write_bytes(b"".join(authority.client_certificate("localhost")))
    context = authority.client_context()
    # The certificate is one for clients, which names nobody; its name is not what is tested here.
    context.check_hostname = False
    command = ["openssl", "s_server", "-tls1_3", "-msg", "-accept", "127.0.0.1:0", "-cert", str(pem), "-key", str(pem)]
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        )
        said = await said_until(server.stdout, rb"ACCEPT [0-9.]+:(\d+)\n")
        client = TlsStream(await trio.open_tcp_stream("127.0.0.1", int(said[1])), context, "localhost")
        await client.handshake()
        # Its command to change its keys and ask for ours; see s_server(1).
        await server.stdin.send_all(b"K\n")
        await said_until(server.stdout, rb">>> TLS 1.3, .*KeyUpdate")
        await server.stdin.send_all(b"under new keys\n")
        assert await client.receive_some() == b"under new keys\n"
        # OpenSSL answers with the next write.
        await client.send_all(b"likewise\n")
        await said_until(server.stdout, rb"(?s)<<< TLS 1.3, [^\n]*KeyUpdate.*\nlikewise\n")
        nursery.cancel_scope.cancel()


async def said_until(output: trio.abc.ReceiveStream, pattern: bytes) -> re.Match[bytes]:
    """Read *output* until *pattern* occurs."""
    said = b""
    while (found := re.search(pattern, said)) is None:
        data = await output.receive_some()
        assert data, said
        said += data
    return found
