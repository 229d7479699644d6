"""An update_engine made of plain objects, scripted on the virtual clock."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from torcxd.dbus.errors import NO_REPLY, SERVICE_UNKNOWN, DBusError
from torcxd.dbus.signals import OwnerChange
from torcxd.dbus.update_engine import NAME, Operation, Status

Event = Status | OwnerChange | DBusError


class FakeEvents:
    """What :meth:`FakeEngine.events` gives."""

    def __init__(self) -> None:
        self.sender, self.receiver = trio.open_memory_channel[Event](math.inf)

    async def __anext__(self) -> Status | OwnerChange:
        event = await self.receiver.receive()
        if isinstance(event, DBusError):
            raise event
        return event

    def discard(self) -> None:
        while self.receiver.statistics().current_buffer_used:
            self.receiver.receive_nowait()


class FakeEngine:
    """update_engine: a state, its signals, and an owner that can leave.

    ``on_attempt`` is what an effective AttemptUpdate sets going; it runs beside the follow under test.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.state = Status(1000, 0.0, Operation.IDLE, "0.0.0", 0)
        self.attempts = 0
        self.polls = 0
        self.present = True
        self.hangs = False
        self.on_attempt: Callable[[], Awaitable[None]] | None = None
        self._nursery = nursery
        self._events = FakeEvents()

    # For the follow under test.

    async def status(self) -> Status:
        await self._answer()
        self.polls += 1
        return self.state

    async def attempt_update(self) -> None:
        await self._answer()
        self.attempts += 1
        if self.state.operation is Operation.IDLE and self.on_attempt is not None:
            self._nursery.start_soon(self.on_attempt)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[FakeEvents]:
        yield self._events

    # For scripts.

    def set(self, operation: Operation, version: str = "0.0.0", *, progress: float = 0.0, checked: int = 0) -> None:
        """Change the state silently."""
        checked = checked or self.state.last_checked_time
        self.state = Status(checked, progress, operation, version, 0)

    def go(self, operation: Operation, version: str = "0.0.0", *, progress: float = 0.0, checked: int = 0) -> None:
        """Change the state and signal it."""
        self.set(operation, version, progress=progress, checked=checked)
        self.signal(self.state)

    def signal(self, event: Event) -> None:
        self._events.sender.send_nowait(event)

    def leave(self) -> None:
        self.present = False
        self.signal(OwnerChange(NAME, ":1.1", ""))

    def come_back(self, operation: Operation = Operation.IDLE) -> None:
        """A new process: it knows neither version nor progress."""
        self.present = True
        self.state = replace(self.state, operation=operation, new_version="0.0.0", progress=0.0, last_checked_time=0)
        self.signal(OwnerChange(NAME, "", ":1.2"))

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.hangs:
            await trio.sleep(25)
            raise DBusError(NO_REPLY, f"{NAME} gave no answer within 25 s")
        if not self.present:
            raise DBusError(SERVICE_UNKNOWN, f"calling {NAME} failed")


@pytest.fixture
def engine(nursery: trio.Nursery) -> FakeEngine:
    return FakeEngine(nursery)
