"""The daemon's sources: what turns update_engine, the API server and the clock into events for the core."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio

from torcxd.daemon.cluster import CONFIG_MAP, CONFIG_MAP_KEY, open_api
from torcxd.daemon.context import Context
from torcxd.daemon.engine import Report
from torcxd.daemon.followed import followed
from torcxd.daemon.operator import OperatorDesk
from torcxd.errors import TorcxdError, TransientError
from torcxd.kube.client import KubeClient
from torcxd.kube.mappings import parse_mappings
from torcxd.kube.nodes import Node
from torcxd.kube.reflector import SourceHealth, follow
from torcxd.kube.watch import NamedObject, watched_config_map, watched_node
from torcxd.lifecycle.events import ClusterChanged, HookAsked, OsUpdateLost, OsUpdateSeen
from torcxd.lifecycle.facts import OsUpdate
from torcxd.lifecycle.mappings import Mappings
from torcxd.sources.health import HealthBoard
from torcxd.sources.os_update import watch_os_update

Source = Callable[[], Awaitable[None]]


def _mappings(data: Mapping[str, str] | None) -> Mappings | None:
    """The runtime mappings in a ConfigMap's data; None where there are none, or none that can be read."""
    try:
        return parse_mappings((data or {})[CONFIG_MAP_KEY], CONFIG_MAP)
    except (KeyError, TorcxdError):
        return None


class Watch:
    """The sources of one process, each to be kept running by :func:`torcxd.sources.supervisor.keep_running`.

    :param saw_node: called with the own node at each change; None for one that is gone.
    """

    def __init__(
        self,
        ctx: Context,
        report: Report,
        health: HealthBoard,
        random: Callable[[], float],
        *,
        saw_node: Callable[[Node | None], None],
    ) -> None:
        self._ctx = ctx
        self._saw_node = saw_node
        self._report = report
        self._health = health
        self._random = random

    def hook_sources(self) -> Mapping[str, Source]:
        """What the one-shot hook needs."""
        return {"update_engine": self.update_engine, "node": self.node}

    def daemon_sources(self) -> Mapping[str, Source]:
        """What the daemon needs. A forced Kubernetes version makes the API server's of no interest (A7)."""
        sources = {**self.hook_sources(), "mappings": self.mappings}
        if not self._ctx.settings.force_kube_version:
            sources["version"] = self.version
        return sources

    async def update_engine(self) -> None:
        """Report what update_engine is about to install, and when that is not known any more."""

        async def changed(update: OsUpdate) -> None:
            await self._report(OsUpdateSeen(self._ctx.clock.now(), update))

        try:
            async with self._ctx.system_bus() as bus:
                engine = self._ctx.update_engine(bus)
                await watch_os_update(engine, changed, lambda: self._health.up("update_engine"))
        except TorcxdError:
            await self._report(OsUpdateLost(self._ctx.clock.now()))
            raise

    async def node(self) -> None:
        """Report when the update operator asks for the pre-reboot check, and when it does so no more."""
        desk = OperatorDesk(self._ctx)
        last: tuple[bool, bool] | None = None
        listener = self._listener("node")

        def of(client: KubeClient) -> NamedObject[Node]:
            return watched_node(client, desk.node_name)

        def listen(ok: bool, detail: str) -> None:
            nonlocal last
            if not ok:
                # In a gap the question may have been answered, withdrawn and put again: it looks as before, and is new.
                last = None
            listener(ok, detail)

        async with (
            followed(self._ctx, f"the node {desk.node_name}", of) as source,
            follow(source, listen, random=self._random) as nodes,
        ):
            async for node in nodes:
                self._saw_node(node)
                seen = desk.read(node)
                if seen != last:
                    last = seen
                    asked, answered = seen
                    await self._report(HookAsked(self._ctx.clock.now(), asked, answered))

    async def mappings(self) -> None:
        """Report when the cluster's runtime mappings change."""
        namespace = self._ctx.settings.mappings_namespace

        def of(client: KubeClient) -> NamedObject[Mapping[str, str]]:
            return watched_config_map(client, namespace, CONFIG_MAP)

        async with (
            followed(self._ctx, f"the ConfigMap {namespace}/{CONFIG_MAP}", of) as source,
            follow(source, self._listener("mappings"), random=self._random) as states,
        ):
            first = True
            async for data in states:
                mappings = _mappings(data)
                # None at first is a cluster without the ConfigMap: the plan rests on the node's own mappings.
                if mappings is not None or not first:
                    await self._report(ClusterChanged(self._ctx.clock.now(), None, mappings))
                first = False

    async def version(self) -> None:
        """Report when the API server's version changes."""
        async with open_api(self._ctx) as client:
            if client is None:
                raise TransientError(f"there is no kubeconfig at {self._ctx.settings.kubeconfig}")
            while True:
                version = await client.version()
                self._health.up("version")
                await self._report(ClusterChanged(self._ctx.clock.now(), version))
                # A fifth of jitter keeps a cluster's nodes from asking together.
                await trio.sleep(self._ctx.settings.version_interval * (0.9 + 0.2 * self._random()))

    def _listener(self, name: str) -> SourceHealth:
        def hear(ok: bool, detail: str) -> None:
            if ok:
                self._health.up(name)
            else:
                self._health.down(name, detail)

        return hear
