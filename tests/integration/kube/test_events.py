"""Events about a node, as ``kubectl describe node`` looks for them."""

from __future__ import annotations

from typing import Any

import pytest

from torcxd.errors import Kind
from torcxd.http import HttpError
from torcxd.kube.client import KubeClient
from torcxd.kube.events import EventType, create_event
from torcxd.kube.nodes import Node
from torcxd.sandbox.apiserver import ApiServer

NODE = Node("node-1", "a746d331-0c64-40a9-bc3b-04e8a86ff171", "1", {}, {})


class FixedClock:
    def now(self) -> float:
        return 1_511_000_000.75


async def events(client: KubeClient) -> list[dict[str, Any]]:
    listed = await client.get("/api/v1/namespaces/default/events", "an administrator")
    return [each for each in listed["items"] if each["source"].get("component") == "torcxd"]


async def test_an_event_is_found_by_the_name_of_its_node(cluster: KubeClient) -> None:
    await create_event(cluster, NODE, "AddonMissing", "x" * 2000, EventType.WARNING, clock=FixedClock())
    event = (await events(cluster))[-1]
    assert event["metadata"]["name"].startswith("node-1.")
    # As in the recorded one: the uid is the node's name.
    assert event["involvedObject"] == {"kind": "Node", "name": "node-1", "uid": "node-1"}
    assert (event["reason"], event["type"], event["count"]) == ("AddonMissing", "Warning", 1)
    assert event["message"] == "x" * 1024
    assert event["source"] == {"component": "torcxd", "host": "node-1"}
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2017-11-18T10:13:20Z"


async def test_each_call_is_an_event_of_its_own(cluster: KubeClient) -> None:
    before = len(await events(cluster))
    for _ in range(2):
        await create_event(cluster, NODE, "AddonStaged", "docker 17.03 staged for 1576.4.0", EventType.NORMAL)
    names = {each["metadata"]["name"] for each in await events(cluster)}
    assert len(names) == before + 2


async def test_a_refusal_can_be_told_and_names_the_rule(client: KubeClient, api: ApiServer) -> None:
    api.forbidden.add(("create", "events"))
    with pytest.raises(HttpError, match="cannot create resource") as caught:
        await create_event(client, NODE, "AddonStaged", "docker 17.03", EventType.NORMAL)
    assert (caught.value.kind, caught.value.status) == (Kind.PERMANENT, 403)
    assert 'a Role in the namespace default with apiGroups [""], resources ["events"]' in caught.value.hint
    assert api.events() == []
