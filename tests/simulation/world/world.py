"""A world: one node with torcxd on it, everybody around it, and a story that happens to them, all on a virtual clock.

The seam is the socket. Above it runs the program's own code, below it a network in memory; the disk is a real folder in
memory. When the story is over all troubles end, and the node has to come to the right end within bounded time.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from tests.simulation.world.deeds import Deeds
from tests.simulation.world.disk import Disk
from tests.simulation.world.network import shuffled
from tests.simulation.world.peers import BUCKET_PORT, NODE, WANTED, Peers, make_peers
from tests.simulation.world.program import Programs
from tests.simulation.world.story import LAST_OS, LENGTH, Story
from torcxd.daemon.context import Context
from torcxd.daemon.statefile import read_recorded
from torcxd.errors import ConfigurationError
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR
from torcxd.sandbox.checker import Answers, Checker
from torcxd.sandbox.update_engine import no_update, update
from torcxd.settings import Settings, combine

# 2018-01-01, so that the times in what is written look like times.
EPOCH: Final = 1_514_764_800.0
# Seconds from the end of all troubles to the right end: the longest back-off, polls, an OS update and three boots.
PATIENCE: Final = 3 * 3600.0
_MANIFESTS: Final = (
    f"http://bucket.example:{BUCKET_PORT}/manifests/{{{{.Board}}}}/{{{{.OSVersion}}}}/torcx_manifest.json"
)
# Tasks and connections at the end of a story: everybody's together are some dozens; what is leaked comes on top.
_MOST_TASKS: Final = 150
_MOST_SOCKETS: Final = 60
# Lines that are said within a second: a chain of states and its messages are some dozens.
_MOST_AT_ONCE: Final = 1000


@dataclass(slots=True)
class WallClock:
    """The node's time of day."""

    offset: float = 0.0

    def now(self) -> float:
        return EPOCH + trio.current_time() + self.offset


