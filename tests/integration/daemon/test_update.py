"""A whole OS update under the daemon's eyes: from its announcement to the boot that it brings."""

from __future__ import annotations

import json

import pytest
import trio

from tests.integration.daemon.bench import IMAGE, NODE, OpenService, Service
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR, OperatorNames
from torcxd.sandbox.operator import UpdateOperator
from torcxd.sandbox.sandbox import NEW_OS, OLD_OS


def operator_of(node: Service, rebooting: trio.Event) -> UpdateOperator:
    """An operator whose agent, in the end, asks for a reboot that never comes."""

    async def reboot() -> None:
        await node.box.reboot_requested()
        rebooting.set()
        await trio.sleep_forever()

    return UpdateOperator(
        node.box.api, NODE, names=node.names, before_reboot_annotations=[node.annotation], reboot=reboot
    )


@pytest.mark.accepts("A26", "A27", "A29", "N1", "N4", "N9", "I3", "I5")
@pytest.mark.parametrize(
    ("names", "flags"),
    [
        pytest.param(FLATCAR, [], id="fluo-found"),
        pytest.param(CONTAINER_LINUX, [], id="cluo-found"),
        pytest.param(FLATCAR, ["--update-operator=fluo"], id="fluo-set"),
        pytest.param(CONTAINER_LINUX, ["--update-operator=cluo"], id="cluo-set"),
    ],
)
async def test_from_announcement_to_verified_boot(service: OpenService, names: OperatorNames, flags: list[str]) -> None:
    async with service(names=names) as node:
        node.box.node.write("/var/lib/torcx/store/1409.7.0/old", "x")
        rebooting = trio.Event()
        operator = operator_of(node, rebooting)
        async with node.daemon(*flags) as daemon:
            await daemon.says("→ done")
            before = len(daemon.stderr)
            await node.announce()
            await daemon.says("verified → staged", since=before)
            assert f"{NEW_OS}/{IMAGE}" in node.stored()
            assert node.told == []
            await node.install()
            await daemon.says("→ reboot-pending")
            fetched = len(node.bucket_paths())
            async with trio.open_nursery() as nursery:
                operator.need_reboot(NEW_OS)
                nursery.start_soon(operator.run)
                await rebooting.wait()
                nursery.cancel_scope.cancel()
            assert node.told == [(node.annotation, "true"), (node.annotation, None)]
            await node.until(lambda: node.events("TorcxRebootReady") == ["prepared for the reboot"])
            # What was staged ahead is asked for once, and its set was complete before anybody was answered.
            assert len(node.bucket_paths()) == fetched
            assert not node.path("/var/lib/torcx/store/1409.7.0").exists()
            assert {each.name for each in node.path("/var/lib/torcx/store").iterdir()} == {OLD_OS, NEW_OS}
        await node.box.reboot()
        operator.start_agent(version=NEW_OS)
        async with node.daemon(*flags) as daemon:
            await daemon.says("the boot brought the set")
            await daemon.says("staged → done")
            assert (await node.status())["state"] == "done"
            assert {each.name for each in node.path("/var/lib/torcx/store").iterdir()} == {NEW_OS}
            assert node.box.records.of("Reboot") == []


@pytest.mark.accepts("A26", "A27")
async def test_the_answer_is_patched_under_a_precondition(service: OpenService) -> None:
    async with service() as node:
        async with node.daemon() as daemon:
            await daemon.says("→ done")
            node.ask()
            await node.until_answered()
        (patch,) = node.patches()
        operations = json.loads(patch.body)
        label = "/metadata/labels/" + node.names.before_reboot.replace("/", "~1")
        assert {"op": "test", "path": label, "value": "true"} in operations
        assert [each["op"] for each in operations if each["op"] != "test"] == ["add"]


@pytest.mark.accepts("A27")
async def test_everything_is_on_the_disk_before_the_answer(service: OpenService) -> None:
    """The operator asks first: the whole order is seen at once."""
    async with service() as node:
        node.box.node.write("/var/lib/torcx/store/1409.7.0/old", "x")
        seen: dict[str, bool] = {}

        async def look() -> None:
            await node.until_answered()
            seen["fetched"] = f"{NEW_OS}/{IMAGE}" in node.stored()
            seen["collected"] = not node.path("/var/lib/torcx/store/1409.7.0").exists()

        async with trio.open_nursery() as nursery, node.daemon():
            nursery.start_soon(look)
            node.ask()
            await node.install()
            await node.until_answered()
        assert seen == {"fetched": True, "collected": True}
