"""The harness itself: a machine boots, reboots with a new boot id, and ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.machine import Machine, MachineStoppedError

pytestmark = pytest.mark.e2e


async def test_a_machine_boots_reboots_and_ends(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with machine.running():
        first = await machine.event("boot", boot=1)
        bus = await machine.run("busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                "org.freedesktop.DBus.Peer", "Ping")  # fmt: skip
        assert bus.returncode == 0
        await machine.run("systemctl", "reboot", "--no-block")
        second = await machine.event("boot", boot=2)
        assert second.boot_id != first.boot_id
        await machine.power_off()
    assert machine.boots == 2
    assert [each.name for each in machine.events] == ["boot", "boot"]
    assert "Reached target" in machine.messages(boot=1)


async def test_waiting_for_what_never_comes_ends_with_the_machine(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with machine.running():
        await machine.event("boot")
        await machine.run("systemctl", "poweroff", "--no-block")
        with pytest.raises(MachineStoppedError, match="boot@1"):
            await machine.event("nonsense")


async def test_a_machine_that_is_left_is_ended(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with machine.running():
        await machine.event("boot")
        root = machine.inside("/")
        assert root.exists()
    assert not root.exists()


def test_the_installed_wheel_runs_without_booting(new_machine: Callable[[], Machine]) -> None:
    done = new_machine().execute("/opt/torcxd/bin/python", "-c", "import torcxd; print(torcxd.__version__)")
    assert done.stdout.strip() == "0.1.0"
