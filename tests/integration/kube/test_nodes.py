"""Changing a node's annotations under conditions, which the API server itself must check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from torcxd.errors import Kind
from torcxd.http import HttpError
from torcxd.kube.client import KubeClient
from torcxd.kube.nodes import Node, PreconditionFailed, get_node, patch_annotations
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR, HOOK_ANNOTATION, OperatorNames
from torcxd.sandbox.apiserver import ApiServer, Fault

CreateNode = Callable[..., Awaitable[Node]]
SUCCESS = {HOOK_ANNOTATION: "true"}


@pytest.mark.accepts("A26", "A28")
@pytest.mark.parametrize("names", [CONTAINER_LINUX, FLATCAR])
async def test_success_is_said_while_it_is_asked_for(
    cluster: KubeClient, create_node: CreateNode, names: OperatorNames
) -> None:
    node = await create_node({names.before_reboot: "true"}, {"other": "1"})
    after = await patch_annotations(cluster, node, SUCCESS, expect_labels={names.before_reboot: "true"})
    assert after.annotations == {"other": "1", HOOK_ANNOTATION: "true"}
    assert await get_node(cluster, node.name) == after


@pytest.mark.accepts("A26", "A28")
async def test_success_is_not_said_once_the_request_is_withdrawn(cluster: KubeClient, create_node: CreateNode) -> None:
    node = await create_node({FLATCAR.before_reboot: "true"}, {"other": "1"})
    withdraw = [{"op": "remove", "path": f"/metadata/labels/{FLATCAR.before_reboot.replace('/', '~1')}"}]
    response = await cluster.send(
        "PATCH", f"/api/v1/nodes/{node.name}", withdraw, content_type="application/json-patch+json"
    )
    assert response.status == 200
    with pytest.raises(PreconditionFailed, match="the node has changed meanwhile") as caught:
        await patch_annotations(cluster, node, SUCCESS, expect_labels={FLATCAR.before_reboot: "true"})
    assert caught.value.kind is Kind.TRANSIENT
    assert node.name in str(caught.value)
    assert HOOK_ANNOTATION not in (await get_node(cluster, node.name)).annotations


async def test_the_first_annotation_does_not_wipe_one_that_came_meanwhile(
    cluster: KubeClient, create_node: CreateNode
) -> None:
    node = await create_node()
    assert node.annotations == {}
    other = await patch_annotations(cluster, node, {"other": "1"})
    with pytest.raises(PreconditionFailed):
        await patch_annotations(cluster, node, SUCCESS)
    both = await patch_annotations(cluster, other, SUCCESS)
    assert both.annotations == {"other": "1", **SUCCESS}


async def test_names_with_slashes_and_values_with_anything_arrive_as_they_are(
    cluster: KubeClient, create_node: CreateNode
) -> None:
    node = await create_node(annotations={"torcxd.io/reason": "old", "torcxd.io/gone": "x"})
    reason = 'docker 17.03: no "~1/" \u2013 in\nthe manifest'
    after = await patch_annotations(
        cluster,
        node,
        {"torcxd.io/reason": reason, "torcxd.io/gone": None, "torcxd.io/never": None},
        expect_annotations={"torcxd.io/reason": "old", "torcxd.io/never": None},
    )
    assert after.annotations == {"torcxd.io/reason": reason}


async def test_what_must_be_absent_and_is_not_prevents_the_change(cluster: KubeClient, create_node: CreateNode) -> None:
    node = await create_node(annotations={"held": "by another"})
    with pytest.raises(PreconditionFailed):
        await patch_annotations(cluster, node, SUCCESS, expect_annotations={"held": None})


async def test_a_node_that_was_made_anew_is_another_one(cluster: KubeClient, create_node: CreateNode) -> None:
    node = await create_node({FLATCAR.before_reboot: "true"}, {"other": "1"})
    await cluster.send("DELETE", f"/api/v1/nodes/{node.name}", {})
    await create_node({FLATCAR.before_reboot: "true"}, {"other": "1"}, node.name)
    with pytest.raises(PreconditionFailed):
        await patch_annotations(cluster, node, SUCCESS, expect_labels={FLATCAR.before_reboot: "true"})


async def test_a_missing_node_is_permanent_and_named(cluster: KubeClient, create_node: CreateNode) -> None:
    with pytest.raises(HttpError, match='nodes "none" not found') as caught:
        await get_node(cluster, "none")
    assert (caught.value.kind, caught.value.status) == (Kind.PERMANENT, 404)
    gone = Node("none", "u", "1", {}, {"other": "1"})
    with pytest.raises(HttpError, match='nodes "none" not found'):
        await patch_annotations(cluster, gone, SUCCESS)


async def test_an_invalid_annotation_is_no_precondition(cluster: KubeClient, create_node: CreateNode) -> None:
    node = await create_node(annotations={"other": "1"})
    with pytest.raises(HttpError, match="no more than 63") as caught:
        await patch_annotations(cluster, node, {"x" * 64: "true"})
    assert (caught.value.kind, caught.value.status) == (Kind.PERMANENT, 422)


async def test_early_api_servers_call_a_failed_test_an_internal_error(client: KubeClient, api: ApiServer) -> None:
    api.put_node("node-1", annotations={"other": "1"})
    api.early = True
    node = await get_node(client, "node-1")
    with pytest.raises(PreconditionFailed):
        await patch_annotations(client, node, SUCCESS, expect_labels={FLATCAR.before_reboot: "true"})


async def test_a_refused_patch_names_the_rule(client: KubeClient, api: ApiServer) -> None:
    api.put_node("node-1", annotations={"other": "1"})
    api.forbidden.add(("patch", "nodes"))
    with pytest.raises(HttpError, match='cannot patch resource "nodes"') as caught:
        await patch_annotations(client, await get_node(client, "node-1"), SUCCESS)
    assert caught.value.kind is Kind.PERMANENT
    assert 'resources ["nodes"], resourceNames ["node-1"] and verbs ["patch"]' in caught.value.hint


@pytest.mark.accepts("A28")
@pytest.mark.parametrize("fault", [Fault.INTERNAL, Fault.UNAVAILABLE, Fault.RESET, Fault.HTML_ERROR, Fault.TOO_MANY])
async def test_a_failed_patch_is_transient_and_changes_nothing(
    client: KubeClient, api: ApiServer, fault: Fault
) -> None:
    api.put_node("node-1", annotations={"other": "1"})
    node = await get_node(client, "node-1")
    api.faults.append(fault)
    with pytest.raises(HttpError) as caught:
        await patch_annotations(client, node, SUCCESS)
    assert caught.value.kind is Kind.TRANSIENT
    assert await get_node(client, "node-1") == node
