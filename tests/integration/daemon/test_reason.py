"""Why the update operator waits: told on the node at once, whatever is going on, and for as long as it asks.

An update operator may ask and withdraw at any moment, and an API server may carry out late what was cut off long ago.
"""

from __future__ import annotations

import pytest

from tests.integration.daemon.bench import MANIFEST, NODE, OpenService, Service
from torcxd.kube.operators import TRUE
from torcxd.sandbox.apiserver_faults import Fault as ApiFault
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.http_server import Request, Response

IMAGE = "17.03.torcx.tgz"
NOT_STAGED = "are not staged yet"


async def begun(node: Service) -> None:
    """Wait until an image is being downloaded."""
    await node.box.bucket_server.wait_until(lambda _: any(IMAGE in each for each in node.bucket_paths()))


async def arrives_late(node: Service, patch: Request) -> None:
    """The API server carries *patch* out after all: nothing may come of it any more."""
    before = dict(node.annotations)
    answer = node.box.api.answer(patch)
    assert isinstance(answer, Response)
    assert answer.status in {409, 422}
    assert node.annotations == before


@pytest.mark.accepts("A28")
async def test_asked_in_the_middle_of_a_download_it_is_told_at_once_and_nothing_is_cut_off(
    service: OpenService,
) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        released = node.box.bucket.hold(IMAGE)
        await node.install()
        await begun(node)
        for count in (1, 2):
            node.ask()
            await node.until_reason(NOT_STAGED)
            await node.until(lambda: len(node.events("TorcxRebootWithheld")) == count)  # noqa: B023
            node.withdraw()
            await node.until(lambda: node.reason not in node.annotations)
        node.ask()
        await node.until_reason(NOT_STAGED)
        assert (await node.status())["state"] == "fetching"
        released.set()
        await node.until_answered()
        assert node.reason not in node.annotations
        assert len([each for each in node.bucket_paths() if IMAGE in each]) == 1


@pytest.mark.accepts("A28")
async def test_a_reason_that_was_left_on_the_node_goes_when_nobody_asks(service: OpenService) -> None:
    """The daemon was not there when the question was withdrawn."""
    async with service() as node:
        node.box.api.patch_node(NODE, annotations={node.reason: "fetching failed: a long time ago"})
        async with node.daemon():
            await node.until(lambda: node.reason not in node.annotations)
            assert node.events("TorcxRebootWithheld") == []


@pytest.mark.accepts("A28")
async def test_a_reason_that_cannot_be_told_now_is_told_later(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.bucket.fail(MANIFEST, Fault.NOT_FOUND)
        await node.install()
        await daemon.says("Work in state fetching failed (attempt 1)")
        node.box.api.faults.extend([None, ApiFault.UNAVAILABLE])
        node.ask()
        await daemon.says("could not be told why")
        await node.until_reason("404")


@pytest.mark.accepts("A27", "A28", "I3")
async def test_a_reason_that_arrives_late_does_not_take_the_answer_back(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        released = node.box.bucket.hold(IMAGE)
        await node.install()
        await begun(node)
        node.box.api.faults.extend([None, ApiFault.HANG])
        node.ask()
        patch = await node.hung_patch()
        released.set()
        await node.until_answered()
        await arrives_late(node, patch)


@pytest.mark.accepts("A27", "A28", "I3", "I4")
async def test_an_answer_that_arrives_late_is_none(service: OpenService) -> None:
    """The node was prepared when the answer was sent, and before it arrived another OS version was installed."""
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.bucket.fail(MANIFEST, Fault.NOT_FOUND)
        node.box.api.faults.extend([None, ApiFault.HANG])
        node.ask()
        patch = await node.hung_patch()
        assert TRUE.encode() in patch.body
        await node.install()
        await node.until_reason("404")
        await arrives_late(node, patch)


@pytest.mark.accepts("A27", "A28")
async def test_a_reason_that_is_wiped_late_stays(service: OpenService) -> None:
    """The question was withdrawn and asked anew before the reason was gone."""
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.bucket.hold(IMAGE)
        await node.install()
        await begun(node)
        node.ask()
        await node.until_reason(NOT_STAGED)
        await node.until(lambda: len(node.events("TorcxRebootWithheld")) == 1)
        node.box.api.faults.extend([None, ApiFault.HANG])
        node.withdraw()
        patch = await node.hung_patch()
        node.ask()
        await node.status_when(lambda report: bool(report["hook"]["asked"]))
        await arrives_late(node, patch)
