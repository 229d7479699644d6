"""systemd's manager: units and jobs. See org.freedesktop.systemd1(5)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torcxd.dbus.bus import Bus

NAME: Final = "org.freedesktop.systemd1"
PATH: Final = "/org/freedesktop/systemd1"
INTERFACE: Final = "org.freedesktop.systemd1.Manager"


class Systemd1:
    """The service manager, as a client on *bus*. Every method raises :class:`DBusError` as :meth:`Bus.call` does."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def start_unit(self, name: str, mode: str = "replace") -> None:
        """Queue a start job; it has been queued, not run, when this returns.

        :param mode: ``replace``, ``fail``, ``isolate`` …
        """
        await self._bus.call(NAME, PATH, INTERFACE, "StartUnit", "ss", name, mode, returns="o")

    async def restart_unit(self, name: str, mode: str = "replace") -> None:
        """Queue a restart; a unit that is not active is started. The job is not awaited."""
        await self._bus.call(NAME, PATH, INTERFACE, "RestartUnit", "ss", name, mode)

    async def enable_unit_file(self, path: Path) -> None:
        """Make the unit in the file *path* part of each boot from the next one on, as its ``[Install]`` section says.

        Again is fine. The links that this takes are made when it returns, but are not durable yet. This boot's systemd
        reads the unit only when it is asked for it.

        :param path: absolute, as systemd sees it; on a file system that is there when systemd starts.
        """
        for_this_boot_only, replace = False, True
        arguments = ([str(path)], for_this_boot_only, replace)
        await self._bus.call(NAME, PATH, INTERFACE, "EnableUnitFiles", "asbb", *arguments)

    async def going_down(self) -> bool:
        """Whether a shutdown or reboot is under way.

        The property SystemState does not tell it: before systemd 246, it is "starting" in a shutdown that was asked for
        before the boot was complete.
        """
        (jobs,) = await self._bus.call(NAME, PATH, INTERFACE, "ListJobs", returns="a(usssoo)")
        return any((unit, job_type) == ("shutdown.target", "start") for _, unit, job_type, *_ in jobs)
