"""A node that was bootstrapped before and runs torcxd's daemon, with the update operator of its cluster.

What tectonic.py serves, and besides: update_engine, on the machine's own system bus, and the update operator with its
agent. Both live in the test, so that it decides when what happens.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from tests.e2e.machine import Machine
from tests.e2e.tectonic import NEW_OS, OLD_OS, WANTED_DOCKER, Site, tectonic_site
from tests.e2e.tree import PROJECT
from torcxd.dbus.errors import DBusError
from torcxd.kube.operators import FLATCAR, HOOK_ANNOTATION
from torcxd.sandbox.operator import UpdateOperator
from torcxd.sandbox.update_engine import Installed, Step, UpdateEngine

UNIT: Final = "torcxd.service"
NODE: Final = "worker-1"
ANNOTATION: Final = FLATCAR.prefix + HOOK_ANNOTATION
_KUBELET_ENV: Final = 'KUBELET_IMAGE_TAG="v1.8.4_coreos.0"\nKUBELET_IMAGE_URL="quay.io/coreos/hyperkube"\n'
_SIZE: Final = 280_000_000


@dataclass(slots=True)
class AttendedNode:
    """The running machine, and everybody whom its daemon talks to.

    :ivar engine: update_engine of the present boot.
    """

    machine: Machine
    site: Site
    operator: UpdateOperator
    nursery: trio.Nursery
    engine: UpdateEngine = field(init=False)

    async def boot(self, number: int) -> None:
        """Wait for the boot with this number, and offer what comes with it: update_engine, and the operator's agent."""
        await self.machine.event("boot", boot=number)
        # Waits for the job that the boot has queued.
        await self.machine.run("systemctl", "start", "node-boot.service")
        marker = self.machine.inside("/var/lib/node/update-installed")
        self.engine = UpdateEngine(installed=Installed(marker))
        await self.nursery.start(self._serve_engine, self.engine)
        self.operator.start_agent(version=self.os_version)

    @property
    def os_version(self) -> str:
        """The OS version that runs."""
        release = self.machine.inside("/usr/lib/os-release").read_text(encoding="utf-8")
        return next(line.partition("=")[2] for line in release.splitlines() if line.startswith("VERSION_ID="))

    async def announce(self) -> None:
        """update_engine has found the new OS version, and downloads it."""
        await self.engine.show(Step("DOWNLOADING", progress=0.1, version=NEW_OS, size=_SIZE))

    async def install(self) -> None:
        """The new OS version is installed, and the agent tells the operator."""
        await self.engine.show(Step("UPDATED_NEED_REBOOT", version=NEW_OS, size=_SIZE))
        self.operator.need_reboot(NEW_OS)

    async def entered(self, state: str, *, times: int = 1) -> dict[str, Any]:
        """Wait until the daemon has entered *state* so often in the present boot; returns the journal's last entry."""
        return (await self.machine.journal_entries(f"TORCXD_STATE_TO={state}", count=times))[-1]

    async def status(self) -> dict[str, Any]:
        """What ``torcxd status --json`` says."""
        shown = await self.machine.run("/opt/torcxd/bin/torcxd", "status", "--json")
        answer: dict[str, Any] = json.loads(shown.stdout)
        return answer

    async def show(self, *properties: str) -> dict[str, str]:
        """What ``systemctl show`` says of the daemon."""
        shown = await self.machine.run("systemctl", "show", f"--property={','.join(properties)}", UNIT)
        return dict(line.split("=", 1) for line in shown.stdout.decode().splitlines())

    async def inhibitors(self) -> str:
        """What ``systemd-inhibit --list`` shows of torcxd; empty where it holds none."""
        shown = (await self.machine.run("systemd-inhibit", "--list", "--no-pager", "--no-legend")).stdout.decode()
        return "\n".join(line for line in shown.splitlines() if "torcxd" in line)

    async def _serve_engine(
        self, engine: UpdateEngine, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        # The bus ends with the boot.
        address = f"unix:path={self.machine.inside('/run/dbus/system_bus_socket')}"
        try:
            await engine.serve(address, task_status=task_status)
        except DBusError:
            return


@asynccontextmanager
async def attended_node(
    machine: Machine, *, unit: str = "", environment: Mapping[str, str] | None = None
) -> AsyncIterator[AttendedNode]:
    """Run *machine* as a bootstrapped node with the daemon while the block runs; it is not up yet, see ``boot``.

    :param unit: a drop-in for the daemon's unit.
    :param environment: settings for torcxd, besides what the site needs.
    """
    settings = {"TORCXD_NODE_NAME": NODE, **(environment or {})}
    async with tectonic_site(machine, docker=WANTED_DOCKER, update=False, environment=settings) as site:
        machine.path("/etc/systemd/system/multi-user.target.wants/update-engine.service").unlink()
        machine.write("/etc/kubernetes/kubelet.env", _KUBELET_ENV)
        install_daemon(machine, unit)
        site.api.put_node(NODE)

        async def reboot() -> None:
            # As the agent does.
            login1 = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
            await machine.run("busctl", "call", *login1, "Reboot", "b", "false")

        operator = UpdateOperator(site.api, NODE, before_reboot_annotations=[ANNOTATION], reboot=reboot)
        async with machine.running(), trio.open_nursery() as nursery:
            nursery.start_soon(operator.run)
            yield AttendedNode(machine, site, operator, nursery)
            nursery.cancel_scope.cancel()


def install_daemon(machine: Machine, unit: str = "") -> None:
    """The project's unit, which its preset enables, retrying without a pause; *unit* is one more drop-in."""
    path = Path("/etc/systemd/system") / UNIT
    machine.write(str(path), (PROJECT / "systemd" / UNIT).read_bytes())
    machine.write(f"{path}.d/e2e.conf", "[Service]\nRestartSec=100ms\n")
    if unit:
        machine.write(f"{path}.d/test.conf", unit)
    # Whose kubeconfig is a careful installer's: for nobody but its user.
    kubeconfig = machine.path("/etc/kubernetes/kubeconfig")
    kubeconfig.chmod(0o600)


__all__ = ["ANNOTATION", "NEW_OS", "NODE", "OLD_OS", "UNIT", "AttendedNode", "attended_node", "install_daemon"]
