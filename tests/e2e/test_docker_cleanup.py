"""Docker's clean-up under a real systemd: after Docker's stop, across a reboot only, and over systemd's own reload.

As a transient unit, and as the file that a systemd before 236 gets; that the present one takes files, too, lets both be
tested, and compared.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.machine import Machine
from torcxd.host.docker_cleanup import UNIT

pytestmark = pytest.mark.e2e

# Docker writes when it is stopped, too, so that a clean-up before or beside that leaves something behind.
DOCKER = """\
[Service]
ExecStartPre=/usr/bin/mkdir -p /var/lib/docker/overlay2/layer
ExecStart=/usr/bin/sleep infinity
ExecStop=/bin/sh -c 'mkdir -p /var/lib/docker/at-stop && touch /docker-was-stopped'
"""

# Part of the boot, and not through with its start before the node is rebooted, as k8s-node-bootstrap.service.
BOOTSTRAP = """\
[Unit]
After=docker.service
Requires=docker.service

[Service]
Type=oneshot
ExecStart=/opt/torcxd/bin/python /schedule.py {way} schedule
ExecStart=/bin/sh -c 'test -e /rebooted || {{ touch /rebooted; systemctl reboot --no-block; sleep infinity; }}'
"""

CALL = """\
import sys, trio
from torcxd.dbus.bus import open_bus
from torcxd.host import docker_cleanup
from torcxd.paths import Layout

async def main(way, function):
    if way == "file":
        # Refused by systemd itself, as ExecStop is by an old one: after it has begun to make the transient unit.
        known = docker_cleanup.transient_properties()
        docker_cleanup.transient_properties = lambda: {**known, "UnknownToThisVersion": ("b", True)}
    async with open_bus() as bus:
        await getattr(docker_cleanup, function)(bus, Layout())

trio.run(main, *sys.argv[1:])
"""

FRAGMENTS = {"transient": f"=/run/systemd/transient/{UNIT}", "file": f"=/run/systemd/system/{UNIT}"}
WAYS = pytest.mark.parametrize("way", ["transient", "file"])
# What `systemctl show` tells of what torcxd sets, the times of the last run aside.
SHOWN = "Description,Conflicts,Before,RequiresMountsFor,Type,RemainAfterExit,TimeoutStopUSec,ActiveState,SubState"


@pytest.fixture
def machine(new_machine: Callable[[], Machine]) -> Machine:
    machine = new_machine()
    machine.write("/etc/systemd/system/docker.service", DOCKER)
    machine.write("/schedule.py", CALL)
    return machine


async def clean_up(machine: Machine, way: str, function: str) -> None:
    await machine.run("/opt/torcxd/bin/python", "/schedule.py", way, function)


async def show(machine: Machine, properties: str) -> str:
    return (await machine.run("systemctl", "show", f"--property={properties}", UNIT)).stdout.decode()


@WAYS
@pytest.mark.accepts("C20", "I6")
async def test_a_reboot_cleans_after_docker_has_stopped(machine: Machine, way: str) -> None:
    async with machine.running():
        await machine.event("boot")
        await machine.run("systemctl", "start", "docker.service")
        await clean_up(machine, way, "schedule")
        await clean_up(machine, way, "schedule")
        assert FRAGMENTS[way] in await show(machine, "FragmentPath")
        await machine.run("systemctl", "daemon-reload")
        await machine.run("systemctl", "reboot", "--no-block")
        await machine.event("boot", boot=2)
        assert machine.path("/docker-was-stopped").exists()
        assert not machine.path("/var/lib/docker").exists()
        # And once only: what the new Docker writes stays.
        await machine.run("systemctl", "start", "docker.service")
        await machine.power_off()
    assert machine.path("/var/lib/docker/overlay2/layer").is_dir()


@WAYS
@pytest.mark.accepts("C20", "I6", "C6")
async def test_a_reboot_cleans_that_is_asked_for_before_the_boot_is_complete(machine: Machine, way: str) -> None:
    machine.write("/etc/systemd/system/bootstrap.service", BOOTSTRAP.format(way=way))
    machine.enable("bootstrap.service", "multi-user.target")
    # Only a Docker of the first boot has anything to write.
    machine.write("/etc/systemd/system/docker.service", "[Unit]\nConditionPathExists=!/docker-was-stopped\n" + DOCKER)
    async with machine.running():
        await machine.event("boot", boot=2)
        assert machine.path("/docker-was-stopped").exists()
        assert not machine.path("/var/lib/docker").exists()


@WAYS
@pytest.mark.accepts("C20", "I6")
async def test_nothing_but_a_shutdown_cleans(machine: Machine, way: str) -> None:
    kept = machine.path("/var/lib/docker/overlay2/layer")
    async with machine.running():
        await machine.event("boot")
        await machine.run("systemctl", "start", "docker.service")
        for verb in ("restart", "stop"):
            await clean_up(machine, way, "schedule")
            await machine.run("systemctl", verb, UNIT)
            assert kept.is_dir()
        await clean_up(machine, way, "schedule")
        await clean_up(machine, way, "cancel")
        assert kept.is_dir()
        assert "LoadState=not-found" in await show(machine, "LoadState")
        await machine.run("systemctl", "reboot", "--no-block")
        await machine.event("boot", boot=2)
        assert kept.is_dir()
        await machine.power_off()


async def test_both_ways_are_one_unit(machine: Machine) -> None:
    shown = {}
    async with machine.running():
        await machine.event("boot")
        for way in ("transient", "file"):
            await clean_up(machine, way, "schedule")
            # As systemd reads its own record of the transient one, too.
            await machine.run("systemctl", "daemon-reload")
            command = (await show(machine, "ExecStop")).partition("ignore_errors")[0]
            # The lists of units are in no order.
            shown[way] = (sorted((await show(machine, SHOWN)).replace("=", " ").split()), command)
            await clean_up(machine, way, "cancel")
        await machine.power_off()
    assert shown["file"] == shown["transient"]
    assert {"docker.service", "20min", "active"} <= set(shown["file"][0])
    assert "shutdown[.]target" in shown["file"][1]
    # A typo would be a warning of systemd's, for either way.
    assert UNIT not in "\n".join(each for each in machine.messages().splitlines() if "ignoring" in each)
