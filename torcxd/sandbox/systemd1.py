"""A stand-in for systemd's manager: records what is asked, and links the units that are enabled."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from torcxd.dbus import systemd1
from torcxd.dbus.errors import NO_SUCH_UNIT
from torcxd.dbus.service import ErrorReply, Interface, Method
from torcxd.sandbox.records import Records
from torcxd.sandbox.service import StandIn

_JOB: Final = systemd1.PATH + "/job/1"


class Systemd1(StandIn):
    """``org.freedesktop.systemd1`` with what torcxd uses of it. Jobs are done when they are answered.

    :param records: gets every method with its arguments.
    :param on_reboot: awaited, besides, when ``reboot.target`` is started, before the answer.
    :param units: the folder that stands for ``/etc/systemd/system``: enabled units are linked there. None for none.
    :ivar system_state: ``stopping`` while a shutdown is under way.
    """

    def __init__(
        self,
        records: Records,
        on_reboot: Callable[[], Awaitable[None]] | None = None,
        *,
        units: Path | None = None,
    ) -> None:
        super().__init__(systemd1.NAME)
        self.system_state = "running"
        self._records = records
        self._on_reboot = on_reboot
        self._units = units
        methods = {
            "StartUnit": Method("ss", "o", self._start_unit),
            "RestartUnit": Method("ss", "o", self._restart_unit),
            "ListJobs": Method("", "a(usssoo)", self._list_jobs),
            "EnableUnitFiles": Method("asbb", "ba(sss)", self._enable_unit_files),
        }
        self.export(systemd1.PATH, Interface(systemd1.INTERFACE, methods))

    async def _start_unit(self, name: str, mode: str) -> tuple[Any, ...]:
        self._records.add(self.name, "StartUnit", name, mode)
        if name == "reboot.target":
            self.system_state = "stopping"
            if self._on_reboot is not None:
                await self._on_reboot()
        return (_JOB,)

    async def _restart_unit(self, name: str, mode: str) -> tuple[Any, ...]:
        self._records.add(self.name, "RestartUnit", name, mode)
        return (_JOB,)

    async def _list_jobs(self) -> tuple[Any, ...]:
        """All jobs are done at once, but for the shutdown's own."""
        job = (1, "shutdown.target", "start", "waiting", _JOB, f"{systemd1.PATH}/unit/shutdown_2etarget")
        return ([job] if self.system_state == "stopping" else [],)

    async def _enable_unit_files(self, files: list[str], runtime: bool, force: bool) -> tuple[Any, ...]:
        """Link each unit, and those that want it to it, as systemd does: at once, and not durably."""
        self._records.add(self.name, "EnableUnitFiles", files, runtime, force)
        changes = []
        for each in map(Path, files):
            if not each.is_file():
                raise ErrorReply(NO_SUCH_UNIT, f"Unit {each.name} does not exist")
            wanted_by = re.findall(r"^WantedBy=(.*)$", each.read_text(encoding="utf-8"), re.MULTILINE)
            folders = [f"{name}.wants" for line in wanted_by for name in line.split()]
            for link in (Path(folder) / each.name for folder in (".", *folders)):
                changes.append(("symlink", f"/etc/systemd/system/{link}", str(each)))
                if self._units is not None:
                    _link(self._units / link, each)
        return (bool(changes), changes)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
