"""The bytes that the bus sends, while calls wait for their answers and readers for their signals."""

from __future__ import annotations

from typing import Any, Final

import trio
import trio.testing

from tests.fuzz.oracle import demand, refusing
from torcxd.dbus.bus import Bus
from torcxd.dbus.connection import Connection
from torcxd.dbus.errors import DBusError
from torcxd.dbus.login1 import Login1
from torcxd.dbus.systemd1 import Systemd1
from torcxd.dbus.update_engine import UpdateEngine
from torcxd.errors import TorcxdError

WORDS: Final = (
    "xdssx",
    "UPDATE_STATUS_IDLE",
    "com.coreos.update1.Manager",
    "/com/coreos/update1",
    "a(usssoo)",
    "sss",
    "v",
    "a()",
    "a(())",
)


class _Socket:
    """A socket that takes everything, and receives what it was given."""

    did_shutdown_SHUT_WR = False

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def send(self, data: memoryview) -> int:
        """Take it."""
        await trio.lowlevel.checkpoint()
        return len(data)

    async def recv(self, most: int) -> bytes:
        """What is left, in pieces."""
        await trio.lowlevel.checkpoint()
        most = min(most, 64)
        piece, self._data = self._data[:most], self._data[most:]
        return piece


def check(data: bytes) -> None:
    trio.run(_talk, data)


async def _talk(data: bytes) -> None:
    socket: Any = _Socket(data)
    bus = Bus(Connection(socket), "unix:path=/run/dbus")
    ended = 0

    async def events() -> None:
        async with UpdateEngine(bus).events() as signals:
            async for _ in signals:
                pass

    async def run(ask: Any) -> None:
        nonlocal ended
        with refusing(TorcxdError):
            await ask()
        ended += 1

    async with trio.open_nursery() as nursery:
        # Each in a task of its own, so that all have called before anything arrives, in no fixed order; the second
        # reader of signals follows the first, who asks for their sender.
        for ask in (
            events,
            events,
            UpdateEngine(bus).status,
            Login1(bus).preparing_for_shutdown,
            Systemd1(bus).going_down,
        ):
            nursery.start_soon(run, ask)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(bus._receive)
    demand(ended == 5, "somebody waits for ever on a connection that has ended")
    with refusing(DBusError):
        await UpdateEngine(bus).status()
        raise AssertionError("a call over a connection that has ended")
