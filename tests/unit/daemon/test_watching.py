"""The sources that watch the API server, over real connections: what they make of gaps, and of files that change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from torcxd.daemon.cluster import CONFIG_MAP, CONFIG_MAP_KEY
from torcxd.daemon.context import Context
from torcxd.daemon.watching import Watch
from torcxd.kube.operators import FLATCAR, HOOK_ANNOTATION, TRUE
from torcxd.lifecycle import retry
from torcxd.lifecycle.events import ClusterChanged, Event, HookAsked
from torcxd.paths import Layout
from torcxd.sandbox.apiserver import ApiServer
from torcxd.settings import combine
from torcxd.sources.health import HealthBoard

NODE = "node-1"
ANSWER = FLATCAR.prefix + HOOK_ANNOTATION
# Ends a test that hangs; nothing takes as long.
PATIENCE = 30
MAPPINGS = "kind: VersionManifestV1\nversions:\n  k8s:\n    '1.8':\n      docker: ['{}']\n"


@dataclass
class Watched:
    """A node's files below its root, and what its sources have reported."""

    root: Path
    told: list[Event] = field(default_factory=list)
    _heard: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        ctx = Context(combine({"node_name": NODE}), Layout(self.root), {})
        health = HealthBoard(self.root / "sources.json", ctx.clock)
        self.watch = Watch(ctx, self.report, health, lambda: 0.5, saw_node=lambda _: None)

    async def report(self, event: Event) -> None:
        self.told.append(event)
        self._heard.set()

    async def until_told(self, count: int) -> Event:
        while len(self.told) < count:
            self._heard = trio.Event()
            await self._heard.wait()
        return self.told[-1]

    def write_kubeconfig(self, api: ApiServer, url: str) -> None:
        path = self.root / "etc/kubernetes/kubeconfig"
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name("new")
        new.write_text(api.kubeconfig(url))
        new.rename(path)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[trio.Nursery]:
        """A nursery for sources, which end with the block."""
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                yield nursery
                nursery.cancel_scope.cancel()


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Without waiting between the tries."""
    monkeypatch.setattr(retry, "delay", lambda *_: 0.0)
    return Watched(tmp_path)


def api_server(*, asks: bool) -> ApiServer:
    api = ApiServer()
    api.put_node(NODE, labels={FLATCAR.before_reboot: TRUE if asks else "false"})
    return api


def heard(event: Event) -> tuple[bool, bool]:
    assert isinstance(event, HookAsked)
    return event.asked, event.answered


@pytest.mark.accepts("A26", "A28")
async def test_a_question_that_was_put_again_while_nobody_watched_is_heard(watched: Watched) -> None:
    """It looks as it did before the gap, but was answered in between, by this very node."""
    api = api_server(asks=True)
    async with watched.at_work() as nursery:
        async with api.serve() as server:
            watched.write_kubeconfig(api, server.url)
            nursery.start_soon(watched.watch.node)
            assert heard(await watched.until_told(1)) == (True, False)
            await server.wait_until(lambda seen: any("watch" in each.query for each in seen.requests))
        api.patch_node(NODE, annotations={ANSWER: TRUE})
        api.patch_node(NODE, labels={FLATCAR.before_reboot: None}, annotations={ANSWER: None})
        api.patch_node(NODE, labels={FLATCAR.before_reboot: TRUE})
        async with api.serve(port=server.port):
            assert heard(await watched.until_told(2)) == (True, False)


@pytest.mark.accepts("A23")
async def test_a_node_is_watched_on_with_a_kubeconfig_that_was_replaced(watched: Watched) -> None:
    api, moved = api_server(asks=False), api_server(asks=False)
    moved.patch_node(NODE, labels={FLATCAR.before_reboot: TRUE})
    async with watched.at_work() as nursery, moved.serve() as new:
        async with api.serve() as old:
            watched.write_kubeconfig(api, old.url)
            nursery.start_soon(watched.watch.node)
            assert heard(await watched.until_told(1)) == (False, False)
            watched.write_kubeconfig(moved, new.url)
        assert heard(await watched.until_told(2)) == (True, False)


@pytest.mark.accepts("A23")
async def test_mappings_are_watched_on_with_a_kubeconfig_that_was_replaced(watched: Watched) -> None:
    api, moved = api_server(asks=False), api_server(asks=False)
    moved.put_node("node-2")  # By what it counts, too, it is another cluster.
    for each, docker in ((api, "17.03"), (moved, "1.12")):
        each.put_config_map("tectonic-system", CONFIG_MAP, {CONFIG_MAP_KEY: MAPPINGS.format(docker)})
    async with watched.at_work() as nursery, moved.serve() as new:
        async with api.serve() as old:
            watched.write_kubeconfig(api, old.url)
            nursery.start_soon(watched.watch.mappings)
            assert docker_of(await watched.until_told(1)) == "17.03"
            watched.write_kubeconfig(moved, new.url)
        assert docker_of(await watched.until_told(2)) == "1.12"


def docker_of(event: Event) -> str:
    assert isinstance(event, ClusterChanged)
    assert event.mappings is not None
    return event.mappings.kubernetes["1.8"]["docker"][0]
