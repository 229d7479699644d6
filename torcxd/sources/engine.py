"""What is needed of update_engine to follow it: the real one over D-Bus, or anything that says as much."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from torcxd.dbus.signals import OwnerChange
from torcxd.dbus.update_engine import Status


class EventSource(Protocol):
    """Signals of update_engine and its starts and stops, as :meth:`torcxd.dbus.update_engine.UpdateEngine.events`."""

    async def __anext__(self) -> Status | OwnerChange: ...

    def discard(self) -> None: ...


class Engine(Protocol):
    """What is needed of :class:`torcxd.dbus.update_engine.UpdateEngine`."""

    async def status(self) -> Status: ...

    async def attempt_update(self) -> None: ...

    def events(self) -> AbstractAsyncContextManager[EventSource]: ...
