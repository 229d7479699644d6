"""update_engine's D-Bus interface, as Container Linux and Flatcar have it.

What to make of its answers is in :mod:`torcxd.sources.update_engine`.
"""

from __future__ import annotations

import math
import os
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import INCONSISTENT_MESSAGE, DBusError
from torcxd.dbus.signals import OwnerChange, Rule, Signal, Signals, check_signature, owner_change, owner_rule
from torcxd.lifecycle.versions import parse_os_version

NAME: Final = "com.coreos.update1"
# The introspection XML says /com/coreos/update1/Manager; the service exports this one.
PATH: Final = "/com/coreos/update1"
INTERFACE: Final = "com.coreos.update1.Manager"
STATUS_SIGNATURE: Final = "xdssx"
STATUS_PREFIX: Final = "UPDATE_STATUS_"

# What stands for "no version is known": nothing, and update_engine's own null after it was restarted.
_NO_VERSION: Final = frozenset({"", "0.0.0"})


class Operation(StrEnum):
    """What update_engine does at the moment."""

    IDLE = "IDLE"
    CHECKING_FOR_UPDATE = "CHECKING_FOR_UPDATE"
    UPDATE_AVAILABLE = "UPDATE_AVAILABLE"
    DOWNLOADING = "DOWNLOADING"
    VERIFYING = "VERIFYING"
    FINALIZING = "FINALIZING"
    UPDATED_NEED_REBOOT = "UPDATED_NEED_REBOOT"
    REPORTING_ERROR_EVENT = "REPORTING_ERROR_EVENT"


@dataclass(frozen=True, slots=True)
class Status:
    """update_engine's state, from GetStatus or from the signal StatusUpdate.

    :param last_checked_time: when the update server last answered, in seconds since the epoch; 0 for not since
        update_engine started.
    :param progress: of the download, 0.0 to 1.0.
    :param new_version: as sent; :attr:`version` is what to use.
    :param new_size: of the update, in bytes.
    :param installation: which installation waits for the reboot, as :attr:`OsUpdate.installation`. Signals have none.
    """

    last_checked_time: int
    progress: float
    operation: Operation
    new_version: str
    new_size: int
    installation: str = ""

    @property
    def version(self) -> str | None:
        """The version that is being installed or is installed, None when update_engine does not say."""
        return None if self.new_version in _NO_VERSION else self.new_version


def installation_at(marker: Path | None) -> str:
    """Which installation left *marker*, as :attr:`OsUpdate.installation`; empty where none is to be seen.

    Each installation writes it anew, minutes after the one before, so its time tells one from the next.
    """
    try:
        found = os.stat(marker, follow_symlinks=False) if marker is not None else None
    except OSError:
        return ""
    return f"{found.st_mtime_ns:x}" if found is not None else ""


class UpdateEngine:
    """update_engine, as a client on *bus*. Every method raises :class:`DBusError` as :meth:`Bus.call` does.

    :param marker: the file by which it remembers over a restart that an update is installed, and not which: see
        :attr:`torcxd.paths.Layout.os_update_marker`. None where it is not to be looked at.
    """

    def __init__(self, bus: Bus, marker: Path | None = None) -> None:
        self._bus = bus
        self._marker = marker

    async def status(self) -> Status:
        """The state now."""
        while True:
            before = installation_at(self._marker)
            body = await self._bus.call(NAME, PATH, INTERFACE, "GetStatus", returns=STATUS_SIGNATURE)
            status = _status(body)
            if status.operation is not Operation.UPDATED_NEED_REBOOT:
                return status
            # Else the answer may be of one installation, and the marker of the next one.
            if installation_at(self._marker) == before:
                return replace(status, installation=before)

    async def attempt_update(self) -> None:
        """Ask for a check and, if there is a newer version, its installation. Ignored unless it is idle."""
        await self._bus.call(NAME, PATH, INTERFACE, "AttemptUpdate")

    async def reset_status(self) -> None:
        """Withdraw an installed update that waits for the reboot. No signal tells of it."""
        await self._bus.call(NAME, PATH, INTERFACE, "ResetStatus")

    def watch(self) -> AbstractAsyncContextManager[Signals[Status]]:
        """Receive each change that is signalled: ``async with engine.watch() as statuses: async for … in statuses``."""
        return self._bus.subscribe(_signalled_status, _STATUS_UPDATE)

    def events(self) -> AbstractAsyncContextManager[Signals[Status | OwnerChange]]:
        """As :meth:`watch`, with the service's own starts and stops in between, in the order they happened."""
        return self._bus.subscribe(_event, _STATUS_UPDATE, owner_rule(NAME))


# Only from update_engine itself: any user of the node may send a signal of that name to everybody.
_STATUS_UPDATE: Final = Rule(PATH, INTERFACE, "StatusUpdate", sender=NAME)


def _event(signal: Signal) -> Status | OwnerChange:
    return _signalled_status(signal) if signal.interface == INTERFACE else owner_change(signal)


def _signalled_status(signal: Signal) -> Status:
    check_signature(signal.signature, STATUS_SIGNATURE, f"the signal StatusUpdate of {NAME}")
    return _status(signal.body)


def _status(body: tuple[Any, ...]) -> Status:
    last_checked_time, progress, operation, new_version, new_size = body
    if new_version not in _NO_VERSION:
        try:
            # It names a directory, and is a part of a URL.
            parse_os_version(new_version)
        except ValueError as error:
            raise DBusError(INCONSISTENT_MESSAGE, f"{NAME} reports a version that is {error}") from error
    try:
        known = Operation(operation.removeprefix(STATUS_PREFIX))
    except ValueError as error:
        raise DBusError(
            INCONSISTENT_MESSAGE, f"{NAME} reports the operation {operation!r}, which torcxd does not know"
        ) from error
    # What is no number would be another one each time, and so look like progress for ever.
    fraction = min(1.0, max(0.0, progress)) if math.isfinite(progress) else 0.0
    return Status(last_checked_time, fraction, known, new_version, new_size)
