"""What torcxd offers on the node: the metrics endpoint, and its object on the bus. Anybody on the node may come."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.hostile.attack import attack, removed
from torcxd.daemon import metrics_endpoint
from torcxd.daemon.bus_object import INTERFACE, NAME, PATH, BusObject
from torcxd.daemon.metrics_endpoint import LARGEST_HEAD, MOST_CONNECTIONS, MetricsEndpoint
from torcxd.dbus import service
from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import DBusError
from torcxd.dbus.service import Interface, Method
from torcxd.sandbox.bus import PrivateBus
from torcxd.sandbox.service import StandIn

TEXT = b"metric 1\n"
REQUEST = b"GET /metrics HTTP/1.0\r\n\r\n"


@pytest.fixture
async def path(folder: Path) -> AsyncIterator[str]:
    """The endpoint's socket."""
    socket = str(folder / "s")
    async with trio.open_nursery() as nursery:
        await nursery.start(MetricsEndpoint(lambda: TEXT, "text/plain").serve, socket)
        yield socket
        nursery.cancel_scope.cancel()


@attack(removed(metrics_endpoint, "MOST_CONNECTIONS", 10_000))
async def test_connections_without_end(path: str) -> str:
    """Each costs a descriptor and a task for as long as its time lasts."""
    streams = [await trio.open_unix_socket(path) for _ in range(4 * MOST_CONNECTIONS)]
    await trio.testing.wait_all_tasks_blocked()
    kept = 0
    for each in streams:
        with contextlib.suppress(trio.BrokenResourceError):
            await each.send_all(REQUEST)
            kept += bool(await each.receive_some())
    for each in streams:
        await each.aclose()
    return f"{kept} are kept" if kept > MOST_CONNECTIONS else ""


@attack(removed(metrics_endpoint, "REQUEST_TIMEOUT", math.inf))
async def test_a_request_that_drips(path: str, mock_clock: trio.testing.MockClock) -> str:
    mock_clock.autojump_threshold = 0.01
    async with await trio.open_unix_socket(path) as stream:
        for _ in range(60):
            try:
                await stream.send_all(b"G")
            except trio.BrokenResourceError:
                return ""
            await trio.sleep(1)
    return "it is heard for a minute"


@attack(removed(metrics_endpoint, "LARGEST_HEAD", 1 << 30))
async def test_a_request_without_end(path: str) -> str:
    async with await trio.open_unix_socket(path) as stream:
        try:
            for _ in range(64):
                await stream.send_all(b"X" * LARGEST_HEAD)
        except trio.BrokenResourceError:
            return ""
    return f"{64 * LARGEST_HEAD} bytes were read"


class Slow(StandIn):
    """A service whose every call takes as long as it may.

    :param began: is told of each.
    """

    def __init__(self, began: trio.MemorySendChannel[str]) -> None:
        super().__init__("x.Slow")
        self._began = began
        self.export("/x", Interface("x.Slow", {"Wait": Method("", "", self._wait)}))

    async def _wait(self) -> tuple[object, ...]:
        await self._began.send("answered")
        return await trio.sleep_forever()


@attack(removed(service, "MOST_CALLS", 10_000))
async def test_calls_without_end(private: PrivateBus, bus: Bus, nursery: trio.Nursery) -> str:
    """Each is a task for as long as its answer takes."""
    send, receive = trio.open_memory_channel[str](0)
    offered = Slow(send)
    await nursery.start(offered.serve, private.address)

    async def call() -> None:
        try:
            await bus.call("x.Slow", "/x", "x.Slow", "Wait")
        except DBusError:
            await send.send("refused")

    async with trio.open_nursery() as callers:
        for _ in range(200):
            callers.start_soon(call)
        ends = [await receive.receive() for _ in range(200)]
        callers.cancel_scope.cancel()
    offered.leave()
    answered = ends.count("answered")
    return f"{answered} calls at once" if answered > 64 else ""


@pytest.mark.parametrize(
    ("interface", "member", "signature", "arguments"),
    [
        ("org.freedesktop.DBus.Properties", "Set", "ssv", (INTERFACE, "State", ("s", "done"))),
        (INTERFACE, "Reboot", "", ()),
        (INTERFACE, "Quit", "", ()),
    ],
)
async def test_the_object_can_only_be_read(
    private: PrivateBus,
    bus: Bus,
    nursery: trio.Nursery,
    interface: str,
    member: str,
    signature: str,
    arguments: tuple[object, ...],
) -> None:
    shown = BusObject(lambda: 0.0, lambda: private.address)
    async with bus.owner_changes(NAME) as changes:
        nursery.start_soon(shown.run)
        await changes.__anext__()
    with pytest.raises(DBusError):
        await bus.call(NAME, PATH, interface, member, signature, *arguments)
    assert await bus.get_property(NAME, PATH, INTERFACE, "State") == ""
    nursery.cancel_scope.cancel()
