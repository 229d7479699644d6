"""A node in service on the test bench: bootstrapped, a member of a cluster, with an update operator that asks it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.integration.bootstrap.bench import KUBELET_ENV, TOO_LONG, Bench, open_bench
from tests.integration.bootstrap.program import ForkServer, Process
from torcxd.daemon.context import Context
from torcxd.daemon.process import DAEMON, attend_node
from torcxd.host.notify import ServiceManager
from torcxd.kube.operators import FLATCAR, HOOK_ANNOTATION, TRUE, OperatorNames
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.machine import Step
from torcxd.sandbox.http_server import Request
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.sandbox import KUBE_VERSION, NEW_OS, OLD_OS, Plot
from torcxd.sandbox.update_engine import Scenario
from torcxd.sandbox.update_engine import Step as Show
from torcxd.settings import combine

NODE: Final = "node-1"
IMAGE: Final = "docker:17.03.torcx.tgz"
# An update is there to be found; it is played step by step by the tests.
PLOT: Final = Plot(update_seconds=0, image_bytes=20_000)
# What the new OS version is staged from.
MANIFEST: Final = f"{NEW_OS}/torcx_manifest.json"
MAPPINGS: Final = "kind: VersionManifestV1\nversions:\n  k8s:\n    1.8:\n      docker: {}\n"


@dataclass(slots=True)
class Service(Bench):
    """A bench whose node has a name in the cluster.

    :ivar names: the labels and annotations of the update operator that looks after it.
    :ivar told: what was true for the operator, in order: each change of the answer and of its reason.
    """

    names: OperatorNames = FLATCAR
    told: list[tuple[str, str | None]] = field(default_factory=list)
    _noted: int = 0
    _held: dict[str, str | None] = field(default_factory=dict)

    # The node and its cluster.

    @property
    def annotation(self) -> str:
        return self.names.prefix + HOOK_ANNOTATION

    @property
    def reason(self) -> str:
        return f"{self.annotation}-reason"

    @property
    def annotations(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.box.api.node(NODE)["metadata"].get("annotations", {})
        return found

    @property
    def answered(self) -> bool:
        return self.annotations.get(self.annotation) == TRUE

    def events(self, reason: str) -> list[str]:
        """The messages of the events about the node with this reason."""
        return [each["message"] for each in self.box.api.events() if each["reason"] == reason]

    def patches(self) -> list[Request]:
        """The requests to change the node."""
        assert self.box.api_server is not None
        return [each for each in self.box.api_server.requests if each.method == "PATCH"]

    async def hung_patch(self) -> Request:
        """Wait for a patch of the node that the API server takes and, for now, does nothing about."""
        assert self.box.api_server is not None
        seen = len(self.patches())
        await self.box.api_server.wait_until(lambda _: len(self.patches()) > seen)
        return self.patches()[-1]

    def put_in_service(self) -> None:
        """The node was bootstrapped: Docker 17.03 runs, kubelet.env is there, the agent has introduced itself."""
        box = self.box
        image = docker_image("17.03", box.plot.image_bytes)
        box.node.write(f"/var/lib/torcx/store/{OLD_OS}/{IMAGE}", image.data)
        profile = '{"kind":"profile-manifest-v0","value":{"images":[{"name":"docker","reference":"17.03"}]}}'
        box.node.write("/etc/torcx/profiles/tectonic.json", profile)
        box.node.write("/etc/torcx/next-profile", "tectonic\n")
        # The bootstrap has read a signed manifest that names it.
        signed, read = box.checker.signed, [each for each in box.bucket.manifests() if each[0] == OLD_OS]
        box.checker.signed = lambda: [*signed(), *read]
        tag = KUBE_VERSION.replace("+", "_")
        box.node.write(KUBELET_ENV, f'KUBELET_IMAGE_TAG="{tag}"\nKUBELET_IMAGE_URL="quay.io/coreos/hyperkube"\n')
        # One boot for the change of Docker, and another with the data that this one has made.
        assert not box.node.boot(clean_docker=True)
        box.checker.booted()
        box.node.write("/var/lib/docker/image-store", "layers\n")
        assert not box.node.boot()
        box.checker.booted()
        self.register()

    def register(self) -> None:
        """The node is in the cluster, and the operator's agent runs on it."""
        self.box.api.put_node(
            NODE,
            labels={self.names.id: "coreos", self.names.version: OLD_OS},
            annotations={self.names.reboot_needed: "false"},
        )

    def ask(self) -> None:
        """The operator asks for its pre-reboot check."""
        self.box.api.patch_node(NODE, labels={self.names.before_reboot: TRUE})

    def withdraw(self) -> None:
        """The operator asks no more, and forgets what was answered."""
        self.box.api.patch_node(NODE, labels={self.names.before_reboot: None}, annotations={self.annotation: None})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds; it is tested at each change in the cluster."""
        while True:
            changed = self.box.api.store.changed
            self.note()
            if condition():
                return
            await changed.wait()

    async def until_answered(self) -> None:
        await self.until(lambda: self.answered)

    async def until_reason(self, words: str) -> None:
        """Wait until the node's annotation tells that *words* are why it is not answered."""
        await self.until(lambda: words in self.annotations.get(self.reason, ""))

    # update_engine.

    async def announce(self, version: str = NEW_OS) -> None:
        """update_engine begins to download *version*."""
        await self.box.update_engine.show(Show("DOWNLOADING", progress=0.1, version=version))

    async def install(self, version: str = NEW_OS) -> None:
        """update_engine has installed *version*: the next boot brings it."""
        await self.box.update_engine.show(Show("UPDATED_NEED_REBOOT", version=version))

    async def forget(self) -> None:
        """update_engine, which has installed an update, is restarted: it forgets which."""
        if self.box.node.pending is None:
            await self.install()
        await self.box.restart(self.box.update_engine)

    # The daemon.

    @asynccontextmanager
    async def in_process(self) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
        """The daemon in this process, for the length of the block.

        :returns: a function that waits until it enters a state, from the last one on that was waited for.
        """
        template = self.box.bucket.manifest_template
        settings = combine({"torcx_manifest_url": template, "node_name": NODE, "api_retry_for": 0.5})
        entered, states = trio.open_memory_channel[str](1000)

        class Noted:
            def stepped(self, step: Step, event: Event) -> None:
                if step.move is not None:
                    entered.send_nowait(step.move.dest)

        async def reached(state: str) -> None:
            async for each in states:
                if each == state:
                    return

        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.box.environment.items():
                patch.setenv(name, value)
            ctx = Context(settings, self.box.node.layout, self.box.process_environment)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    partial(
                        attend_node,
                        ctx,
                        DAEMON,
                        as_daemon=True,
                        manager=ServiceManager({}),
                        random=lambda: 0.5,
                        observers=[Noted()],
                    )
                )
                yield reached
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def daemon(self, *flags: str, environment: dict[str, str] | None = None) -> AsyncIterator[Process]:
        """``torcxd run`` for the length of the block: at its end it gets SIGTERM, and ends with 0 at once."""
        every = (f"--node-name={NODE}", "--api-retry-for=0.5s", *self.box.flags, *flags)
        async with self.start("run", *every, environment=environment) as process:
            yield process
            killed = process.code is not None
            process.send(signal.SIGTERM)
        assert killed or process.code == 0, process.stderr

    def hook(
        self, *flags: str, entry: str = "torcxd", named: bool = True, environment: dict[str, str] | None = None
    ) -> AbstractAsyncContextManager[Process]:
        """``torcxd hook`` for the length of the block, or the original's name for it; leaving it waits for its end.

        :param named: whether the node's name is given as a flag.
        """
        name = [f"--node-name={NODE}"] if named else []
        every = (*name, "--api-retry-for=0.5s", *self.box.flags, *flags)
        return self.start("hook", *every, entry=entry, environment=environment)

    async def follow(self) -> None:
        """Note what the operator is told, at each change in the cluster."""
        while True:
            changed = self.box.api.store.changed
            self.note()
            await changed.wait()

    def note(self) -> None:
        """Note what the operator was told since the last time."""
        for change in self.box.api.store.since(self._noted):
            self._noted = change.revision
            if change.key.resource != "nodes":
                continue
            annotations = change.object["metadata"].get("annotations", {})
            for name in (self.annotation, self.reason):
                value = annotations.get(name)
                if value != self._held.get(name):
                    self._held[name] = value
                    self.told.append((name, value))


OpenService = Callable[..., AbstractAsyncContextManager[Service]]


@asynccontextmanager
async def open_service(
    root: Path, server: ForkServer, plot: Plot = PLOT, *, names: OperatorNames = FLATCAR, seconds: float = TOO_LONG
) -> AsyncIterator[Service]:
    """A node in service for the length of the block, judged at its end."""
    async with open_bench(root, server, plot, seconds=seconds) as bench:
        bench.box.checker.serving = True
        # Nothing happens to the OS by itself.
        bench.box.update_engine.scenario = Scenario()
        service = Service(bench.box, server, bench.processes, bench.secrets, names=names)
        service.put_in_service()
        bench.box.nursery.start_soon(service.follow)
        yield service
        bench.judged = service.judged
