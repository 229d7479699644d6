"""A node that was bootstrapped before and runs torcxd's daemon, with the update operator of its cluster.

What tectonic.py serves, and besides: update_engine, on the machine's own system bus, and the update operator with its
agent. Both live in the test, so that it decides when what happens.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from tests.e2e.machine import Machine
from tests.e2e.tectonic import NEW_OS, WANTED_DOCKER, Site, tectonic_site
from tests.e2e.tree import PROJECT
from torcxd.dbus.errors import DBusError
from torcxd.kube.operators import FLATCAR, HOOK_ANNOTATION, TRUE
from torcxd.messages import Message
from torcxd.paths import Layout
from torcxd.sandbox.operator import UpdateOperator
from torcxd.sandbox.update_engine import Installed, Step, UpdateEngine

UNIT: Final = "torcxd.service"
NODE: Final = "worker-1"
ANNOTATION: Final = FLATCAR.prefix + HOOK_ANNOTATION
_KUBELET_ENV: Final = 'KUBELET_IMAGE_TAG="v1.8.4_coreos.0"\nKUBELET_IMAGE_URL="quay.io/coreos/hyperkube"\n'
_SIZE: Final = 280_000_000
# Seconds between looks at what systemd tells of without an event.
_LOOK: Final = 0.1
# Retries wait for nothing but their turn. And a machine's boot id is a mount on the /proc that systemd-nspawn made: the
# new /proc that the unit's protections give it would show the host's, so it is mounted there, too.
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_KEPT_BOOT_ID: Final = "/run/e2e-boot-id"
_IN_A_MACHINE: Final = f"""\
[Service]
RestartSec=100ms
BindReadOnlyPaths={_KEPT_BOOT_ID}:{_BOOT_ID}
"""
_KEEP_BOOT_ID: Final = f"""\
[Service]
ExecStartPre=cp {_BOOT_ID} {_KEPT_BOOT_ID}
"""


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
        await self.serve_engine()
        self.operator.start_agent(version=self.os_version)

    async def serve_engine(self) -> None:
        """Have update_engine on the bus; it leaves with the bus."""
        await self.nursery.start(self._serve_engine, self.engine)

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
        # The machine's own /run is not to be seen from here: there the marker is written by itself.
        await self.machine.run("touch", str(Layout().os_update_marker))
        await self.engine.show(Step("UPDATED_NEED_REBOOT", version=NEW_OS, size=_SIZE))
        self.operator.need_reboot(NEW_OS)

    async def told(self, message: Message, *, times: int = 1) -> dict[str, Any]:
        """Wait until the daemon has told *message* so often in the present boot; returns the journal's last entry."""
        entries = await self.machine.journal_entries(f"_SYSTEMD_UNIT={UNIT}", f"MESSAGE_ID={message.id}", count=times)
        return entries[-1]

    async def entered(self, state: str, *, times: int = 1) -> dict[str, Any]:
        """Wait until the daemon has entered *state* so often in the present boot; returns the journal's last entry."""
        return (await self.machine.journal_entries(f"_SYSTEMD_UNIT={UNIT}", f"TORCXD_STATE_TO={state}", count=times))[
            -1
        ]

    async def settled(self, os_version: str) -> None:
        """Wait until the daemon is done with a target that it gathered while *os_version* ran, in the present boot."""
        done = (f"_SYSTEMD_UNIT={UNIT}", "TORCXD_STATE_TO=done", f"TORCXD_OS={os_version}")
        await self.machine.journal_entries(*done)

    async def asked_to_reboot(self) -> None:
        """Wait until the operator has let the agent reboot, hence the hook was answered."""
        await self._until(lambda: self._annotation(FLATCAR.reboot_in_progress) == TRUE)

    async def annotated(self, name: str) -> str:
        """Wait until the node has the annotation *name*; returns its value."""
        await self._until(lambda: bool(self._annotation(name)))
        return self._annotation(name)

    def _annotation(self, name: str) -> str:
        value: str = self.site.api.node(NODE)["metadata"].get("annotations", {}).get(name, "")
        return value

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.site.api.store.changed.wait()

    async def status(self) -> dict[str, Any]:
        """What ``torcxd status --json`` says."""
        shown = await self.machine.run("/opt/torcxd/bin/torcxd", "status", "--json")
        answer: dict[str, Any] = json.loads(shown.stdout)
        return answer

    async def says(self, words: str) -> None:
        """Wait until the daemon's STATUS= begins with *words*."""
        while not (await self.show("StatusText"))["StatusText"].startswith(words):
            await trio.sleep(_LOOK)

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
        # As an installer leaves it that copies as a user.
        os.chown(machine.path("/etc/kubernetes/kubeconfig"), 500, 500)
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
    """The project's unit, which its preset enables, and its bus policy; *unit* is one more drop-in."""
    path = Path("/etc/systemd/system") / UNIT
    machine.write(str(path), (PROJECT / "systemd" / UNIT).read_bytes())
    machine.write(f"{path}.d/e2e.conf", _IN_A_MACHINE)
    machine.write("/etc/systemd/system/e2e-boot.service.d/boot-id.conf", _KEEP_BOOT_ID)
    policy = "io.torcxd.Torcxd1.conf"
    machine.write(f"/etc/dbus-1/system.d/{policy}", (PROJECT / "systemd" / policy).read_bytes())
    if unit:
        machine.write(f"{path}.d/test.conf", unit)
