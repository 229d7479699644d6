"""Docker's clean-up under a real systemd: after Docker's stop, across a reboot only, and over systemd's own reload."""

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

CALL = """\
import sys, trio
from torcxd.dbus.bus import open_bus
from torcxd.host import docker_cleanup

async def main():
    async with open_bus() as bus:
        await getattr(docker_cleanup, sys.argv[1])(bus)

trio.run(main)
"""


@pytest.fixture
def machine(new_machine: Callable[[], Machine]) -> Machine:
    machine = new_machine()
    machine.write("/etc/systemd/system/docker.service", DOCKER)
    return machine


async def clean_up(machine: Machine, function: str) -> None:
    await machine.run("/opt/torcxd/bin/python", "-c", CALL, function)


@pytest.mark.accepts("C20", "I6")
async def test_a_reboot_cleans_after_docker_has_stopped(machine: Machine) -> None:
    async with machine.running():
        await machine.event("boot")
        await machine.run("systemctl", "start", "docker.service")
        await clean_up(machine, "schedule")
        await clean_up(machine, "schedule")
        await machine.run("systemctl", "daemon-reload")
        await machine.run("systemctl", "reboot", "--no-block")
        await machine.event("boot", boot=2)
        assert machine.path("/docker-was-stopped").exists()
        assert not machine.path("/var/lib/docker").exists()
        # And once only: what the new Docker writes stays.
        await machine.run("systemctl", "start", "docker.service")
        await machine.power_off()
    assert machine.path("/var/lib/docker/overlay2/layer").is_dir()


@pytest.mark.accepts("C20", "I6")
async def test_nothing_but_a_shutdown_cleans(machine: Machine) -> None:
    kept = machine.path("/var/lib/docker/overlay2/layer")
    async with machine.running():
        await machine.event("boot")
        await machine.run("systemctl", "start", "docker.service")
        for verb in ("restart", "stop"):
            await clean_up(machine, "schedule")
            await machine.run("systemctl", verb, UNIT)
            assert kept.is_dir()
        await clean_up(machine, "schedule")
        await clean_up(machine, "cancel")
        assert kept.is_dir()
        await machine.run("systemctl", "reboot", "--no-block")
        await machine.event("boot", boot=2)
        assert kept.is_dir()
        await machine.power_off()
