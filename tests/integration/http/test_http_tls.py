"""Certificates that must be refused, and the ways to say which are fine."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from torcxd.errors import Kind
from torcxd.http import HttpClient, HttpError, Reason
from torcxd.sandbox.http_faults import Ending, send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, serve
from torcxd.sandbox.tls import Authority

NewClient = Callable[..., HttpClient]


async def hello(request: Request) -> Response:
    return Response(body=b"hello")


async def refused(client: HttpClient, context: ssl.SSLContext, says: str) -> HttpError:
    async with serve(hello, ssl_context=context) as server:
        with pytest.raises(HttpError, match=says) as caught:
            await client.get(server.url)
        assert (caught.value.reason, caught.value.kind) == (Reason.TLS, Kind.PERMANENT)
        assert caught.value.hint
        assert server.requests == []
        await server.wait_until(lambda each: each.open_connections == 0)
        return caught.value


async def test_an_expired_certificate(client: HttpClient, authority: Authority) -> None:
    expired = authority.server_context(not_after=datetime(2017, 10, 1, tzinfo=UTC))
    error = await refused(client, expired, "certificate of 127.0.0.1 is not accepted: certificate has expired")
    assert "clock" in error.hint


async def test_a_certificate_for_another_host(client: HttpClient, authority: Authority) -> None:
    await refused(client, authority.server_context("other.example"), "not accepted: .*mismatch")


async def test_a_certificate_of_another_authority(client: HttpClient) -> None:
    await refused(client, Authority().server_context(), "not accepted: .*issuer")


async def test_the_default_context_trusts_no_throw_away_authority(authority: Authority) -> None:
    await refused(HttpClient(), authority.server_context(), "not accepted")


async def test_the_default_context_trusts_what_the_host_trusts(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "ca.pem")))
    client = HttpClient()
    async with serve(hello, ssl_context=authority.server_context()) as server:
        assert (await client.get(server.url)).body == b"hello"
    await client.aclose()


async def test_the_name_to_check_can_be_given(new_client: NewClient, authority: Authority) -> None:
    asked_for: list[str | None] = []
    context = authority.server_context("kubernetes.default")
    context.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    async with serve(hello, ssl_context=context) as server:
        assert (await new_client(server_hostname="kubernetes.default").get(server.url)).body == b"hello"
        assert asked_for == ["kubernetes.default"]
        assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"
        with pytest.raises(HttpError, match=r"certificate of kubernetes\.evil is not accepted"):
            await new_client(server_hostname="kubernetes.evil").get(server.url)


@pytest.fixture
def demanding(authority: Authority) -> ssl.SSLContext:
    context = authority.server_context()
    authority.require_clients(context)
    return context


async def test_a_client_certificate(
    new_client: NewClient, authority: Authority, demanding: ssl.SSLContext, tmp_path: Path
) -> None:
    chain, key = authority.client_certificate("node-1")
    (tmp_path / "client.pem").write_bytes(chain + key)
    mine = authority.client_context()
    mine.load_cert_chain(tmp_path / "client.pem")
    async with serve(hello, ssl_context=demanding) as server:
        assert (await new_client(ssl_context=mine).get(server.url)).body == b"hello"


def _refuse_one(listener: socket.socket, context: ssl.SSLContext) -> None:
    # The standard library's TLS, since trio's closes the connection without the alert that says why.
    connection, _ = listener.accept()
    with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
        with pytest.raises(ssl.SSLError, match="did not return a certificate"):
            tls.do_handshake()
        # What is unread when a socket is closed turns into a reset, which can overtake the alert.
        while os.read(tls.fileno(), 4096):
            pass


async def test_a_missing_client_certificate(client: HttpClient, demanding: ssl.SSLContext) -> None:
    # With TLS 1.3 the refusal arrives only after the handshake.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, _refuse_one, listener, demanding)
            with pytest.raises(HttpError, match="certificate required") as caught:
                await client.get(f"https://127.0.0.1:{listener.getsockname()[1]}/")
    assert (caught.value.reason, caught.value.kind) == (Reason.TLS, Kind.PERMANENT)
    assert "client certificate" in caught.value.hint


async def test_a_port_that_does_not_speak_tls(client: HttpClient) -> None:
    async with serve(hello) as server:
        with pytest.raises(HttpError, match=r"TLS with 127\.0\.0\.1 failed: wrong version number") as caught:
            await client.get(f"https://127.0.0.1:{server.port}/")
        assert (caught.value.reason, caught.value.kind) == (Reason.TLS, Kind.PERMANENT)


async def test_a_port_that_speaks_tls_asked_in_plain(client: HttpClient, authority: Authority) -> None:
    async with serve(hello, ssl_context=authority.server_context()) as server:
        with pytest.raises(HttpError) as caught:
            await client.get(f"http://127.0.0.1:{server.port}/")
        assert caught.value.reason in {Reason.PROTOCOL, Reason.TRUNCATED, Reason.CONNECT}


async def test_a_body_that_ends_with_the_connection_needs_no_goodbye(client: HttpClient, authority: Authority) -> None:
    async def handler(request: Request) -> RawBehaviour:
        return send_then(b"HTTP/1.1 200 OK\r\n\r\nall", Ending.ABORT)

    async with serve(handler, ssl_context=authority.server_context()) as server:
        assert (await client.get(server.url)).body == b"all"
