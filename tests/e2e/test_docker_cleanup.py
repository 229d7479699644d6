"""Docker's clean-up under a real systemd: before Docker starts in the boot that changes it, however that comes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.e2e.machine import Machine
from torcxd.host.docker_cleanup import UNIT

pytestmark = pytest.mark.e2e

OLD, NEW = "1.12", "17.03"

# Tells what it finds, and then makes data of its own. Nothing but the clean-up's links makes it wait for that.
DOCKER = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'data=gone; test ! -e /var/lib/docker/overlay2 || data=kept; /e2e/report docker data=$data'
ExecStart=/usr/bin/mkdir -p /var/lib/docker/overlay2/layer
"""

# What torcx does: the seal is there before any unit is started.
TORCX = """\
[Unit]
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir -p /run/torcx; cp /pinned.json /run/torcx/profile.json'
"""

# Takes its time, so that a Docker that does not wait for the clean-up finds something.
SLOWLY = "[Service]\nExecStartPre=/bin/sleep 1\n"

SCHEDULE = f"""\
import trio
from torcxd.dbus.bus import open_bus
from torcxd.host import docker_cleanup
from torcxd.paths import Layout

async def main():
    async with open_bus() as bus:
        await docker_cleanup.schedule(bus, Layout(), "{NEW}")

trio.run(main)
"""


def pin(machine: Machine, reference: str) -> None:
    images = f'[{{"name": "docker", "reference": "{reference}"}}]'
    machine.write("/pinned.json", f'{{"kind": "profile-manifest-v0", "value": {{"images": {images}}}}}')


@pytest.fixture
def machine(new_machine: Callable[[], Machine]) -> Machine:
    machine = new_machine()
    machine.write("/etc/systemd/system/docker.service", DOCKER)
    machine.write("/etc/systemd/system/torcx.service", TORCX)
    machine.write(f"/etc/systemd/system/{UNIT}.d/slowly.conf", SLOWLY)
    machine.write("/schedule.py", SCHEDULE)
    machine.enable("torcx.service", "sysinit.target")
    machine.enable("docker.service", "multi-user.target")
    pin(machine, OLD)
    return machine


async def schedule(machine: Machine) -> None:
    await machine.run("/opt/torcxd/bin/python", "/schedule.py")


def found(machine: Machine) -> list[str]:
    """What Docker found in each boot."""
    return [each.fields["data"] for each in machine.events if each.name == "docker"]


@pytest.mark.accepts("C20", "I6")
async def test_the_boot_that_changes_docker_cleans_before_docker_starts(machine: Machine) -> None:
    async with machine.running():
        await machine.event("docker", boot=1)
        await schedule(machine)
        pin(machine, NEW)
        # Its own stop and start, and Docker's, are no boot.
        await machine.run("systemctl", "daemon-reload")
        await machine.run("systemctl", "restart", UNIT, "docker.service")
        assert found(machine) == ["gone", "kept"]
        await machine.run("systemctl", "reboot", "--no-block")
        await machine.event("docker", boot=2)
        await machine.event("boot", boot=2)
        # And once only: what the new Docker writes stays.
        await machine.run("systemctl", "reboot", "--no-block")
        await machine.event("docker", boot=3)
        await machine.power_off()
    assert found(machine) == ["gone", "kept", "gone", "kept"]
    assert not machine.path("/var/lib/torcx/docker-cleanup-due").exists()
    # A typo or a cycle in the ordering would be told by systemd.
    told = [each for each in machine.messages().splitlines() if UNIT in each]
    assert not [each for each in told if "ignoring" in each.lower() or "cycle" in each.lower()], told


@pytest.mark.accepts("C20", "I6")
async def test_so_does_one_that_nobody_asked_for(machine: Machine) -> None:
    async with machine.running():
        await machine.event("docker", boot=1)
        await machine.event("boot", boot=1)
        await schedule(machine)
        pin(machine, NEW)
        # At once, without stopping anything, as after a power cut.
        await machine.run("systemctl", "reboot", "--force", "--force", check=False)
        await machine.event("docker", boot=2)
        await machine.power_off()
    assert found(machine) == ["gone", "gone"]


@pytest.mark.accepts("C20", "I6")
async def test_a_boot_with_the_same_docker_touches_nothing(machine: Machine) -> None:
    async with machine.running():
        await machine.event("docker", boot=1)
        await machine.event("boot", boot=1)
        await schedule(machine)
        # The profile was never pinned, or it was pinned back.
        await machine.run("systemctl", "reboot", "--no-block")
        await machine.event("docker", boot=2)
        await machine.event("boot", boot=2)
        pin(machine, NEW)
        await machine.run("systemctl", "reboot", "--no-block")
        await machine.event("docker", boot=3)
        await machine.power_off()
    assert found(machine) == ["gone", "kept", "gone"]


@pytest.mark.accepts("C20")
async def test_a_unit_that_systemd_does_not_see_is_told(machine: Machine) -> None:
    async with machine.running():
        await machine.event("docker", boot=1)
        await machine.event("boot", boot=1)
        # As a container without that mount has it.
        alone = (
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /etc/torcx && exec /opt/torcxd/bin/python /schedule.py",
        )
        await machine.run("mkdir", "-p", "/etc/torcx")
        with pytest.raises(subprocess.CalledProcessError) as caught:
            await machine.run(*alone)
        assert "systemd does not see" in "".join(caught.value.__notes__)
        assert not machine.path("/var/lib/torcx/docker-cleanup-due").exists()
        await machine.power_off()
