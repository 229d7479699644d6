"""logind's manager: reboots, and what may delay them. See org.freedesktop.login1(5)."""

from __future__ import annotations

from enum import StrEnum
from types import TracebackType
from typing import Final

from jeepney.fds import FileDescriptor

from torcxd.dbus.bus import Bus

NAME: Final = "org.freedesktop.login1"
PATH: Final = "/org/freedesktop/login1"
INTERFACE: Final = "org.freedesktop.login1.Manager"


class InhibitMode(StrEnum):
    """What an inhibitor does to a shutdown."""

    BLOCK = "block"
    """It is refused while the inhibitor is held."""
    DELAY = "delay"
    """It waits, at most for logind's ``InhibitDelayMaxSec=``."""


class Inhibitor:
    """An inhibitor, held until :meth:`release`, the end of the ``with`` block, or the end of the process."""

    def __init__(self, descriptor: FileDescriptor) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; again is fine."""
        self._descriptor.close()

    def __enter__(self) -> Inhibitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Login1:
    """logind, as a client on *bus*. Every method raises :class:`DBusError` as :meth:`Bus.call` does."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def reboot(self) -> None:
        """Ask for a reboot, without asking a user for rights. It has begun, not happened, when this returns."""
        await self._bus.call(NAME, PATH, INTERFACE, "Reboot", "b", False)

    async def preparing_for_shutdown(self) -> bool:
        """Whether a shutdown or reboot is under way."""
        return bool(await self._bus.get_property(NAME, PATH, INTERFACE, "PreparingForShutdown"))

    async def inhibit(self, what: str, who: str, why: str, mode: InhibitMode) -> Inhibitor:
        """Hold off shutdowns.

        The bus must have been opened with ``enable_fds=True``.

        :param what: colon-separated, e.g. ``"shutdown"``.
        :param who: the program, for ``systemd-inhibit --list``.
        :param why: the reason, for the same list.
        """
        arguments = (what, who, why, mode.value)
        (descriptor,) = await self._bus.call(NAME, PATH, INTERFACE, "Inhibit", "ssss", *arguments, returns="h")
        return Inhibitor(descriptor)
