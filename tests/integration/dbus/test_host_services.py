"""logind's and systemd's clients against the stand-ins over a real bus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
import trio.testing

from torcxd.dbus.bus import Bus, open_bus
from torcxd.dbus.errors import ACCESS_DENIED, NO_SUCH_UNIT, DBusError
from torcxd.dbus.login1 import InhibitMode, Login1
from torcxd.dbus.service import ErrorReply
from torcxd.dbus.systemd1 import Systemd1
from torcxd.errors import EX_NOPERM, Kind
from torcxd.sandbox import login1 as login1_stand_in
from torcxd.sandbox import systemd1 as systemd1_stand_in
from torcxd.sandbox.bus import PrivateBus
from torcxd.sandbox.records import Records


class Reboots:
    """What the stand-ins tell of reboots."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def reboots() -> Reboots:
    return Reboots()


@pytest.fixture
async def logind(
    private: PrivateBus, records: Records, reboots: Reboots, nursery: trio.Nursery
) -> login1_stand_in.Login1:
    service = login1_stand_in.Login1(records, reboots)
    await nursery.start(service.serve, private.address)
    return service


@pytest.fixture
async def systemd(
    private: PrivateBus, records: Records, reboots: Reboots, nursery: trio.Nursery
) -> systemd1_stand_in.Systemd1:
    service = systemd1_stand_in.Systemd1(records, reboots)
    await nursery.start(service.serve, private.address)
    return service


async def test_a_reboot_is_asked_for_and_under_way(
    bus: Bus, logind: login1_stand_in.Login1, reboots: Reboots, records: Records, tmp_path: Path
) -> None:
    login1 = Login1(bus)
    assert not await login1.preparing_for_shutdown()
    await login1.reboot()
    assert await login1.preparing_for_shutdown()
    assert reboots.count == 1
    assert records.of("Reboot") == [[False]]
    (line,) = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "at": records.entries[0]["at"],
        "service": "org.freedesktop.login1",
        "member": "Reboot",
        "args": [False],
        "boot_id": "b",
    }


async def test_a_refused_reboot_is_an_error_with_the_exit_code_for_rights(
    bus: Bus, logind: login1_stand_in.Login1, reboots: Reboots
) -> None:
    logind.refuse("Reboot", ErrorReply(ACCESS_DENIED, "not you"))
    with pytest.raises(DBusError, match="not you") as caught:
        await Login1(bus).reboot()
    assert (caught.value.kind, caught.value.exit_code) == (Kind.PERMANENT, EX_NOPERM)
    assert reboots.count == 0


async def test_an_inhibitor_is_held_until_it_is_released(
    bus: Bus, logind: login1_stand_in.Login1, records: Records
) -> None:
    inhibitor = ("shutdown", "torcxd", "addons are missing", "block")
    with await Login1(bus).inhibit("shutdown", "torcxd", "addons are missing", InhibitMode.BLOCK) as held:
        assert logind.inhibitors == [inhibitor]
        await trio.testing.wait_all_tasks_blocked()
        assert records.of("Release") == []
    held.release()
    while not records.of("Release"):
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert logind.inhibitors == []


async def test_a_connection_without_descriptors_cannot_hold_an_inhibitor(
    private: PrivateBus, logind: login1_stand_in.Login1
) -> None:
    async with open_bus(private.address) as bus:
        with pytest.raises(ValueError, match="enable_fds"):
            await Login1(bus).inhibit("shutdown", "torcxd", "why", InhibitMode.DELAY)
    assert logind.inhibitors == []


async def test_starting_the_reboot_target_is_a_reboot(
    bus: Bus, systemd: systemd1_stand_in.Systemd1, reboots: Reboots, records: Records
) -> None:
    manager = Systemd1(bus)
    assert not await manager.going_down()
    await manager.start_unit("reboot.target", "isolate")
    assert await manager.going_down()
    assert reboots.count == 1
    assert records.of("StartUnit") == [["reboot.target", "isolate"]]


async def test_a_unit_is_enabled_for_the_boots_to_come(
    bus: Bus, systemd: systemd1_stand_in.Systemd1, records: Records, tmp_path: Path
) -> None:
    unit = tmp_path / "once.service"
    with pytest.raises(DBusError) as caught:
        await Systemd1(bus).enable_unit_file(unit)
    assert (caught.value.name, caught.value.kind) == (NO_SUCH_UNIT, Kind.PERMANENT)
    unit.write_text("[Install]\nWantedBy=multi-user.target\n")
    await Systemd1(bus).enable_unit_file(unit)
    assert records.of("EnableUnitFiles") == [[[str(unit)], False, True]] * 2
