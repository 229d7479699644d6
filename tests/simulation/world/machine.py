"""The simulated machine: its boots, what ends them, and what its service manager does with torcxd in each."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from tests.simulation.world.dockerd import Dockerd
from tests.simulation.world.network import shuffled
from tests.simulation.world.peers import NODE, Peers
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR, HOOK_ANNOTATION, TRUE
from torcxd.sandbox.node import Node

if TYPE_CHECKING:
    from tests.simulation.world.world import World

# Seconds from the order to reboot to the first SIGTERM.
_ORDER: Final = 0.05
# Seconds between the looks of the update operator's agent at what update_engine has installed.
_LOOK: Final = 17.0
# Seconds that systemd waits before it starts the service again.
_RESTART: Final = 10.0


@dataclass(frozen=True, slots=True)
class NextBoot:
    """What the disk has for the next boot.

    :param docker: what the profile pins.
    :param problem: why torcx would apply nothing, empty if it would.
    """

    docker: str | None
    problem: str


class Machine:
    """The machine of a world.

    :ivar boots: how often it came up.
    :ivar falls_back: the boot loader will go back to the present OS version once.
    :ivar promised: somebody was told that the next boot's set is complete, and nothing has changed that since.
    """

    def __init__(self, world: World, peers: Peers) -> None:
        self.boots = 0
        self.falls_back = False
        self.promised: NextBoot | None = None
        self._world = world
        self._peers = peers
        self._names = FLATCAR if world.story.operator == "fluo" else CONTAINER_LINUX
        self._lock = trio.Lock()
        self._orders, self._pending_orders = trio.open_memory_channel[str](math.inf)
        self._going_down = False
        # What the cut has left, and what there was to be lost.
        self._cut: tuple[NextBoot | None, NextBoot] | None = None
        self._scope = trio.CancelScope()
        self._over = trio.Event()
        layout = self.node.layout
        self.dockerd = Dockerd(
            peers.network,
            layout.docker_socket,
            layout.docker_data,
            version=world.checker.disk.sealed_docker,
            write=self._write,
            violate=self._violate,
            fired=world.fired,
        )

    @property
    def node(self) -> Node:
        return self._peers.node

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._world.disk.settle(path)

    def _violate(self, what: str) -> None:
        if what not in self._world.violations:
            self._world.say(f"VIOLATION {what}")
            self._world.violations.append(what)

    # Boots.

    async def come_up(self) -> None:
        """Boot, and start everything."""
        world = self._world
        self._going_down = False
        self.promised = None
        world.excused = False
        self.boots += 1
        # Who ordered something of the machine that was does not order it of this one.
        with suppress(trio.WouldBlock):
            while True:
                self._pending_orders.receive_nowait()
        # What lies there was written before the power came on.
        world.disk.settle()
        self._peers.installed.store(False)
        world.checker.booted()
        world.say(f"booted OS {self.node.os_version}, Docker {world.checker.disk.sealed_docker()}")
        self._peers.operator.start_agent(version=self.node.os_version)
        world.offer()
        self._over = trio.Event()
        await world.nursery.start(self._run_boot)

    async def _run_boot(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._peers.serve_boot)
                nursery.start_soon(self.dockerd.serve_boot)
                # What systemd starts first listens first.
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(self._supervise)
                nursery.start_soon(self._agent)
                task_status.started()
        self._over.set()

    async def reboot(self, how: str) -> None:
        """Take the machine down and up again.

        :param how: ``clean``; ``power``: it is cut; ``rollback``: clean, but the boot loader falls back; ``asked`` and
            ``operator``: clean, as somebody wished; ``cut``: the power has failed already.
        """
        world = self._world
        async with self._lock:
            world.say(f"going down: {how}")
            self._going_down = True
            if how == "power":
                if world.programs.dying:
                    await world.programs.wait()
                self._cut_power()
                world.fired["power: at any time"] += 1
            elif how != "cut":
                self._peers.login1.preparing_for_shutdown = True
                self._peers.systemd1.system_state = "stopping"
                await world.programs.stop(patience=90)
            await world.programs.wait()
            self._scope.cancel()
            await self._over.wait()
            if (how == "rollback" or self.falls_back) and self.node.pending is not None:
                world.fired["reboot: rollback"] += 1
                world.say(f"OS {self.node.pending} does not come up")
                self.node.pending, self.falls_back = None, False
            elif how in ("clean", "asked", "operator"):
                world.fired[f"reboot: {how}"] += 1
            self._judge_cut()
            shutil.rmtree(world.root / "run", ignore_errors=True)
            self.node.boot()
            await self.come_up()
            world.look()

    # Power cuts.

    def crash_at_call(self) -> None:
        """The program is about to change the disk, and dies."""
        self._world.programs.kill()
        self._world.fired["crash: at a disk operation"] += 1

    def fail_power(self) -> None:
        """The program is about to change the disk, and the power fails."""
        if self._world.programs.dying:
            return
        self._cut_power()
        self._world.fired["power: at a disk operation"] += 1
        self._orders.send_nowait("cut")

    def _cut_power(self) -> None:
        world = self._world
        before = self._next_boot()
        image = world.disk.after_power_cut(shuffled((world.story.seed, self.boots)))
        if not world.programs.kill(image):
            world.disk.restore(image)
        self._cut = self.promised, before

    def _judge_cut(self) -> None:
        """What was promised for the next boot has to be there, or what somebody else was about to put there."""
        if self._cut is None:
            return
        (promised, before), self._cut = self._cut, None
        now = self._next_boot()
        if promised is None or promised.problem or before.problem:
            return
        if now.problem or now.docker not in (promised.docker, before.docker):
            what = now.problem or f"the profile pins Docker {now.docker}"
            self._violate(
                f"I3: a power cut took back what the next boot was promised, Docker {promised.docker}: {what}"
            )

    def _next_boot(self) -> NextBoot:
        checker = self._world.checker
        profile = checker.disk.next_profile()
        problem = profile.problem
        coming = self.node.pending or self.node.os_version
        signed = checker._signed()
        for name, reference in profile.images.items():
            if not problem and not checker._serves(coming, name, reference, signed):
                problem = f"the stores lack {name}:{reference} for OS {coming}"
        return NextBoot(profile.images.get("docker"), problem)

    def answer_changed(self, annotations: Mapping[str, str]) -> None:
        """The node's *annotations* have changed: with the hook's own, a promise comes or goes."""
        if annotations.get(self._names.prefix + HOOK_ANNOTATION) != TRUE:
            if annotations.get(self._names.reboot_ok) != TRUE:
                self.promised = None
        elif self.promised is None:
            self.promised = self._next_boot()

    # Orders.

    async def asked(self) -> None:
        """The program has asked for a reboot."""
        self._world.say("a reboot is asked for")
        self._world.checker.reboot_requested()
        self.promised = self._next_boot()
        self._orders.send_nowait("asked")

    async def operator_reboots(self) -> None:
        """The update operator's agent reboots the node."""
        self._world.say("the operator reboots")
        self._orders.send_nowait("operator")

    async def take_orders(self) -> None:
        """Reboot as one is told to."""
        async for order in self._pending_orders:
            if order == "cut" and self._cut is not None and not self._lock.locked():
                await self.reboot("cut")
            elif order != "cut" and not self._going_down:
                await trio.sleep(_ORDER)
                # A power cut that was to come comes now at the latest: somebody forces the reboot.
                forced = self._world.disk.awaits(self.fail_power)
                if forced:
                    self._world.disk.after(0, None)
                await self.reboot("power" if forced else order)

    # The service manager.

    async def _supervise(self) -> None:
        while not self._going_down:
            if not self.node.layout.at("/etc/kubernetes/kubelet.env").exists():
                await self._start("bootstrap")
            elif self._world.story.attendant == "daemon":
                await self._start("run")
            else:
                await self._run_pod()
            await trio.sleep(_RESTART)

    async def _start(self, command: str) -> None:
        if self._going_down:
            return
        self._world.say(f"start {command}")
        code = await self._world.programs.run(command)
        self._world.say(f"end {command} {code}")

    async def _run_pod(self) -> None:
        """The DaemonSet's controller: a pod for as long as the node has the label."""
        store = self._peers.api.store

        def asked() -> bool:
            return self._names.before_reboot in self._peers.api.node(NODE)["metadata"].get("labels", {})

        while not asked():
            await store.changed.wait()

        async def end_with_label() -> None:
            while asked():
                await store.changed.wait()
            await self._world.programs.stop(patience=30)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_with_label)
            await self._start("hook")
            nursery.cancel_scope.cancel()

    async def _agent(self) -> None:
        """The update operator's agent: asks for a reboot some seconds after an update is installed."""
        told = None
        while True:
            await trio.sleep(_LOOK)
            if self.node.pending is None:
                told = None
            elif self.node.pending != told:
                told = self.node.pending
                self._peers.operator.need_reboot(told)
