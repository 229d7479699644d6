"""The watches of the API server stand-in, beside those that were recorded from a real one."""

from __future__ import annotations

import http.client
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.apiserver_watch import WatchFault

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kube-apiserver"
LABELS = {"kubernetes.io/hostname": "node-1"}
BEFORE_REBOOT = "container-linux-update.v1.coreos.com/before-reboot"
REBOOT_NEEDED = "container-linux-update.v1.coreos.com/reboot-needed"

Fetch = Callable[..., Awaitable[Any]]
Watch = Callable[..., Awaitable[list[dict[str, Any]]]]


def recorded(name: str) -> list[dict[str, Any]]:
    body = (FIXTURES / name).read_bytes().partition(b"\r\n\r\n")[2]
    return [json.loads(line) for line in body.splitlines()]


def shape(value: Any) -> Any:
    """The names and types in *value*."""
    return {name: shape(each) for name, each in value.items()} if isinstance(value, dict) else type(value)


@pytest.fixture
def api() -> ApiServer:
    api = ApiServer(token="t0ken")
    api.put_node("node-1", labels=LABELS)
    return api


@pytest.fixture
def watch(api: ApiServer, fetch: Fetch) -> Watch:
    """``await watch(revision)`` gets what a watch of the node has to say at once."""

    async def watch(revision: str, *, bookmarks: bool = False) -> list[dict[str, Any]]:
        query = "watch=true&fieldSelector=metadata.name%3Dnode-1&timeoutSeconds=0"
        query += "&allowWatchBookmarks=true" if bookmarks else ""
        async with api.serve() as server:
            answer = await fetch(
                f"{server.url}/api/v1/nodes?{query}&resourceVersion={revision}",
                api.authority.client_context(),
                {"Authorization": "Bearer t0ken"},
            )
        assert answer.status == 200
        return [json.loads(line) for line in answer.body.splitlines()]

    return watch


async def test_it_tells_of_changes_as_the_real_one_did(api: ApiServer, watch: Watch) -> None:
    seen = api.node("node-1")["metadata"]["resourceVersion"]
    api.patch_node("node-1", labels={BEFORE_REBOOT: "true"}, annotations={REBOOT_NEEDED: "true"})
    api.put_node("node-2")
    api.store.delete(next(iter(api.store.objects)))
    real = recorded("watch.http")[:2]
    given = await watch(seen)
    assert [each["type"] for each in given] == [each["type"] for each in real]
    assert [shape(each) for each in given] == [shape(each) for each in real]
    # A deletion has a version of its own.
    assert given[1]["object"]["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_a_bookmark_is_that_of_the_real_one_and_tells_of_others_changes(api: ApiServer, watch: Watch) -> None:
    seen = api.node("node-1")["metadata"]["resourceVersion"]
    api.put_node("node-2")
    real = recorded("watch.http")[2]["object"]["metadata"]
    given = (await watch(seen, bookmarks=True))[0]
    assert given["type"] == "BOOKMARK"
    assert shape(given["object"]["metadata"]) == shape(real)
    assert given["object"]["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_what_is_forgotten_is_an_error_within_the_answer(api: ApiServer, watch: Watch) -> None:
    api.patch_node("node-1", annotations={REBOOT_NEEDED: "true"})
    api.store.compact()
    real = recorded("watch-410-in-band.http")[0]
    given = (await watch("1"))[0]
    assert given["object"].pop("message") == "too old resource version: 1 (2)"
    assert real["object"].pop("message") == "too old resource version: 2 (211)"
    assert given == real


async def test_without_a_version_what_there_is_comes_first(watch: Watch) -> None:
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in await watch("0")] == [("ADDED", "node-1")]


@pytest.mark.parametrize(
    ("fault", "order"), [(WatchFault.DUPLICATE, ["2", "2", "3", "3"]), (WatchFault.REORDER, ["3", "2"])]
)
async def test_events_can_come_twice_or_in_the_wrong_order(
    api: ApiServer, watch: Watch, fault: WatchFault, order: list[str]
) -> None:
    api.patch_node("node-1", annotations={REBOOT_NEEDED: "true"})
    api.patch_node("node-1", annotations={REBOOT_NEEDED: "false"})
    api.watches.faults.append(fault)
    assert [each["object"]["metadata"]["resourceVersion"] for each in await watch("1")] == order


async def test_a_watch_can_be_cut_in_the_middle_of_a_line(api: ApiServer, watch: Watch) -> None:
    api.patch_node("node-1", annotations={REBOOT_NEEDED: "true"})
    api.watches.faults.append(WatchFault.CUT_MID_LINE)
    with pytest.raises(http.client.IncompleteRead) as caught:
        await watch("1")
    assert caught.value.partial.startswith(b'{"type":"MODIFIED","object":{"kind":"Node"')
