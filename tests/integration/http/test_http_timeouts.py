"""Deadlines, on a virtual clock that the tests move by hand once everything waits."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
from trio.testing import MockClock

from torcxd.errors import Kind
from torcxd.http import HttpClient, HttpError, Reason, Timeouts
from torcxd.sandbox.http_faults import Ending, head, send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Server, Wire, serve

NewClient = Callable[..., HttpClient]
TIMEOUTS = Timeouts(connect=10, first_byte=20, stall=30)


@pytest.fixture
def impatient(new_client: NewClient) -> HttpClient:
    return new_client(timeouts=TIMEOUTS)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts connections, as far as the kernel does, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def fails(request: Callable[[], Awaitable[object]], reason: Reason) -> None:
    with pytest.raises(HttpError) as caught:
        await request()
    assert (caught.value.reason, caught.value.kind) == (reason, Kind.TRANSIENT)


async def passes(clock: MockClock, seconds: float) -> None:
    """Let *seconds* pass once every task waits."""
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()


async def test_connecting_has_a_deadline(impatient: HttpClient, silent_port: int, mock_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails, lambda: impatient.get(f"https://127.0.0.1:{silent_port}/"), Reason.TIMEOUT)
        await passes(mock_clock, 9.9)
        assert nursery.child_tasks
        await passes(mock_clock, 0.2)


async def test_the_head_has_a_deadline(impatient: HttpClient, mock_clock: MockClock) -> None:
    async def handler(request: Request) -> RawBehaviour:
        return send_then(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n", Ending.STALL)

    async with serve(handler) as server, trio.open_nursery() as nursery:
        nursery.start_soon(fails, lambda: impatient.get(server.url), Reason.TIMEOUT)
        await server.wait_until(lambda each: bool(each.requests))
        await passes(mock_clock, 19.9)
        assert nursery.child_tasks
        await passes(mock_clock, 0.2)
        await server.wait_until(lambda each: each.open_connections == 0)


class Dripping:
    """Sends one byte of a body whenever it is told to."""

    def __init__(self) -> None:
        self.drops, self._receive = trio.open_memory_channel[bytes](0)

    async def __call__(self, request: Request) -> RawBehaviour:
        return self._behave

    async def _behave(self, wire: Wire) -> None:
        await wire.send(head(200, {"Content-Length": "10"}))
        async for drop in self._receive:
            await wire.send(drop)
        await wire.until_client_leaves()


async def test_the_stall_deadline_starts_anew_with_each_piece(impatient: HttpClient, mock_clock: MockClock) -> None:
    drip = Dripping()
    async with serve(drip) as server, impatient.stream("GET", server.url) as answer:
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(anext, answer)
                await passes(mock_clock, 29)
                await drip.drops.send(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, lambda: anext(answer), Reason.STALL)
            await passes(mock_clock, 31)
    assert server.open_connections == 0


async def _stays_open(server: Server, clock: MockClock, scope: trio.CancelScope) -> None:
    await passes(clock, 1e9)
    assert server.open_connections == 1
    scope.cancel()


@pytest.mark.parametrize(("stall", "wait"), [(5, 6), (300, 301)])
async def test_a_stream_can_have_its_own_stall_deadline(
    impatient: HttpClient, mock_clock: MockClock, stall: float, wait: float
) -> None:
    async with (
        serve(Dripping()) as server,
        impatient.stream("GET", server.url, stall=stall) as answer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(fails, lambda: anext(answer), Reason.STALL)
        await passes(mock_clock, wait - 2)
        assert nursery.child_tasks
        await passes(mock_clock, 2)


async def test_a_watch_may_be_silent_for_ever(impatient: HttpClient, mock_clock: MockClock) -> None:
    async with (
        serve(Dripping()) as server,
        impatient.stream("GET", server.url, stall=None) as answer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(anext, answer)
        await _stays_open(server, mock_clock, nursery.cancel_scope)


async def test_waiting_for_a_turn_has_no_deadline(new_client: NewClient, mock_clock: MockClock) -> None:
    client = new_client(max_connections=1, timeouts=TIMEOUTS)
    drip = Dripping()
    statuses: list[int] = []

    async def ask(url: str) -> None:
        async with client.stream("GET", url) as answer:
            statuses.append(answer.status)

    async with serve(drip) as server, trio.open_nursery() as nursery, client.stream("GET", server.url):
        nursery.start_soon(ask, server.url)
        await passes(mock_clock, 1e6)
        assert statuses == []
    assert statuses == [200]
