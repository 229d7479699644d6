"""A node that lives for a year: what happens to it, fortnight by fortnight, and what it weighs meanwhile."""

from __future__ import annotations

import base64
import gc
import json
import logging
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
import trio

from tests.simulation.peers import Cluster, FakeBus, Machine, SimulatedContext, VirtualClock
from torcxd.addons.staging import Staging
from torcxd.addons.store import Store
from torcxd.daemon import addons, attending, cluster, perform, process, statefile, watching
from torcxd.daemon.context import Context
from torcxd.daemon.engine import Report
from torcxd.daemon.inspection import holds
from torcxd.dbus.errors import DBusError
from torcxd.dbus.update_engine import Operation
from torcxd.errors import PermanentError, TorcxdError, TransientError
from torcxd.host import files
from torcxd.host.notify import ServiceManager
from torcxd.kube.operators import FLATCAR, HOOK_ANNOTATION, TRUE
from torcxd.kube.reflector import Pace, follow
from torcxd.lifecycle.catalog import Location, Package, PackageManifest, PackageVersion
from torcxd.lifecycle.effects import Fetch
from torcxd.lifecycle.events import Event, Fetched, Resolved
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.plan import os_versions_to_stage, resolve
from torcxd.lifecycle.snapshot import Snapshot
from torcxd.paths import Layout
from torcxd.sandbox.apiserver_watch import WatchFault
from torcxd.sandbox.checker import Answers, Checker
from torcxd.sandbox.images import TorcxImage, docker_image
from torcxd.sandbox.node import Node, VendorDocker
from torcxd.settings import combine
from torcxd.sources import os_update

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
FORTNIGHTS: Final = 26
# From here on memory is counted, which takes as long again: the months before have warmed every cache.
SETTLED: Final = 20

NODE: Final = "node-1"
ANNOTATION: Final = FLATCAR.prefix + HOOK_ANNOTATION
_NAMESPACE: Final = "tectonic-system"
_CONFIG_MAP: Final = "tectonic-torcx-runtime-mappings"

# What an idle node does once a minute is done once a day here: a year of it would take minutes of real time,
# and tells nothing that the hundreds of rounds that are left do not.
POLL: Final = DAY
WATCH: Final = Pace(watch=DAY, silence=DAY + HOUR)
# A year of a well node does not fill the history, so its bounds are drawn closer.
KEPT_ENTRIES: Final = 100
LARGEST_HISTORY: Final = 2 * KEPT_ENTRIES * 300

T = TypeVar("T")


def os_version(number: int) -> str:
    return f"{1520 + 14 * number}.{number % 9}.0"


