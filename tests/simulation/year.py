"""A node that lives for a year: what happens to it, fortnight by fortnight, and what it weighs meanwhile."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from tests.simulation.pace import DAY, HOUR, MINUTE, POLL, SETTLED, kubernetes, os_version
from tests.simulation.peers import Cluster, FakeBus, Machine, SimulatedContext, VirtualClock
from tests.simulation.supplies import Supplies
from torcxd.daemon import process
from torcxd.dbus.errors import DBusError
from torcxd.dbus.update_engine import Operation
from torcxd.errors import PermanentError, TransientError
from torcxd.host.notify import ServiceManager
from torcxd.kube.operators import FLATCAR, HOOK_ANNOTATION, TRUE
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.snapshot import Snapshot
from torcxd.sandbox.apiserver_watch import WatchFault
from torcxd.sandbox.checker import Answers, Checker
from torcxd.sandbox.node import Node
from torcxd.settings import combine

NODE: Final = "node-1"
ANNOTATION: Final = FLATCAR.prefix + HOOK_ANNOTATION
NAMESPACE: Final = "tectonic-system"
CONFIG_MAP: Final = "tectonic-torcx-runtime-mappings"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Weight:
    """What the process and its files take at one moment.

    :param memory: bytes that Python has allocated since they are counted, and not freed.
    :param growth: bytes that were added to that since the daemon came to rest after the boot.
    :param stores: directories in the user store.
    """

    memory: int
    growth: int
    descriptors: int
    tasks: int
    state_file: int
    history: int
    stores: int


@dataclass(slots=True)
class Year:
    """The node and what becomes of it.

    :ivar snapshot: the lifecycle's last word.
    :ivar states, failures, boots: how often each was entered, failed, happened.
    """

    node: Node
    cluster: Cluster
    machine: Machine
    nursery: trio.Nursery
    snapshot: Snapshot | None = None
    states: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    answers: int = 0
    inhibitors: int = 0
    rolled_back: int = 0
    weights: list[Weight] = field(default_factory=list)
    clean_docker: bool = False
    supplies: Supplies = field(init=False)
    checker: Checker = field(init=False)
    _changed: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self.supplies = Supplies(self.node.layout)
        self.checker = Checker(
            self.node.layout.root,
            self.supplies.signed,
            self.node.vendored,
            lambda: self.node.pending,
            requests=list,
            serving=True,
        )
        self.cluster.api.store.listeners.append(Answers(self.checker).changed)

    # An observer of the engine.

    def stepped(self, step: Step, event: Event) -> None:
        self.snapshot = step.snapshot
        if step.move is not None:
            self.states[step.move.dest] = self.states.get(step.move.dest, 0) + 1
        self.failures += event.trigger == "failed"
        self.answers += event.trigger == "hook_answered"
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[Snapshot], bool]) -> None:
        """Wait until the lifecycle is so; a day is more than anything here takes."""
        with trio.move_on_after(DAY):
            while self.snapshot is None or not condition(self.snapshot):
                await self._changed.wait()
            return
        raise AssertionError(f"after a day it is still so: {self.snapshot}")

    async def until_answered(self) -> None:
        """Wait until the operator has its annotation."""
        with trio.move_on_after(HOUR):
            while True:
                changed = self.cluster.api.store.changed
                if self.annotations.get(ANNOTATION) == TRUE:
                    return
                await changed.wait()
        raise AssertionError(f"after an hour the operator has no answer: {self.annotations} {self.snapshot}")

    @property
    def annotations(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.cluster.api.node(NODE)["metadata"].get("annotations", {})
        return found

    async def schedule(self, *_: object) -> None:
        self.clean_docker = True

    def bus(self, **_options: bool) -> AbstractAsyncContextManager[FakeBus]:
        """Stands for :func:`torcxd.dbus.bus.open_bus`: that of the present boot."""
        return self.machine.bus()

    # What happens.

    @asynccontextmanager
    async def boot(self) -> AsyncIterator[None]:
        """One boot of the node, with the daemon running, for the length of the block."""
        self.node.boot(clean_docker=self.clean_docker)
        self.clean_docker = False
        self.checker.booted()
        self.machine = Machine(self.nursery)
        self.snapshot = None
        environment: Any = {"machine": self.machine}
        settings = combine({"node_name": NODE, "version_interval": POLL, "api_retry_for": 30.0})
        ctx = SimulatedContext(settings, self.node.layout, environment, clock=VirtualClock())
        async with trio.open_nursery() as daemon:
            daemon.start_soon(
                partial(
                    process.attend_node,
                    ctx,
                    process.DAEMON,
                    as_daemon=True,
                    manager=ServiceManager({}),
                    random=lambda: 0.5,
                    observers=[self],
                )
            )
            yield
            daemon.cancel_scope.cancel()
        self.checker.check()
        self.inhibitors += self.machine.inhibitors

    async def fortnight(self, number: int) -> None:
        """Everything that goes wrong in two weeks, then an OS update, up to the operator's reboot."""
        coming = os_version(number + 1)
        api, update_engine = self.cluster.api, self.machine.update_engine
        end = trio.current_time() + 14 * DAY
        await self.until(lambda now: now.state == "done")
        await trio.sleep(HOUR)
        rested = self.memory()

        # update_engine restarts, the bus goes away for an hour.
        await trio.sleep(DAY)
        update_engine.leave()
        await trio.sleep(10 * MINUTE)
        update_engine.come_back()
        await trio.sleep(DAY)
        self.machine.bus_up = False
        update_engine.signal(DBusError("org.freedesktop.DBus.Error.Disconnected", "the bus is gone"))
        await trio.sleep(HOUR)
        self.machine.bus_up = True

        # The API server is away (once for hours), forgets its changes, ends watches in every way, takes no old token.
        await trio.sleep(DAY)
        self.cluster.cut()
        await trio.sleep(6 * HOUR if number == 7 else 10 * MINUTE)
        self.cluster.mend()
        await trio.sleep(HOUR)
        api.watches.faults.extend((WatchFault.EXPIRED, WatchFault.GONE, WatchFault.STALL, WatchFault.ERROR))
        api.store.compact()
        api.watches.end_all()
        await trio.sleep(DAY)
        self.cluster.rotate()
        await trio.sleep(MINUTE)
        self.cluster.renew()
        await trio.sleep(DAY)

        if number % 6 == 3:
            version, docker = kubernetes(number // 6 + 1)
            api.version = version
            self.put_mappings(docker)
            await self.until(lambda now: now.target is not None and now.target.kube_version == version)
            await self.until(lambda now: now.state in ("done", "reboot-pending"))

        # An update that fails, and one that is announced while the signing key is being replaced.
        update_engine.go(Operation.DOWNLOADING, coming, progress=0.2)
        await trio.sleep(MINUTE)
        update_engine.go(Operation.REPORTING_ERROR_EVENT, coming)
        update_engine.go(Operation.IDLE)
        await trio.sleep(DAY)
        self.supplies.fault = (
            PermanentError("the manifest is not signed by a trusted key", hint="renew the keyring")
            if number % 2
            else TransientError("https://bucket.example: status 503")
        )
        for tenth in range(10):
            update_engine.go(Operation.DOWNLOADING, coming, progress=tenth / 10)
            await trio.sleep(10)
        update_engine.go(Operation.UPDATED_NEED_REBOOT, coming)
        self.node.pending = coming

        # The operator asks; the answer is withheld until the set is there.
        api.patch_node(NODE, labels={FLATCAR.before_reboot: TRUE})
        await trio.sleep(3 * HOUR if number == 9 else 5 * MINUTE)
        assert ANNOTATION not in self.annotations
        self.supplies.fault = None
        await self.until_answered()
        api.patch_node(NODE, labels={FLATCAR.before_reboot: None}, annotations={ANNOTATION: None})
        await trio.sleep_until(end)
        self.weigh(rested)
        if number % 5 == 4:
            # The boot loader falls back once.
            self.node.pending = None

    def put_mappings(self, docker: str) -> None:
        text = "".join(f"    1.{minor}:\n      docker: [ '{docker}' ]\n" for minor in range(8, 20))
        self.cluster.api.put_config_map(
            NAMESPACE, CONFIG_MAP, {"runtime-mappings.yaml": f"kind: VersionManifestV1\nversions:\n  k8s:\n{text}"}
        )

    def memory(self) -> int:
        """The bytes that Python has allocated since they are counted, without what the peers keep."""
        # Those who read the events of a cluster are others, and it forgets them after an hour.
        store = self.cluster.api.store
        for key in [each for each in store.objects if each.resource == "events"]:
            del store.objects[key]
        store.compact()
        self.supplies.images.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def weigh(self, rested: int) -> None:
        """Add to :attr:`weights`. :param rested: the memory after the boot."""
        memory = self.memory()
        if len(self.weights) == SETTLED:
            tracemalloc.start()
        layout = self.node.layout
        self.weights.append(
            Weight(
                memory=memory,
                growth=memory - rested,
                descriptors=len(list(Path("/proc/self/fd").iterdir())),
                tasks=trio.lowlevel.current_statistics().tasks_living,
                state_file=layout.state_file.stat().st_size,
                history=layout.history_file.stat().st_size,
                stores=len(list(layout.user_store.iterdir())),
            )
        )


async def inline(work: Callable[..., T], *arguments: object, **_options: object) -> T:
    """Stands for ``trio.to_thread.run_sync``: a thread takes real time, in which the virtual clock would run ahead."""
    await trio.lowlevel.checkpoint()
    return work(*arguments)
