"""The update operator's stand-in takes a node through the sequence that was recorded of a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR, HOOK_ANNOTATION, OperatorNames
from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.operator import UpdateOperator

RECORDED = Path(__file__).parents[2] / "fixtures" / "update-operator" / "fluo-before-reboot.jsonl"
NODE = "node-1"


async def never() -> None:
    raise AssertionError("nobody may reboot here")


@pytest.fixture
def api() -> ApiServer:
    api = ApiServer(token="t")
    api.put_node(NODE)
    return api


def states(api: ApiServer) -> list[dict[str, Any]]:
    """The node's labels and annotations after each of its changes."""
    found = [each.object["metadata"] for each in api.store.changes]
    return [{name: each.get(name, {}) for name in ("annotations", "labels")} for each in found]


def recorded(names: OperatorNames) -> list[dict[str, Any]]:
    text = RECORDED.read_text().replace(FLATCAR.prefix, names.prefix)
    return [{name: json.loads(line)[name] for name in ("annotations", "labels")} for line in text.splitlines()]


@pytest.mark.parametrize("names", [FLATCAR, CONTAINER_LINUX])
async def test_the_sequence_is_the_recorded_one(api: ApiServer, names: OperatorNames) -> None:
    hook = names.prefix + HOOK_ANNOTATION
    operator = UpdateOperator(api, NODE, names=names, before_reboot_annotations=[hook], reboot=never)
    operator.start_agent(version="1520.8.0")
    operator.need_reboot("1576.4.0")
    operator.look()
    api.patch_node(NODE, annotations={hook: "true"})
    operator.look()
    assert states(api)[1:] == recorded(names)


async def test_the_agent_reboots_once_it_may_and_all_begins_anew(api: ApiServer) -> None:
    rebooted = 0

    async def reboot() -> None:
        nonlocal rebooted
        rebooted += 1
        operator.start_agent(version="1576.4.0")

    operator = UpdateOperator(api, NODE, reboot=reboot)
    operator.start_agent(version="1520.8.0")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operator.run)
        for count in (1, 2):
            operator.need_reboot("1576.4.0")
            await trio.testing.wait_all_tasks_blocked()
            assert api.node(NODE)["metadata"]["labels"][FLATCAR.before_reboot] == "true"
            api.patch_node(NODE, annotations={HOOK_ANNOTATION: "true"})
            await trio.testing.wait_all_tasks_blocked()
            assert rebooted == count
        nursery.cancel_scope.cancel()
    annotations = api.node(NODE)["metadata"]["annotations"]
    assert (annotations[FLATCAR.reboot_ok], annotations[FLATCAR.reboot_in_progress]) == ("false", "false")


async def test_what_is_set_too_early_is_lost(api: ApiServer) -> None:
    operator = UpdateOperator(api, NODE, reboot=never)
    operator.start_agent(version="1520.8.0")
    api.patch_node(NODE, annotations={HOOK_ANNOTATION: "true"})
    operator.need_reboot("1576.4.0")
    operator.look()
    operator.look()
    metadata = api.node(NODE)["metadata"]
    assert HOOK_ANNOTATION not in metadata["annotations"]
    assert metadata["labels"][FLATCAR.before_reboot] == "true"


async def test_a_pause_takes_the_request_back_and_its_end_makes_it_again(api: ApiServer) -> None:
    operator = UpdateOperator(api, NODE, reboot=never)
    operator.start_agent(version="1520.8.0")
    operator.need_reboot("1576.4.0")
    operator.look()
    operator.pause()
    api.patch_node(NODE, annotations={HOOK_ANNOTATION: "true"})
    operator.look()
    metadata = api.node(NODE)["metadata"]
    assert FLATCAR.before_reboot not in metadata["labels"]
    assert HOOK_ANNOTATION not in metadata["annotations"]
    assert FLATCAR.reboot_ok not in metadata["annotations"]
    operator.resume()
    operator.look()
    assert api.node(NODE)["metadata"]["labels"][FLATCAR.before_reboot] == "true"
