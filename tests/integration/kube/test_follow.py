"""Following a node and a ConfigMap over real connections, through all that a watch can suffer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing
import yaml

from torcxd.http import Proxies, Timeouts
from torcxd.kube.client import KubeClient, open_client
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.kube.nodes import Node, patch_annotations
from torcxd.kube.reflector import DEFAULT_PACE, Pace, follow
from torcxd.kube.watch import NamedObject, watched_config_map, watched_node
from torcxd.lifecycle import retry
from torcxd.sandbox.apiserver import ApiServer, Fault
from torcxd.sandbox.apiserver_watch import WatchFault
from torcxd.sandbox.http_server import Server

T = TypeVar("T")
CreateNode = Callable[..., Awaitable[Node]]
NODE = "node-1"
# Ends a test that hangs; nothing takes as long.
PATIENCE = 30


class Follower:
    """Follows without waiting between the tries.

    :ivar told: what was told of the health, repeats once.
    :ivar pauses: how long it would have waited.
    """

    def __init__(self) -> None:
        self.told: list[tuple[bool, str]] = []
        self.pauses: list[float] = []
        self.paused = trio.Event()

    def on_health(self, ok: bool, detail: str) -> None:
        if self.told[-1:] != [(ok, detail)]:
            self.told.append((ok, detail))

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.paused.set()
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def following(
        self, source: NamedObject[T], pace: Pace = DEFAULT_PACE
    ) -> AsyncIterator[AsyncIterator[T | None]]:
        with trio.fail_after(PATIENCE):
            async with follow(source, self.on_health, random=lambda: 0.5, pace=pace, pause=self.pause) as objects:
                yield objects

    def failures(self) -> list[str]:
        return [detail for ok, detail in self.told if not ok]


def is_watched(server: Server) -> bool:
    return any("watch" in each.query for each in server.requests)


@pytest.fixture
def follower() -> Follower:
    return Follower()


@pytest.mark.accepts("A26")
async def test_a_node_is_followed_through_its_life(
    cluster: KubeClient, create_node: CreateNode, follower: Follower
) -> None:
    node = await create_node(annotations={"n": "0"})
    async with follower.following(watched_node(cluster, node.name)) as nodes:
        assert await anext(nodes) == node
        changed = await patch_annotations(cluster, node, {"n": "1"})
        assert await anext(nodes) == changed
        await create_node()  # of others nothing is told
        await cluster.send("DELETE", f"/api/v1/nodes/{node.name}", {})
        assert await anext(nodes) is None
        anew = await create_node(name=node.name)
        assert await anext(nodes) == anew
    assert follower.failures() == []


@pytest.mark.accepts("A14")
async def test_a_config_map_is_followed(cluster: KubeClient, follower: Follower) -> None:
    def config_map(data: dict[str, str]) -> dict[str, object]:
        return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "followed"}, "data": data}

    path = "/api/v1/namespaces/default/configmaps"
    async with follower.following(watched_config_map(cluster, "default", "followed")) as maps:
        assert await anext(maps) is None
        await cluster.send("POST", path, config_map({"a": "1"}))
        assert await anext(maps) == {"a": "1"}
        merge = "application/merge-patch+json"
        await cluster.send("PATCH", f"{path}/followed", {"data": {"a": "2"}}, merge)
        assert await anext(maps) == {"a": "2"}
        await cluster.send("DELETE", f"{path}/followed", {})
        assert await anext(maps) is None
    assert follower.failures() == []


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (WatchFault.GONE, "status 410"),
        (WatchFault.EXPIRED, "the watch of the node node-1 ended with status 410: too old resource version"),
        (WatchFault.ERROR, "ended with status 500: etcdserver: no leader"),
        (WatchFault.END, "ended the watch as soon as it had begun"),
        (WatchFault.HALF_CLOSE, "closed the connection before the end of the answer"),
        (WatchFault.NOT_JSON, "a watch event: it is no object with an object"),
        (WatchFault.ENDLESS_LINE, "a line of more than 16777216 bytes"),
        (WatchFault.CUT_MID_LINE, "closed the connection before the end of the answer"),
        (WatchFault.DUPLICATE, None),
        (WatchFault.REORDER, None),
        (WatchFault.SLOW, None),
    ],
)
async def test_whatever_a_watch_suffers_the_latest_state_arrives(
    client: KubeClient, api: ApiServer, server: Server, follower: Follower, fault: WatchFault, failure: str | None
) -> None:
    api.put_node(NODE, annotations={"n": "0"})
    api.watches.faults.append(fault)
    seen = []
    async with follower.following(watched_node(client, NODE)) as nodes:
        async for node in nodes:
            assert node is not None
            seen.append(node.annotations["n"])
            if seen[-1] == "0":
                for each in ("1", "2"):
                    api.patch_node(NODE, annotations={"n": each})
            if seen[-1] == "2":
                break
    # Never an older one after a newer one.
    assert seen == sorted(set(seen))
    assert [failure is None or failure in each for each in follower.failures()] == [True] * (failure is not None)
    assert follower.pauses == [pytest.approx(retry.FIRST_DELAY)] * (failure is not None)
    assert follower.told[-1] == (True, "the node node-1: watched")


async def test_a_connection_on_which_nothing_comes_is_given_up(
    client: KubeClient, api: ApiServer, server: Server, follower: Follower
) -> None:
    api.put_node(NODE, annotations={"n": "0"})
    api.watches.faults.append(WatchFault.STALL)
    async with follower.following(watched_node(client, NODE), Pace(watch=0.1, grace=0)) as nodes:
        await anext(nodes)
        api.patch_node(NODE, annotations={"n": "1"})
        node = await anext(nodes)
    assert node is not None
    assert node.annotations == {"n": "1"}
    assert "nothing arrived for" in follower.failures()[0]


async def test_a_watch_asks_for_one_object_with_bookmarks_and_an_end(
    client: KubeClient, api: ApiServer, server: Server, follower: Follower
) -> None:
    api.put_node(NODE)
    api.put_node("node-2")
    async with follower.following(watched_node(client, NODE)) as nodes:
        await anext(nodes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, nodes)
            await server.wait_until(is_watched)
            nursery.cancel_scope.cancel()
    listed, watched = server.requests
    assert listed.query == {"fieldSelector": f"metadata.name={NODE}"}
    assert watched.query == {
        "fieldSelector": f"metadata.name={NODE}",
        "watch": "true",
        # Of the whole list, which has seen the other node.
        "resourceVersion": str(api.store.revision),
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "270",
    }


async def test_cancellation_closes_the_connection(
    client: KubeClient, api: ApiServer, server: Server, follower: Follower
) -> None:
    api.put_node(NODE)
    async with follower.following(watched_node(client, NODE)) as nodes:
        await anext(nodes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, nodes)
            await server.wait_until(is_watched)
            nursery.cancel_scope.cancel()
        await server.wait_until(lambda server: server.open_connections == 0)
    assert follower.failures() == []


async def test_leaving_between_two_states_closes_the_connection(
    client: KubeClient, api: ApiServer, server: Server, follower: Follower
) -> None:
    api.put_node(NODE, annotations={"n": "0"})
    async with follower.following(watched_node(client, NODE)) as nodes:
        await anext(nodes)
        api.patch_node(NODE, annotations={"n": "1"})
        await anext(nodes)
        assert server.open_connections == 1
    await server.wait_until(lambda server: server.open_connections == 0)


async def test_a_renewed_token_is_taken_up(api: ApiServer, follower: Follower, tmp_path: Path) -> None:
    api.put_node(NODE, annotations={"n": "0"})
    async with api.serve() as server:
        kubeconfig = yaml.safe_load(api.kubeconfig(server.url))
        token = tmp_path / "token"
        token.write_text(str(api.token))
        kubeconfig["users"][0]["user"] = {"tokenFile": str(token)}
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(kubeconfig))
        async with (
            open_client(load_kubeconfig(path), Proxies.none()) as client,
            follower.following(watched_node(client, NODE)) as nodes,
        ):
            await anext(nodes)
            api.token = "s3cr3t-2"
            api.patch_node(NODE, annotations={"n": "1"})
            async with trio.open_nursery() as nursery:

                async def renew() -> None:
                    await follower.paused.wait()
                    token.write_text("s3cr3t-2")

                nursery.start_soon(renew)
                node = await anext(nodes)
            assert node is not None
            assert node.annotations == {"n": "1"}
    assert "status 401: Unauthorized (renew the credentials" in follower.failures()[0]
    assert follower.told[-1][0]
    assert "s3cr3t" not in str(follower.told)


async def test_a_server_that_comes_back_is_found_again(api: ApiServer, follower: Follower, tmp_path: Path) -> None:
    api.put_node(NODE, annotations={"n": "0"})
    path = tmp_path / "kubeconfig"

    async def serve(port: int, *, task_status: trio.TaskStatus[tuple[Server, trio.CancelScope]]) -> None:
        with trio.CancelScope() as scope:
            async with api.serve(port) as server:
                task_status.started((server, scope))
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        server, stop = await nursery.start(serve, 0)
        path.write_text(api.kubeconfig(server.url))
        async with (
            open_client(load_kubeconfig(path), Proxies.none()) as client,
            follower.following(watched_node(client, NODE)) as nodes,
        ):
            await anext(nodes)
            stop.cancel()

            async def come_back() -> None:
                await follower.paused.wait()
                api.patch_node(NODE, annotations={"n": "1"})
                await nursery.start(serve, server.port)

            nursery.start_soon(come_back)
            node = await anext(nodes)
        nursery.cancel_scope.cancel()
    assert node is not None
    assert node.annotations == {"n": "1"}
    assert "127.0.0.1" in follower.failures()[0]


async def test_a_node_with_ten_megabytes_of_annotations_arrives(
    client: KubeClient, api: ApiServer, follower: Follower
) -> None:
    large = {f"a{number}": "x" * 100_000 for number in range(100)}
    api.put_node(NODE, annotations=large)
    async with follower.following(watched_node(client, NODE)) as nodes:
        node = await anext(nodes)
        assert node is not None
        assert node.annotations == large
        api.patch_node(NODE, annotations={"n": "1"})
        node = await anext(nodes)
        assert node is not None
        assert len(node.annotations) == 101
    assert follower.failures() == []


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.HTML, Fault.HALF_JSON, Fault.HANG, Fault.WRONG_SHAPE])
async def test_a_list_that_fails_is_repeated(api: ApiServer, follower: Follower, tmp_path: Path, fault: Fault) -> None:
    api.put_node(NODE)
    api.faults.append(fault)
    # For nothing else is the machine to be in time, and for this it may well be late a second time.
    timeouts = Timeouts(first_byte=0.2) if fault is Fault.HANG else Timeouts()
    path = tmp_path / "kubeconfig"
    async with api.serve() as server:
        path.write_text(api.kubeconfig(server.url))
        async with (
            open_client(load_kubeconfig(path), Proxies.none(), timeouts) as client,
            follower.following(watched_node(client, NODE)) as nodes,
        ):
            assert await anext(nodes) is not None
    assert len(follower.failures()) == 1 or (fault is Fault.HANG and follower.failures())
    if fault is Fault.FORBIDDEN:
        assert 'cannot list resource "nodes"' in follower.failures()[0]
        assert f'resourceNames ["{NODE}"] and verbs ["list", "watch"]' in follower.failures()[0]
