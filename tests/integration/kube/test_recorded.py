"""The client takes the recorded answers of a real API server, byte by byte, for what they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from torcxd.errors import Kind
from torcxd.http import HttpError, Proxies
from torcxd.kube.access import ClusterAccess
from torcxd.kube.client import KubeClient, open_client
from torcxd.kube.events import EventType, create_event
from torcxd.kube.loaded import LoadedAccess
from torcxd.kube.nodes import Node, PreconditionFailed, get_node, patch_annotations
from torcxd.kube.reflector import follow
from torcxd.kube.watch import Expired, watched_node
from torcxd.sandbox.http_faults import send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, serve

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kube-apiserver"
BEFORE_REBOOT = "container-linux-update.v1.coreos.com/before-reboot"
NODE = Node("node-1", "a746d331-0c64-40a9-bc3b-04e8a86ff171", "197", {BEFORE_REBOOT: "true"}, {"other": "1"})


@asynccontextmanager
async def answering(
    answer: Callable[[Request], Awaitable[Response | RawBehaviour]],
) -> AsyncIterator[KubeClient]:
    async with (
        serve(answer) as server,
        open_client(LoadedAccess.of(ClusterAccess("a test", server.url)), Proxies.none()) as client,
    ):
        yield client


def raw(name: str) -> Callable[[Request], Awaitable[RawBehaviour]]:
    async def answer(_: Request) -> RawBehaviour:
        return send_then((FIXTURES / name).read_bytes())

    return answer


def watch_of(name: str) -> Callable[[Request], Awaitable[Response]]:
    """The recorded list and the recorded watch; the latter was recorded without its chunks."""

    async def answer(request: Request) -> Response:
        recorded = name if "watch" in request.query else "node-list.http"
        return Response(200, {}, (FIXTURES / recorded).read_bytes().partition(b"\r\n\r\n")[2])

    return answer


async def test_a_node() -> None:
    async with answering(raw("node.http")) as client:
        assert (await get_node(client, "node-1")).resource_version == "197"


async def test_a_patch_that_is_taken() -> None:
    async with answering(raw("patch.http")) as client:
        assert (await patch_annotations(client, NODE, {"x": "1"})).labels[BEFORE_REBOOT] == "true"


@pytest.mark.accepts("A28")
@pytest.mark.parametrize("name", ["patch-409-conflict.http", "json-patch-422-test-failed.http"])
async def test_a_patch_whose_condition_fails(name: str) -> None:
    async with answering(raw(name)) as client:
        with pytest.raises(PreconditionFailed):
            await patch_annotations(client, NODE, {"x": "1"}, expect_labels={BEFORE_REBOOT: "true"})


@pytest.mark.accepts("A28")
@pytest.mark.parametrize("name", ["patch-403.http", "patch-404.http", "401.http"])
async def test_a_patch_that_is_refused(name: str) -> None:
    async with answering(raw(name)) as client:
        with pytest.raises(HttpError) as caught:
            await patch_annotations(client, NODE, {"x": "1"})
    assert (caught.value.kind, caught.value.status) == (Kind.PERMANENT, int("".join(filter(str.isdigit, name))))


async def test_an_event_that_is_created() -> None:
    async with answering(raw("event-201.http")) as client:
        await create_event(client, NODE, "AddonStaged", "docker 17.03 staged for 1576.4.0", EventType.NORMAL)


@pytest.mark.accepts("A26")
async def test_a_watch() -> None:
    async with answering(watch_of("watch.http")) as client:
        source = watched_node(client, "node-1")
        async with follow(source, lambda ok, detail: None, random=lambda: 0.5) as nodes:
            before, asked, gone = [await anext(nodes) for _ in range(3)]
    assert before is not None
    assert before.labels == {"kubernetes.io/hostname": "node-1"}
    assert asked is not None
    assert asked.labels[BEFORE_REBOOT] == "true"
    assert gone is None


async def test_a_watch_from_what_is_forgotten() -> None:
    async with answering(watch_of("watch-410-in-band.http")) as client:
        source = watched_node(client, "node-1")
        async with source.watch("2", 300, 30) as events:
            with pytest.raises(Expired, match=r"too old resource version: 2 \(211\)"):
                await anext(events)
