"""A stand-in for systemd's manager: records what is asked and keeps the states of the units it was asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from torcxd.dbus import systemd1
from torcxd.dbus.errors import NO_SUCH_UNIT, PROPERTY_READ_ONLY, UNIT_EXISTS
from torcxd.dbus.service import ErrorReply, Interface, Method, Property
from torcxd.sandbox.records import Records
from torcxd.sandbox.service import StandIn

_JOB: Final = systemd1.PATH + "/job/1"
# Properties of transient units that systemd 235 refuses.
_SINCE_236: Final = frozenset({"ExecStop", "CollectMode"})


class Systemd1(StandIn):
    """``org.freedesktop.systemd1`` with what torcxd uses of it. Jobs are done when they are answered.

    :param records: gets every method with its arguments.
    :param on_reboot: awaited, besides, when ``reboot.target`` is started, before the answer.
    :param runtime_units: the folder that stands for ``/run/systemd/system``. With it, a unit that is neither a target
        nor loaded is started only if its file is there; without, any.
    :ivar version: the systemd that it pretends to be; one before 236 refuses some properties of transient units.
    :ivar system_state: ``stopping`` while a shutdown is under way.
    """

    def __init__(
        self,
        records: Records,
        on_reboot: Callable[[], Awaitable[None]] | None = None,
        *,
        runtime_units: Path | None = None,
    ) -> None:
        super().__init__(systemd1.NAME)
        self.version = 252
        self.system_state = "running"
        self.units: dict[str, str] = {}
        """Active states by name."""
        self.transient: dict[str, dict[str, tuple[str, Any]]] = {}
        """Properties of the transient units, by name."""
        self._records = records
        self._on_reboot = on_reboot
        self._runtime_units = runtime_units
        methods = {
            "StartUnit": Method("ss", "o", self._start_unit),
            "RestartUnit": Method("ss", "o", self._restart_unit),
            "StopUnit": Method("ss", "o", self._stop_unit),
            "StartTransientUnit": Method("ssa(sv)a(sa(sv))", "o", self._start_transient_unit),
            "GetUnit": Method("s", "o", self._get_unit),
            "ListJobs": Method("", "a(usssoo)", self._list_jobs),
            "Reload": Method("", "", self._reload),
            "EnableUnitFiles": Method("asbb", "ba(sss)", self._enable_unit_files),
        }
        self.export(systemd1.PATH, Interface(systemd1.INTERFACE, methods))

    def set_unit(self, name: str, state: str) -> None:
        """Load the unit *name* and give it an active state."""
        self.units[name] = state
        properties = {"Id": Property("s", lambda: name), "ActiveState": Property("s", lambda: self.units[name])}
        self.export(_unit_path(name), Interface(systemd1.UNIT_INTERFACE, properties=properties))

    def _exists(self, name: str) -> bool:
        return name in self.units or (self._runtime_units is not None and (self._runtime_units / name).is_file())

    async def _start_unit(self, name: str, mode: str) -> tuple[Any, ...]:
        self._records.add(self.name, "StartUnit", name, mode)
        if self._runtime_units is not None and not name.endswith(".target") and not self._exists(name):
            raise ErrorReply(NO_SUCH_UNIT, f"Unit {name} not found.")
        self.set_unit(name, "active")
        if name == "reboot.target":
            self.system_state = "stopping"
            if self._on_reboot is not None:
                await self._on_reboot()
        return (_JOB,)

    async def _restart_unit(self, name: str, mode: str) -> tuple[Any, ...]:
        self._records.add(self.name, "RestartUnit", name, mode)
        self.set_unit(name, "active")
        return (_JOB,)

    async def _stop_unit(self, name: str, mode: str) -> tuple[Any, ...]:
        self._records.add(self.name, "StopUnit", name, mode)
        if name not in self.units:
            raise ErrorReply(NO_SUCH_UNIT, f"Unit {name} not loaded.")
        # A transient unit is gone with its stop; this one keeps no stopped unit loaded at all.
        del self.units[name]
        self.transient.pop(name, None)
        self.withdraw(_unit_path(name))
        return (_JOB,)

    async def _start_transient_unit(
        self, name: str, mode: str, properties: list[tuple[str, tuple[str, Any]]], auxiliary: list[Any]
    ) -> tuple[Any, ...]:
        self._records.add(self.name, "StartTransientUnit", name, mode, properties, auxiliary)
        if self._exists(name):
            raise ErrorReply(UNIT_EXISTS, f"Unit {name} was already loaded or has a fragment file.")
        for each, _ in properties:
            if each in _SINCE_236 and self.version < 236:
                raise ErrorReply(PROPERTY_READ_ONLY, f"Cannot set property {each}, or unknown property.")
        self.transient[name] = dict(properties)
        self.set_unit(name, "active")
        return (_JOB,)

    async def _get_unit(self, name: str) -> tuple[Any, ...]:
        if name not in self.units:
            raise ErrorReply(NO_SUCH_UNIT, f"Unit {name} not loaded.")
        return (_unit_path(name),)

    async def _list_jobs(self) -> tuple[Any, ...]:
        """All jobs are done at once, but for the shutdown's own."""
        job = (1, "shutdown.target", "start", "waiting", _JOB, _unit_path("shutdown.target"))
        return ([job] if self.system_state == "stopping" else [],)

    async def _reload(self) -> tuple[Any, ...]:
        self._records.add(self.name, "Reload")
        return ()

    async def _enable_unit_files(self, files: list[str], runtime: bool, force: bool) -> tuple[Any, ...]:
        self._records.add(self.name, "EnableUnitFiles", files, runtime, force)
        return (True, [("symlink", f"/etc/systemd/system/multi-user.target.wants/{each}", each) for each in files])


def _unit_path(name: str) -> str:
    """systemd's escaping of a unit's name in an object path: ``_`` and two hex digits for what is not alphanumeric."""
    escaped = "".join(each if each.isascii() and each.isalnum() else f"_{ord(each):02x}" for each in name)
    return f"{systemd1.PATH}/unit/{escaped}"
