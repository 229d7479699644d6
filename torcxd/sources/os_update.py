"""Watches update_engine for the daemon: each change of what it is about to install becomes an event (N3).

Signals only speed things up: GetStatus is asked at the start, after each restart of the service, and now and then, for
ResetStatus is not signalled and signals get lost. A finished or withdrawn update that a signal tells of is confirmed,
since ``locksmithctl send-need-reboot`` forges such signals.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import trio

from torcxd.dbus.errors import DBusError
from torcxd.dbus.signals import OwnerChange
from torcxd.dbus.update_engine import Operation, Status
from torcxd.lifecycle.facts import OsUpdate
from torcxd.sources.engine import Engine, EventSource

# Seconds. A silent ResetStatus is noticed within a minute; an idle update_engine does not mind one call in it.
POLL_INTERVAL: Final = 60.0

_UNDER_WAY: Final = frozenset(
    {Operation.UPDATE_AVAILABLE, Operation.DOWNLOADING, Operation.VERIFYING, Operation.FINALIZING}
)


def read(status: Status) -> OsUpdate:
    """What a status says about the coming OS version."""
    if status.operation is Operation.UPDATED_NEED_REBOOT:
        return OsUpdate(status.version, pending=True, installation=status.installation)
    if status.operation in _UNDER_WAY:
        return OsUpdate(status.version, pending=False)
    return OsUpdate(None, pending=False)


async def watch_os_update(
    engine: Engine, on_change: Callable[[OsUpdate], Awaitable[None]], on_heard: Callable[[], None]
) -> None:
    """Report each change to *on_change*, the state at the start included, until the connection is lost.

    :param on_heard: called whenever update_engine has said something.
    :raises DBusError: the connection to the bus is gone, or update_engine is not there; connect and call again.
    """
    last: OsUpdate | None = None
    async with engine.events() as events:
        while True:
            update = read(await engine.status())
            on_heard()
            if update != last:
                last = update
                await on_change(update)
            await _until_something_new(events, update)


async def _until_something_new(events: EventSource, known: OsUpdate) -> None:
    """Return when a signal announces another state, the service restarts, or it is time to ask anyway."""
    with trio.move_on_after(POLL_INTERVAL):
        while True:
            event = await events.__anext__()
            if isinstance(event, OwnerChange):
                if not event.new:
                    raise DBusError("org.freedesktop.DBus.Error.NameHasNoOwner", "update_engine left the bus")
                return
            # A signal does not tell which installation it is of: GetStatus does, when it is time.
            if replace(read(event), installation=known.installation) != known:
                return