@dataclass(slots=True)
class World:
    """See the module. Make one for each story.

    :param root: an empty folder for the node.
    :ivar trace: all that happened, a line each: equal for equal stories.
    :ivar violations: what must not be.
    """

    story: Story
    root: Path
    trace: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    clock: WallClock = field(default_factory=WallClock)
    menders: list[Callable[[], None]] = field(default_factory=list)
    settings_good: bool = True
    keyring: bytes = b""
    boots: int = 0
    recovery: float = 0.0
    # Nobody on the node can know any more which OS version is pending: that takes an administrator.
    excused: bool = False
    _counted_from: float = 0.0
    _at_once: int = 0
    length: float = 0.0
    peers: Peers = field(init=False)
    disk: Disk = field(init=False)
    programs: Programs = field(init=False)
    checker: Checker = field(init=False)
    nursery: trio.Nursery = field(init=False)
    _boot_scope: trio.CancelScope = field(init=False)
    _boot_over: trio.Event = field(init=False)
    _going_down: bool = False
    _lock: trio.Lock = field(init=False)
    _orders: Any = None

    @property
    def node(self) -> Any:
        return self.peers.node

    # The run.

    async def live(self) -> None:
        """Let the story happen, to its end or to the first violation that ends it."""
        story = self.story
        self._lock = trio.Lock()
        self._orders, orders = trio.open_memory_channel[str](math.inf)
        self.peers = make_peers(
            self.root,
            story,
            now=self.clock.now,
            reboot_asked=self._reboot_asked,
            operator_reboots=self._operator_reboots,
        )
        self.keyring = self.peers.keys[0].public
        self.disk = Disk(self.root)
        self.programs = Programs(self.peers.network, self.disk, self._context, self._reload)
        self.checker = Checker(
            self.root,
            signed=self._signed,
            vendored=self.node.vendored,
            pending=lambda: self.node.pending,
            requests=lambda: self.peers.records.entries,
            serving=True,
        )
        self.peers.api.store.listeners.append(Answers(self.checker).changed)
        trio.socket.set_custom_socket_factory(self.peers.network)
        trio.socket.set_custom_hostname_resolver(self.peers.network)
        with self.disk.mounted():
            async with trio.open_nursery() as self.nursery:
                await self.nursery.start(self.peers.serve_outside)
                self._offer()
                self.node.boot()
                await self._come_up()
                self.nursery.start_soon(self._take_orders, orders)
                await self._play()
                await self._finish()
                self.length = trio.current_time()
                self.nursery.cancel_scope.cancel()

    async def _play(self) -> None:
        deeds = Deeds(self)
        start = trio.current_time()
        for event in self.story.events:
            await trio.sleep_until(start + event.at)
            self.say(f"-- {event.what} {event.how}")
            await deeds.do(event)
            self.look()
        await trio.sleep_until(start + LENGTH)

    def say(self, text: str) -> None:
        """Add a line to the trace."""
        now = trio.current_time()
        if now > self._counted_from + 1:
            self._counted_from, self._at_once = now, 0
        self._at_once += 1
        self.trace.append(f"{now:10.3f}  {text}")
        if self._at_once == _MOST_AT_ONCE:
            self.violations.append(f"LOOP: {_MOST_AT_ONCE} messages in a second")
            self.nursery.cancel_scope.cancel()

    def look(self, *, quiet: bool = False) -> None:
        """Let the checker look at what is on the disk.

        :param quiet: nothing has happened for long: what follows an event within a poll's time must hold, too.
        """
        known = len(self.checker.violations)
        found = self.checker.check()
        if not quiet:
            found[known:] = [each for each in found[known:] if not each.startswith(("I1", "I4"))]

    # The machine.

    async def _come_up(self) -> None:
        self._going_down = False
        self.excused = False
        self.boots += 1
        # What lies there was written before the power came on.
        self.disk.settle()
        self.peers.installed.store(False)
        self.checker.booted()
        self.say(f"booted OS {self.node.os_version}, Docker {self.checker.disk.sealed_docker()}")
        self.peers.operator.start_agent(version=self.node.os_version)
        self._offer()
        self._boot_over = trio.Event()
        await self.nursery.start(self._run_boot)

    async def _run_boot(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.CancelScope() as self._boot_scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.peers.serve_boot)
                nursery.start_soon(self._supervise)
                nursery.start_soon(self._agent)
                task_status.started()
        self._boot_over.set()

    async def reboot(self, how: str) -> None:
        """Take the machine down and up again.

        :param how: ``clean``; ``power``: it is cut; ``rollback``: clean, but the boot loader falls back.
        """
        async with self._lock:
            self.say(f"going down: {how}")
            self._going_down = True
            if how == "power":
                self.programs.kill()
                if self.programs.current is not None:
                    await self.programs.current.over.wait()
                self.disk.lose_power(shuffled((self.story.seed, self.boots)))
            else:
                self.peers.login1.preparing_for_shutdown = True
                self.peers.systemd1.system_state = "stopping"
                await self.programs.stop(patience=90)
            self._boot_scope.cancel()
            await self._boot_over.wait()
            if how == "rollback":
                self.node.pending = None
            shutil.rmtree(self.root / "run", ignore_errors=True)
            self.node.boot()
            await self._come_up()
            self.look()

    async def _reboot_asked(self) -> None:
        self.say("a reboot is asked for")
        self.checker.reboot_requested()
        self._orders.send_nowait("asked")

    async def _operator_reboots(self) -> None:
        self.say("the operator reboots")
        self._orders.send_nowait("operator")

    async def _take_orders(self, orders: trio.MemoryReceiveChannel[str]) -> None:
        async for _ in orders:
            if not self._going_down:
                # From the order to the first SIGTERM.
                await trio.sleep(0.05)
                await self.reboot("clean")

    def write(self, path: str, content: bytes) -> None:
        """Somebody else writes a file of the node, which is durable at once."""
        self.node.write(path, content)
        self.disk.settle()

    def remove(self, path: str) -> None:
        """Somebody else removes a file of the node."""
        self.node.layout.at(path).unlink(missing_ok=True)
        self.disk.settle()

    def note_what_is_known(self) -> None:
        """update_engine is about to forget which version it has installed."""
        snapshot = read_recorded(self.node.layout)
        known = snapshot.heard_os or (snapshot.plan and snapshot.plan.target.next_os) if snapshot else None
        self.excused |= self.node.pending is not None and known != self.node.pending

    async def tamper(self, where: str) -> None:
        """Somebody's hands in what is the program's."""
        layout = self.node.layout
        self.excused |= "state" in where
        match where:
            case "image":
                for each in sorted(layout.user_store.glob("*/*.tgz"))[:1]:
                    self.checker._kept.discard(each)
                    each.unlink()
            case "staging":
                shutil.rmtree(layout.staging, ignore_errors=True)
            case "state":
                layout.state_file.unlink(missing_ok=True)
                self.checker._vain.clear()
                self.checker._expected = None
            case "damaged state":
                if layout.state_file.exists():
                    data = layout.state_file.read_bytes()
                    layout.state_file.write_bytes(data[: len(data) // 2])
                    self.checker.state_damaged()
                    # Whoever runs remembers, and writes over it: it counts for the next start.
                    self.programs.kill()
            case "history":
                layout.history_file.unlink(missing_ok=True)
        self.disk.settle()

    # The service manager.

    async def _supervise(self) -> None:
        while not self._going_down:
            if not self.node.layout.at("/etc/kubernetes/kubelet.env").exists():
                await self._start("bootstrap")
            elif self.story.attendant == "daemon":
                await self._start("run")
            else:
                await self._run_pod()
            await trio.sleep(10)

    async def _start(self, command: str) -> None:
        if self._going_down:
            return
        self.say(f"start {command}")
        code = await self.programs.run(command)
        self.say(f"end {command} {code}")

    async def _run_pod(self) -> None:
        """The DaemonSet's controller: a pod for as long as the node has the label."""
        names = FLATCAR if self.story.operator == "fluo" else CONTAINER_LINUX
        store = self.peers.api.store

        def asked() -> bool:
            return names.before_reboot in self.peers.api.node(NODE)["metadata"].get("labels", {})

        while not asked():
            await store.changed.wait()

        async def end_with_label() -> None:
            while asked():
                await store.changed.wait()
            await self.programs.stop(patience=30)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_with_label)
            await self._start("hook")
            nursery.cancel_scope.cancel()

    # The cluster's side.

    async def _agent(self) -> None:
        """The update operator's agent: asks for a reboot some seconds after an update is installed."""
        told = None
        while True:
            await trio.sleep(7)
            if self.node.pending is None:
                told = None
            elif self.node.pending != told:
                told = self.node.pending
                self.peers.operator.need_reboot(told)

    def _offer(self) -> None:
        offered = self.story.offered
        newer = offered and offered != self.node.os_version
        self.peers.update_engine.scenario = update(offered, 60) if newer else no_update("", 5)

    def _signed(self) -> list[tuple[str, bytes]]:
        trusted = {each.fingerprint for each in self.peers.keys}
        return [(version, data) for by, version, data in sorted(self.peers.bucket.signed) if by in trusted]

    # What the program gets.

    def _settings(self) -> Settings:
        return combine({"torcx_manifest_url": _MANIFESTS, **self.story.settings})

    def _context(self) -> Context:
        return Context(self._settings(), self.node.layout, {"NODE": NODE}, clock=self.clock)

    def _reload(self) -> Settings:
        if not self.settings_good:
            raise ConfigurationError("there is no setting upgrade_oss")
        return self._settings()

    # The end.

    async def _finish(self) -> None:
        """All troubles end; then the node has to come to the right end, through one more OS update."""
        self.say("-- all troubles end")
        for mend in self.menders[:]:
            self.menders.remove(mend)
            mend()
        peers = self.peers
        peers.bucket.heal()
        for faults in (peers.api.faults, peers.api.watches.faults, peers.bus.faults, peers.bus.reply_faults):
            faults.clear()
        for link in peers.network.links.values():
            link.cuts.clear()
            link.flips.clear()
        self.settings_good = True
        started = trio.current_time()
        updated = False
        problem = ""
        while trio.current_time() < started + PATIENCE:
            await trio.sleep(30)
            engine = peers.update_engine
            idle = not engine._playing and self.node.pending is None and engine._nursery is not None
            if not updated and idle and self.node.layout.at("/etc/kubernetes/kubelet.env").exists():
                updated = True
                self.say("-- the last update")
                engine.scenario = update(LAST_OS, 120)
                await engine._attempt_update()
            elif self.excused and trio.current_time() > started + 600 and engine._state.version == "0.0.0":
                self.say("-- an administrator withdraws the update that nobody can name")
                self.excused = False
                await engine._reset_status()
                self.node.pending = None
            problem = self._unfinished()
            if not problem:
                break
        self.recovery = trio.current_time() - started
        if problem:
            self.checker.violations.append(f"END: {problem}, {PATIENCE / 3600:g} h after all troubles have ended")
        # Longer than any poll: what is to follow has followed.
        await trio.sleep(300)
        self.look(quiet=True)
        if not problem and (problem := self._unfinished()):
            self.checker.violations.append(f"END: the node does not stay well: {problem}")
        tasks = trio.lowlevel.current_statistics().tasks_living
        if tasks > _MOST_TASKS:
            self.checker.violations.append(f"END: {tasks} tasks live")
        if len(peers.network.sockets) > _MOST_SOCKETS:
            self.checker.violations.append(f"END: {len(peers.network.sockets)} sockets are open")
        self.violations += self.checker.violations

    def _unfinished(self) -> str:
        """What is not yet as it should be in the end."""
        layout, version = self.node.layout, self.peers.api.version
        path = layout.at("/etc/kubernetes/kubelet.env")
        if not path.exists():
            return "there is no kubelet.env"
        if self.node.os_version != LAST_OS:
            return f"OS {self.node.os_version} runs, {self.node.pending} is pending"
        wanted = WANTED[version.removeprefix("v").rpartition(".")[0].rpartition(".")[0]]
        if self.checker.disk.sealed_docker() != wanted:
            return f"Docker {self.checker.disk.sealed_docker()} runs instead of {wanted}"
        if self.story.attendant == "hook":
            return ""
        if self.story.settings.get("update_kubelet") and version.replace("+", "_") not in path.read_text():
            return f"kubelet.env has not followed the cluster to {version}"
        snapshot = read_recorded(layout)
        if snapshot is None or snapshot.state != "done" or snapshot.failure is not None:
            return f"the state is {snapshot.state if snapshot else 'unknown'}: {snapshot and snapshot.failure}"
        return ""
