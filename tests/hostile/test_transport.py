"""A server, or somebody in between: certificates, redirects, credentials, bodies without end and bodies that drip."""

from __future__ import annotations

import contextlib
import ssl
import types
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from tests.hostile.attack import attack, removed
from tests.hostile.conftest import Ring
from tests.hostile.scene import IMAGE, OS, Answer, Scene, document, manifest_path, version
from torcxd.addons import download
from torcxd.addons.download import Attempt, Download
from torcxd.addons.hashing import Digests
from torcxd.addons.partial import PartialFile
from torcxd.addons.ranges import Body
from torcxd.http import HttpClient, HttpError, Reason, Timeouts, connection, redirects, session, streamed
from torcxd.http import client as client_module
from torcxd.http.url import Url
from torcxd.lifecycle.catalog import Digest
from torcxd.sandbox.http_faults import head, send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Server, Wire, serve
from torcxd.sandbox.tls import Authority

# Certificates.


@pytest.fixture(scope="session")
def impostors(authority: Authority) -> dict[str, ssl.SSLContext]:
    """Certificates with which somebody in between may try it."""
    return {
        "another authority": Authority().server_context(),
        "expired": authority.server_context(not_after=datetime(2020, 1, 1, tzinfo=UTC)),
        "another host": authority.server_context("bucket.example"),
    }


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("case", ["another authority", "expired", "another host"])
@attack(removed(ssl, "create_default_context", _unchecked))
async def test_somebody_in_between_with_another_certificate(
    scene: Scene, impostors: dict[str, ssl.SSLContext], case: str
) -> str:
    async def answer(_request: Request) -> Response:
        return Response(404)

    async with serve(answer, ssl_context=impostors[case]) as impostor:
        scene.bucket.url = impostor.url
        await scene.fetch()
        return f"it was asked for {impostor.requests[0].path}" if impostor.requests else ""


# Redirects.


@pytest.fixture
async def client(authority: Authority) -> AsyncIterator[HttpClient]:
    made = HttpClient(ssl_context=authority.client_context())
    yield made
    await made.aclose()


def to(location: str, *, status: int = 302) -> Any:
    async def answer(_request: Request) -> Response:
        return Response(status, {"Location": location})

    return answer


async def ok(_request: Request) -> Response:
    return Response(200, {}, b"here")


async def reached(client: HttpClient, url: str, target: Server, **headers: str) -> list[Request]:
    """The requests that *target* got when *url* was asked for."""
    try:
        await client.get(url, headers=headers)
    except HttpError as error:
        if error.reason is not Reason.REDIRECT:
            raise
    return target.requests


@attack(removed(redirects, "_is_downgrade", lambda url, target: False))
async def test_a_redirect_from_https_to_http(client: HttpClient, authority: Authority) -> str:
    async with (
        serve(ok) as plain,
        serve(to(f"{plain.url}/x"), ssl_context=authority.server_context()) as secure,
    ):
        return str(await reached(client, secure.url, plain) or "")


METADATA: Final = [
    "169.254.169.254",
    "[::ffff:169.254.169.254]",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
]


