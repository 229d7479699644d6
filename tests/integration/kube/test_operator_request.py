"""A client that answers the update operator's request as it comes, is taken back, and comes again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from torcxd.kube.client import KubeClient
from torcxd.kube.nodes import Node, PreconditionFailed, get_node, patch_annotations
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR, HOOK_ANNOTATION, OperatorNames, detect
from torcxd.kube.reflector import follow
from torcxd.kube.watch import watched_node
from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.operator import UpdateOperator

pytestmark = pytest.mark.accepts("A26")

NODE = "node-1"
# Ends a test that hangs; nothing takes as long.
PATIENCE = 30


async def until_asked(nodes: AsyncIterator[Node | None], names: OperatorNames) -> Node:
    """The first state of the node in which the operator waits for an answer."""
    async for node in nodes:
        if node is not None and names.asks(node):
            assert detect(node) is names
            return node
    raise AssertionError("it never asked")


@pytest.mark.parametrize("names", [CONTAINER_LINUX, FLATCAR])
async def test_an_answer_lets_the_node_reboot(client: KubeClient, api: ApiServer, names: OperatorNames) -> None:
    rebooting = trio.Event()

    async def reboot() -> None:
        rebooting.set()
        await trio.sleep_forever()

    api.put_node(NODE, annotations={"volumes.kubernetes.io/controller-managed-attach-detach": "true"})
    operator = UpdateOperator(api, NODE, names=names, reboot=reboot)
    operator.start_agent(version="1520.8.0")
    with trio.fail_after(PATIENCE):
        async with (
            trio.open_nursery() as nursery,
            follow(watched_node(client, NODE), lambda ok, detail: None, random=lambda: 0.5) as nodes,
        ):
            nursery.start_soon(operator.run)
            operator.need_reboot("1576.4.0")
            node = await until_asked(nodes, names)
            assert not rebooting.is_set()
            await patch_annotations(
                client, node, {HOOK_ANNOTATION: "true"}, expect_labels={names.before_reboot: "true"}
            )
            await rebooting.wait()
            nursery.cancel_scope.cancel()
    annotations = api.node(NODE)["metadata"]["annotations"]
    assert annotations[names.reboot_in_progress] == "true"
    # The operator has taken the answer away, so that it counts once.
    assert HOOK_ANNOTATION not in annotations


@pytest.mark.accepts("A28")
async def test_an_answer_to_a_request_that_was_taken_back_is_not_given(client: KubeClient, api: ApiServer) -> None:
    async def reboot() -> None:
        raise AssertionError("the node was not prepared")

    api.put_node(NODE)
    operator = UpdateOperator(api, NODE, reboot=reboot)
    operator.start_agent(version="1520.8.0")
    operator.need_reboot("1576.4.0")
    expected = {FLATCAR.before_reboot: "true"}
    with trio.fail_after(PATIENCE):
        async with follow(watched_node(client, NODE), lambda ok, detail: None, random=lambda: 0.5) as nodes:
            operator.look()
            asked = await until_asked(nodes, FLATCAR)
            operator.pause()
            operator.look()
            with pytest.raises(PreconditionFailed):
                await patch_annotations(client, asked, {HOOK_ANNOTATION: "true"}, expect_labels=expected)
            paused = await get_node(client, NODE)
            assert HOOK_ANNOTATION not in paused.annotations
            assert not FLATCAR.asks(paused)
            operator.resume()
            operator.look()
            again = await until_asked(nodes, FLATCAR)
            await patch_annotations(client, again, {HOOK_ANNOTATION: "true"}, expect_labels=expected)
            operator.look()
    assert api.node(NODE)["metadata"]["annotations"][FLATCAR.reboot_ok] == "true"
