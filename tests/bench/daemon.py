"""``torcxd run``: what it takes while nothing happens, and how soon it acts when something does."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import trio
import trio.testing

from tests.bench.scale import Scale
from tests.bench.serving import bare_trio, memory, processor, serving, until_state
from tests.bench.table import Of, Row, Target, Unit
from tests.integration.daemon.bench import NODE, Service
from tests.simulation.peers import Cluster
from tests.simulation.year import inline
from torcxd.http import Proxies
from torcxd.kube.client import KubeClient, open_client
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.kube.nodes import get_node
from torcxd.kube.reflector import follow
from torcxd.kube.watch import watched_config_map, watched_node
from torcxd.sandbox.sandbox import NEW_OS
from torcxd.sandbox.update_engine import Step
from torcxd.settings import combine

# So many hours of an idle node are played on the virtual clock, to count its requests.
_HOURS: Final = 12
_POLL: Final = 30.0
# One piece of a watch, as much as a read from the socket yields at once.
_PIECE: Final = 64 * 1024


def measure(scale: Scale, directory: Path) -> list[Row]:
    """All rows about the daemon."""
    directory.mkdir(exist_ok=True)
    return [*trio.run(_serve, scale, directory), _requests(directory), trio.run(_watch_events, scale)]


async def _serve(scale: Scale, directory: Path) -> list[Row]:
    async with serving(directory) as (node, daemon):
        with bare_trio() as bare:
            begun = processor(daemon), processor(bare)
            await trio.sleep(scale.idle)
            minutes = scale.idle / 60
            spent = [(processor(pid) - before) / minutes for pid, before in zip((daemon, bare), begun, strict=True)]
            (rss, pss), (bare_rss, bare_pss) = memory(daemon), memory(bare)
        beside = "a trio process"
        rows = [
            Row("Idle daemon, RSS", Unit.MEGABYTES, [rss], beside, [bare_rss]),
            Row("Idle daemon, PSS", Unit.MEGABYTES, [pss], beside, [bare_pss]),
            Row(
                "Idle daemon, processor; beside it one wake-up a second",
                Unit.MILLISECONDS_A_MINUTE,
                spent[:1],
                beside,
                spent[1:],
            ),
        ]
        return [*rows, await _from_signal(scale, node), await _to_annotation(scale, node)]


async def _from_signal(scale: Scale, node: Service) -> Row:
    """From update_engine's signal to the request for the manifest, and a bare TLS handshake with the bucket."""
    figures, peers = [], []
    server = node.box.bucket_server
    for _ in range(scale.reactions):
        await node.box.update_engine.show(Step("IDLE"))
        await until_state(node, "done")
        asked = len(server.requests)
        begun = time.perf_counter()
        await node.announce()
        await server.wait_until(lambda seen, asked=asked: len(seen.requests) > asked)  # type: ignore[misc]
        figures.append(1000 * (time.perf_counter() - begun))
        await until_state(node, "staged")
        begun = time.perf_counter()
        context = node.box.bucket.authority.client_context()
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", server.port, ssl_context=context)
        await stream.do_handshake()
        peers.append(1000 * (time.perf_counter() - begun))
        await trio.aclose_forcefully(stream)
    what = "From update_engine's signal to the first request at the bucket"
    return Row(what, Unit.MILLISECONDS, figures, "a TLS handshake with the bucket", peers)


async def _to_annotation(scale: Scale, node: Service) -> Row:
    """From the operator's label to the annotation on a node that is prepared, and a plain GET of that node."""
    figures, peers = [], []
    await node.install()
    await until_state(node, "reboot-pending")
    for _ in range(scale.reactions):
        begun = time.perf_counter()
        node.ask()
        await node.until_answered()
        figures.append(1000 * (time.perf_counter() - begun))
        node.withdraw()
        begun = time.perf_counter()
        access = load_kubeconfig(node.path("/etc/kubernetes/kubeconfig"))
        async with open_client(access, Proxies()) as client:
            await get_node(client, NODE)
        peers.append(1000 * (time.perf_counter() - begun))
    what = f"From the operator's label to the annotation, staged ahead for {NEW_OS}"
    return Row(what, Unit.MILLISECONDS, figures, "a GET of the node with a new client", peers)


def _requests(directory: Path) -> Row:
    """What the daemon's watches and its timer ask of an API server where nothing changes, on the virtual clock."""
    cluster = Cluster(directory / "token")
    cluster.api.put_node(NODE)
    cluster.api.put_config_map("tectonic-system", "mappings", {})
    interval = combine().version_interval

    async def play() -> None:
        client = KubeClient(_Access(directory / "token"), cluster)  # type: ignore[arg-type]

        async def watch(source: Any) -> None:
            async with follow(source, lambda _ok, _detail: None, random=lambda: 0.5) as states:
                async for _ in states:
                    pass

        async def version() -> None:
            while True:
                await client.version()
                await trio.sleep(interval)

        with trio.move_on_after(_HOURS * 3600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch, watched_node(client, NODE))
                nursery.start_soon(watch, watched_config_map(client, "tectonic-system", "mappings"))
                nursery.start_soon(version)

    # A real thread would take real time, in which the virtual clock runs ahead.
    with mock.patch.object(trio.to_thread, "run_sync", inline):
        trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    asked = sum(cluster.requests.values()) / _HOURS
    beside = f"asking for the three every {_POLL:g} s"
    return Row("Requests of an idle node at the API server", Unit.AN_HOUR, [asked], beside, [3 * 3600 / _POLL])


class _Access:
    """What a KubeClient needs to know of its server."""

    where = "nowhere"
    server = "https://api.example"

    def __init__(self, token: Path) -> None:
        self._token = token

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._token.read_text(encoding='ascii').strip()}"}


async def _watch_events(scale: Scale) -> Row:
    """Watch events as a big cluster's node has them, read and compared; and their lines given to json.loads alone."""
    cluster = Cluster(Path("/dev/null"))
    cluster.api.put_node(NODE, labels={f"example.com/label-{each}": "x" * 20 for each in range(30)})
    node = cluster.api.node(NODE)
    lines = []
    for number in range(2, scale.events + 2):
        node["metadata"]["resourceVersion"] = str(number)
        lines.append(json.dumps({"type": "MODIFIED", "object": node}).encode() + b"\n")
    body = b"".join(lines)

    class Replayed(KubeClient):
        @asynccontextmanager
        async def stream(self, *_: object) -> AsyncIterator[Any]:
            yield _pieces(body)

    begun = time.perf_counter()
    source = watched_node(Replayed(None, cluster), NODE)  # type: ignore[arg-type]
    async with source.watch("1", 300, 60) as events:
        assert len([event async for event in events]) == scale.events
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    for each in lines:
        json.loads(each)
    bare = time.perf_counter() - begun
    what = f"Watch events of a node ({len(lines[0]) / 1000:.1f} kB each) handled"
    figures, peers = [scale.events / seconds], [scale.events / bare]
    return Row(what, Unit.A_SECOND, figures, "json.loads of each", peers, Target(Of.FIGURE, 1000, at_least=True))


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]