def kubernetes(number: int) -> tuple[str, str]:
    """The cluster's version after so many upgrades, and the Docker that it wants."""
    return f"v1.{8 + number}.4", ("17.03", "17.09", "18.06")[number % 3]


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
    :ivar bucket_fault: what each fetch fails with, None for none.
    """

    node: Node
    cluster: Cluster
    machine: Machine
    nursery: trio.Nursery
    images: dict[tuple[str, str], TorcxImage] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    states: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    answers: int = 0
    inhibitors: int = 0
    rolled_back: int = 0
    bucket_fault: TorcxdError | None = None
    weights: list[Weight] = field(default_factory=list)
    clean_docker: bool = False
    checker: Checker = field(init=False)
    _changed: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        root = self.node.layout.root
        self.checker = Checker(
            root, self.signed, self.node.vendored, lambda: self.node.pending, requests=list, serving=True
        )
        self.cluster.api.store.listeners.append(Answers(self.checker).changed)

    def signed(self) -> list[tuple[str, bytes]]:
        """What counts as signed: the images that are published for the OS versions of which the node has any."""
        found = []
        for version in sorted(each.name for each in self.node.layout.user_store.iterdir()):
            images = [self.image(version, docker) for _, docker in map(kubernetes, range(3))]
            entries = [{"version": each.reference, "hash": str(each.digest)} for each in images]
            value = {"packages": [{"name": "docker", "versions": entries}]}
            found.append((version, json.dumps({"kind": "torcx-package-list-v0", "value": value}).encode()))
        return found

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

    # What stands for the network.

    def image(self, version: str, docker: str) -> TorcxImage:
        """What is published for an OS version: another build for each."""
        key = version, docker
        if key not in self.images:
            self.images[key] = docker_image(docker, 500 + sum(map(ord, version)))
        return self.images[key]

    async def fetch(self, ctx: Context, effect: Fetch, report: Report) -> None:
        """Stands for :func:`torcxd.daemon.addons.fetch`: the same files, from nowhere."""
        await trio.sleep(20)
        if self.bucket_fault is not None:
            raise self.bucket_fault
        plan = effect.plan
        if not plan.resolved:
            plan = resolve(plan, {each: self.manifest(each) for each in os_versions_to_stage(plan.target)})
            await report(Resolved(ctx.clock.now(), plan))
        store = Store(ctx.layout, plan.target.current_os, ctx.digests)
        for each in plan.images:
            if not await holds(ctx, store, each, plan.target.current_os):
                path = Staging(ctx.layout.staging, ctx.digests).path(each.digest)
                files.write_atomic(path, self.image(each.os_version, each.reference).data)
        await report(Fetched(ctx.clock.now()))

    def manifest(self, version: str) -> PackageManifest:
        offered = tuple(
            PackageVersion(docker, self.image(version, docker).digest, (Location(url="https://bucket.example/x"),))
            for _, docker in map(kubernetes, range(3))
        )
        return PackageManifest({"docker": Package("docker", "17.03", offered)})

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
        self.bucket_fault = (
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
        self.bucket_fault = None
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
            _NAMESPACE, _CONFIG_MAP, {"runtime-mappings.yaml": f"kind: VersionManifestV1\nversions:\n  k8s:\n{text}"}
        )

    def memory(self) -> int:
        """The bytes that Python has allocated since they are counted, without what the peers keep."""
        # Those who read the events of a cluster are others, and it forgets them after an hour.
        store = self.cluster.api.store
        for key in [each for each in store.objects if each.resource == "events"]:
            del store.objects[key]
        store.compact()
        self.images.clear()
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


class Unseen:
    """Stands for the object on D-Bus, which nobody looks at."""

    def __init__(self, *_: object) -> None:
        pass

    def stepped(self, step: Step, event: Event) -> None:
        pass

    async def run(self) -> None:
        await trio.sleep_forever()


async def live(root: Path, patch: pytest.MonkeyPatch, *, fortnights: int = FORTNIGHTS) -> Year:
    """Let a node live, on the virtual clock of the caller; returns what became of it."""
    vendor = VendorDocker("1.12", docker_image("1.12", 1000).data)
    vendors = {os_version(each): vendor for each in range(fortnights + 1)}
    node = Node(root, os_version=os_version(0), board="amd64-usr", vendor=vendors)
    version, docker = kubernetes(0)
    node.install(kube_version=version)
    node.write("/etc/kubernetes/kubelet.env", f'KUBELET_IMAGE_TAG="{version}"\nKUBELET_IMAGE_URL="quay.io/x"\n')
    api = Cluster(Layout(root).at("/etc/kubernetes/token"))
    authority = base64.b64encode(api.api.authority.pem).decode()
    node.write("/etc/kubernetes/kubeconfig", _KUBECONFIG.replace("AUTHORITY", authority))
    api.api.version = version
    api.api.put_node(NODE, labels={FLATCAR.id: "coreos"}, annotations={FLATCAR.reboot_needed: "false"})
    # Bookmarks keep a watch that is this long from counting as dead.
    api.api.watches.bookmark_seconds = DAY
    async with trio.open_nursery() as nursery:
        year = Year(node, api, Machine(nursery), nursery)
        year.put_mappings(docker)
        image = year.image(os_version(0), docker)
        node.write(f"/var/lib/torcx/store/{os_version(0)}/{image.file_name}", image.data)
        node.write("/etc/torcx/profiles/tectonic.json", _PROFILE.replace("REFERENCE", docker))
        node.write("/etc/torcx/next-profile", "tectonic\n")

        # pytest would keep every record.
        patch.setattr(logging.getLogger("torcxd"), "propagate", False)
        patch.setattr(logging.getLogger("torcxd"), "handlers", [logging.NullHandler()])
        patch.setattr(trio.to_thread, "run_sync", inline)
        patch.setattr(statefile, "KEPT_ENTRIES", KEPT_ENTRIES)
        patch.setattr(statefile, "LARGEST_HISTORY", LARGEST_HISTORY)
        patch.setattr(os_update, "POLL_INTERVAL", POLL)
        patch.setattr(watching, "follow", partial(follow, pace=WATCH))
        patch.setattr(watching, "UpdateEngine", lambda bus: bus.machine.update_engine)
        patch.setattr(cluster, "open_client", api.open_client)
        patch.setattr(perform, "fetch", year.fetch)
        for module in (addons, attending):
            patch.setattr(module, "docker_cleanup", year)
        patch.setattr(process, "open_bus", year.bus)
        patch.setattr(process, "BusObject", Unseen)

        for number in range(fortnights):
            async with year.boot():
                await year.fortnight(number)
            if node.pending is None:
                # Back in the old version, and then the same update once more.
                async with year.boot():
                    await year.until(lambda now: now.state in ("done", "staged"))
                    year.rolled_back += 1
                    year.machine.update_engine.go(Operation.UPDATED_NEED_REBOOT, os_version(number + 1))
                    node.pending = os_version(number + 1)
                    await year.until(lambda now: now.state == "reboot-pending")
        nursery.cancel_scope.cancel()
    return year


_PROFILE: Final = '{"kind":"profile-manifest-v0","value":{"images":[{"name":"docker","reference":"REFERENCE"}]}}'
_KUBECONFIG: Final = """\
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://api.example:6443", certificate-authority-data: AUTHORITY}}]
users: [{name: node, user: {tokenFile: /etc/kubernetes/token}}]
contexts: [{name: local, context: {cluster: local, user: node}}]
current-context: local
"""
