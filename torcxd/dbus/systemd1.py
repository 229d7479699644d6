"""systemd's manager: units and jobs. See org.freedesktop.systemd1(5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import NO_SUCH_UNIT, UNKNOWN_OBJECT, DBusError

NAME: Final = "org.freedesktop.systemd1"
PATH: Final = "/org/freedesktop/systemd1"
INTERFACE: Final = "org.freedesktop.systemd1.Manager"
UNIT_INTERFACE: Final = "org.freedesktop.systemd1.Unit"

# A D-Bus variant as jeepney takes it: signature and value.
Variant = tuple[str, Any]


class Systemd1:
    """The service manager, as a client on *bus*. Every method raises :class:`DBusError` as :meth:`Bus.call` does."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def start_unit(self, name: str, mode: str = "replace") -> None:
        """Queue a start job; it has been queued, not run, when this returns.

        :param mode: ``replace``, ``fail``, ``isolate`` …
        """
        await self._bus.call(NAME, PATH, INTERFACE, "StartUnit", "ss", name, mode, returns="o")

    async def stop_unit(self, name: str, mode: str = "replace") -> None:
        """Queue a stop job, as :meth:`start_unit`."""
        await self._bus.call(NAME, PATH, INTERFACE, "StopUnit", "ss", name, mode, returns="o")

    async def restart_unit(self, name: str, mode: str = "replace") -> None:
        """Queue a restart; a unit that is not active is started. The job is not awaited."""
        await self._bus.call(NAME, PATH, INTERFACE, "RestartUnit", "ss", name, mode)

    async def start_transient_unit(self, name: str, mode: str, properties: Mapping[str, Variant]) -> None:
        """Create a unit that lives until it stops or the system does, and queue its start.

        :param properties: by their D-Bus names, which differ from the unit file's for times and commands.
        :raises DBusError: with the name ``UNIT_EXISTS`` when there is one of that name.
        """
        auxiliary_units: list[Any] = []
        arguments = (name, mode, list(properties.items()), auxiliary_units)
        await self._bus.call(NAME, PATH, INTERFACE, "StartTransientUnit", "ssa(sv)a(sa(sv))", *arguments, returns="o")

    async def unit_active_state(self, name: str) -> str:
        """``active``, ``activating``, ``inactive``, ``failed`` …; ``inactive`` also for a unit that is not loaded."""
        try:
            (path,) = await self._bus.call(NAME, PATH, INTERFACE, "GetUnit", "s", name, returns="o")
            return str(await self._bus.get_property(NAME, path, UNIT_INTERFACE, "ActiveState"))
        except DBusError as error:
            # The second name: it was unloaded between the two calls.
            if error.name in {NO_SUCH_UNIT, UNKNOWN_OBJECT}:
                return "inactive"
            raise

    async def going_down(self) -> bool:
        """Whether a shutdown or reboot is under way.

        The property SystemState does not tell it: before systemd 246, it is "starting" in a shutdown that was asked for
        before the boot was complete.
        """
        (jobs,) = await self._bus.call(NAME, PATH, INTERFACE, "ListJobs", returns="a(usssoo)")
        return any((unit, job_type) == ("shutdown.target", "start") for _, unit, job_type, *_ in jobs)

    async def reload(self) -> None:
        """Read all unit files again."""
        await self._bus.call(NAME, PATH, INTERFACE, "Reload")