@pytest.mark.parametrize("host", METADATA)
@attack(
    removed(redirects, "is_link_local", lambda host: False), removed(client_module, "is_link_local", lambda h: False)
)
async def test_a_redirect_to_where_clouds_serve_credentials(
    client: HttpClient, host: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    async with serve(ok) as metadata, serve(to(f"http://{host}/latest/meta-data/iam")) as server:
        _route(monkeypatch, server, metadata)
        return str(await reached(client, server.url, metadata) or "")


@attack(removed(client_module, "is_link_local", lambda host: False))
async def test_a_redirect_to_a_name_for_it(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> str:
    async with serve(ok) as metadata, serve(to("http://metadata.example/latest")) as server:
        _route(monkeypatch, server, metadata)
        monkeypatch.setattr(connection.Connection, "peer_address", lambda self: "169.254.169.254")
        return str([each for each in await reached(client, server.url, metadata) if each.path == "/latest"] or "")


def _route(monkeypatch: pytest.MonkeyPatch, server: Server, metadata: Server) -> None:
    """Whatever is not *server* is *metadata*."""

    async def open_tcp(hop: Url, _url: Url) -> trio.SocketStream:
        port = server.port if hop.port == server.port else metadata.port
        return await trio.open_tcp_stream("127.0.0.1", port)

    monkeypatch.setattr(connection, "_open_tcp", open_tcp)


@attack(removed(client_module, "MAX_REDIRECTS", 1000))
async def test_a_redirect_without_end(client: HttpClient) -> str:
    async def answer(request: Request) -> Response:
        number = int(request.query.get("n", "0"))
        return Response(302, {"Location": f"/?n={number + 1}"}) if number < 100 else Response(200)

    async with serve(answer) as server:
        await reached(client, server.url, server)
        return f"{len(server.requests)} requests" if len(server.requests) > 20 else ""


@pytest.mark.parametrize("header", ["Authorization", "Cookie"])
@attack(removed(redirects, "_CREDENTIALS", frozenset()))
async def test_credentials_that_follow_to_another_host(client: HttpClient, header: str) -> str:
    async with serve(ok) as other, serve(to(f"{other.url}/x")) as server:
        requests = await reached(client, server.url, other, **{header: "hunter2"})
        return "hunter2" if any("hunter2" in each.headers.values() for each in requests) else ""


async def test_a_cookie_is_not_kept(client: HttpClient) -> None:
    async def answer(_request: Request) -> Response:
        return Response(200, {"Set-Cookie": "id=evil; Domain=.example"})

    async with serve(answer) as server:
        for _ in range(2):
            await client.get(server.url)
        assert not any("cookie" in each.headers for each in server.requests)


# What comes back.


@attack(removed(streamed, "_is_encoded", lambda headers: False))
async def test_a_bomb_that_was_not_asked_for(scene: Scene, ring: Ring) -> str:
    """gzip in place of the manifest: nobody unpacks it, and nobody takes it for the content either."""
    scene.forged[manifest_path("1576.4.0")] = Response(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b" + bytes(1000))
    scene.forged[manifest_path("1576.4.0") + ".asc"] = Response(200, {}, b"x")
    await scene.fetch()
    assert scene.error is not None
    return "" if "content encoding" in scene.error.message else f"it was read: {scene.error.message}"


@attack(removed(session, "_MAX_INTERIM", 10_000))
async def test_interim_answers_without_end(client: HttpClient) -> str:
    async def answer(_request: Request) -> RawBehaviour:
        async def behave(wire: Wire) -> None:
            await wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        return behave

    async with serve(answer) as server:
        try:
            await client.get(server.url)
        except HttpError as error:
            return "" if "interim" in error.message else error.message
        return "1000 answers were read"


async def _by_receipts(self: streamed.StreamedResponse) -> bytes | bytearray:
    """As it was: each byte that arrives is a sign of life."""
    while (piece := self._exchange.body.next_piece()) is None:
        with trio.fail_after(self._stall):
            await self._exchange.receive()
    return piece


def dripping(head: bytes, drop: bytes, *, every: float, most: int) -> Any:
    """*head*, and then *most* drops, one *every* so many seconds."""

    async def answer(_request: Request) -> RawBehaviour:
        async def behave(wire: Wire) -> None:
            await wire.send(head)
            for _ in range(most):
                await trio.sleep(every)
                await wire.send(drop)
            await wire.until_client_leaves()

        return behave

    return answer


CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
# Three times what anything here may take.
FOREVER: Final = 900.0


async def held(client: HttpClient, url: str) -> str:
    """For how long the server holds the client, if that is beyond what anybody would wait for."""
    began = trio.current_time()
    with trio.move_on_after(FOREVER):
        try:
            await client.get(url)
        except HttpError as error:
            if error.reason is not Reason.STALL:
                raise
    return "for ever" if trio.current_time() - began >= FOREVER else ""


@pytest.fixture
async def patient() -> AsyncIterator[HttpClient]:
    """A client that would read a whole answer for as long as it comes."""
    made = HttpClient(timeouts=Timeouts(whole=1e9))
    yield made
    await made.aclose()


@attack(removed(streamed.StreamedResponse, "_next_piece", _by_receipts))
async def test_a_chunk_whose_head_drips(patient: HttpClient, mock_clock: MockClock) -> str:
    mock_clock.autojump_threshold = 0.01
    async with serve(dripping(CHUNKED + b"1;", b"x", every=20, most=10_000)) as server:
        return await held(patient, server.url)


# trio without deadlines.
_ENDLESS: Final = types.SimpleNamespace(**{**vars(trio), "move_on_after": lambda _seconds: contextlib.nullcontext()})


@attack(removed(client_module, "trio", _ENDLESS))
async def test_a_manifest_that_drips(client: HttpClient, mock_clock: MockClock) -> str:
    mock_clock.autojump_threshold = 0.01
    async with serve(dripping(LONG, b"x", every=20, most=10_000)) as server:
        began = trio.current_time()
        with trio.CancelScope(deadline=began + FOREVER), contextlib.suppress(HttpError):
            await client.get(server.url)
        return "for ever" if trio.current_time() - began >= FOREVER else ""


@attack(removed(download, "_SLOWEST", 0))
async def test_an_image_that_drips(mock_clock: MockClock) -> str:
    """Just ahead of the stall, so that the next URL is never asked."""
    mock_clock.autojump_threshold = 0

    class Drip:
        def __aiter__(self) -> Drip:
            return self

        async def __anext__(self) -> bytes:
            await trio.sleep(20)
            return b"x"

    partial: Any = type("Partial", (), {"size": 0})
    attempt = Attempt(None, "https://h/x", Download(IMAGE.digest, (), "x"), partial, 1 << 30, None)  # type: ignore[arg-type]
    send, receive = trio.open_memory_channel[Any](10_000)
    async with send, receive:
        with trio.move_on_after(FOREVER):
            try:
                await attempt._read(Drip(), Body(0, None), send)  # type: ignore[arg-type]
            except HttpError as error:
                return "" if error.reason is Reason.STALL else error.message
    return "for ever"


async def test_a_slow_line_is_no_attack(mock_clock: MockClock) -> None:
    """Two kilobytes a second are few, and enough."""
    mock_clock.autojump_threshold = 0
    left = iter(range(1000))

    class Slow:
        def __aiter__(self) -> Slow:
            return self

        async def __anext__(self) -> bytes:
            await trio.sleep(1)
            if next(left, None) is None:
                raise StopAsyncIteration
            return bytes(2000)

    partial: Any = type("Partial", (), {"size": 0})
    attempt = Attempt(None, "https://h/x", Download(IMAGE.digest, (), "x"), partial, 1 << 30, None)  # type: ignore[arg-type]
    send, receive = trio.open_memory_channel[Any](10_000)
    async with send, receive:
        await attempt._read(Slow(), Body(0, None), send)  # type: ignore[arg-type]


# Images.

_found, _of = PartialFile.found, Digests.of


def _as_wanted(self: PartialFile) -> Digest:
    return self._digest if self.size else _found(self)


def _as_named(self: Digests, path: Path, algorithm: str) -> Digest:
    name, _, digits = path.name.partition("-")
    return Digest(algorithm, digits) if name == algorithm else _of(self, path, algorithm)


# Where it is looked at: when it has arrived, and once more before it is placed.
UNSEEN: Final = (removed(PartialFile, "found", _as_wanted), removed(Digests, "of", _as_named))


@pytest.mark.accepts("N2")
@pytest.mark.parametrize("case", ["other bytes", "one bit", "longer", "shorter"])
@attack(*UNSEEN)
async def test_an_image_of_other_content(scene: Scene, case: str) -> str:
    data = IMAGE.data
    evil = {
        "other bytes": bytes(reversed(data)),
        "one bit": data[:-1] + bytes([data[-1] ^ 1]),
        "longer": data + b"x",
        "shorter": data[:-1],
    }[case]
    url = scene.offer(evil)
    body = document(version(IMAGE, url))
    data = scene.forge_manifest(body)
    scene.bucket.signed.add((scene.key.fingerprint, OS, data))
    return await scene.stage()


@pytest.mark.accepts("N2", "N7")
@attack(*UNSEEN)
async def test_an_image_that_is_another_one_when_it_is_resumed(scene: Scene) -> str:
    """The first half of an evil image, cut off; then, by the same tag, the second half of the good one."""
    half = len(IMAGE.data) // 2
    evil = bytes(half)
    rest = IMAGE.data[half:]
    path = "/evil.torcx.tgz"
    size = f"{len(IMAGE.data)}"
    asked: list[str] = []

    async def answer(request: Request) -> Answer:
        asked.append(request.headers.get("range", ""))
        tag = {"ETag": '"same"'}
        if asked[-1]:
            ranged = {**tag, "Content-Range": f"bytes {half}-{len(IMAGE.data) - 1}/{size}"}
            return Response(206, ranged, rest)
        return send_then(head(200, {**tag, "Content-Length": size}) + evil)

    scene.forged[path] = answer
    data = scene.forge_manifest(document(version(IMAGE, scene.server.url + path)))
    scene.bucket.signed.add((scene.key.fingerprint, OS, data))
    await scene.stage()
    got = await scene.stage()
    assert got or any(asked)
    return got
