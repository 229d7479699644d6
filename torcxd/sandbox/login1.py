"""A stand-in for logind: records reboots and inhibitors instead of obeying them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from torcxd.dbus import login1
from torcxd.dbus.service import Interface, Method, Property
from torcxd.sandbox.records import Records
from torcxd.sandbox.service import StandIn


class Login1(StandIn):
    """``org.freedesktop.login1`` with what torcxd uses of it.

    :param records: gets ``Reboot`` and ``Inhibit`` with their arguments, and ``Release`` with an inhibitor's.
    :param on_reboot: awaited, besides, for each reboot, before its answer.
    """

    def __init__(self, records: Records, on_reboot: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__(login1.NAME)
        self.preparing_for_shutdown = False
        self.inhibitors: list[tuple[str, str, str, str]] = []
        self._taken = trio.Event()
        self._released = trio.Event()
        self._records = records
        self._on_reboot = on_reboot
        methods = {
            "Reboot": Method("b", "", self._reboot),
            "Inhibit": Method("ssss", "h", self._inhibit),
            "ListInhibitors": Method("", "a(ssssuu)", self._list_inhibitors),
        }
        properties = {"PreparingForShutdown": Property("b", lambda: self.preparing_for_shutdown)}
        self.export(login1.PATH, Interface(login1.INTERFACE, methods, properties, signals={"PrepareForShutdown": "b"}))

    async def _reboot(self, interactive: bool) -> tuple[Any, ...]:
        self._records.add(self.name, "Reboot", interactive)
        self.preparing_for_shutdown = True
        await self.emit(login1.PATH, login1.INTERFACE, "PrepareForShutdown", True)
        if self._on_reboot is not None:
            await self._on_reboot()
        return ()

    async def _inhibit(self, what: str, who: str, why: str, mode: str) -> tuple[Any, ...]:
        """The holder gets the writing end of a pipe; when it closes it, the reading end here is at its end."""
        inhibitor = (what, who, why, mode)
        self._records.add(self.name, "Inhibit", *inhibitor)
        self.inhibitors.append(inhibitor)
        self._taken.set()
        self._taken = trio.Event()
        reader, writer = os.pipe()
        self.start_soon(self._await_release, reader, inhibitor)
        return (os.fdopen(writer, "wb", buffering=0),)

    async def _await_release(self, reader: int, inhibitor: tuple[str, str, str, str]) -> None:
        async with trio.lowlevel.FdStream(reader) as stream:
            while await stream.receive_some():
                pass
        self.inhibitors.remove(inhibitor)
        self._records.add(self.name, "Release", *inhibitor)
        self._released.set()
        self._released = trio.Event()

    async def until_held(self) -> None:
        """Wait until somebody holds an inhibitor."""
        while not self.inhibitors:
            await self._taken.wait()

    async def until_released(self) -> None:
        """Wait until nobody holds an inhibitor."""
        while self.inhibitors:
            await self._released.wait()

    async def _list_inhibitors(self) -> tuple[Any, ...]:
        return ([(*each, os.getuid(), os.getpid()) for each in self.inhibitors],)

    async def started(self) -> None:
        self.preparing_for_shutdown = False
        self.inhibitors.clear()
