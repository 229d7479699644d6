"""The daemon's own ends and beginnings: signals, reloads, kills in each state, and boots that bring nothing."""

from __future__ import annotations

import signal

import pytest

from tests.integration.daemon.bench import IMAGE, OpenService
from torcxd.sandbox.apiserver_faults import Fault
from torcxd.sandbox.sandbox import NEW_OS, OLD_OS


async def test_sigterm_ends_it_well_and_a_second_one_finds_the_lock_held(service: OpenService) -> None:
    async with service() as node:
        async with node.daemon() as daemon:
            await daemon.says("→ done")
            async with node.start("run", *node.box.flags) as second:
                await second.ended()
            assert second.code not in (0, None)
        assert daemon.code == 0
        assert "Stopped by SIGTERM" in daemon.stderr


async def test_a_reload_takes_a_good_configuration_and_refuses_a_wrong_one(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.node.write("/etc/torcxd/config.yaml", "node_annotation: 5 5\nnonsense: true\n")
        daemon.send(signal.SIGHUP)
        await daemon.says("The configuration was not reloaded, the old one is kept")
        assert "config.yaml" in daemon.stderr
        node.ask()
        await node.until_answered()
        node.withdraw()
        node.box.node.write("/etc/torcxd/config.yaml", "node_annotation: site.example/ok\n")
        daemon.send(signal.SIGHUP)
        await daemon.says("The configuration was reloaded.")
        node.ask()
        await node.until(lambda: node.annotations.get("site.example/ok") == "true")


@pytest.mark.accepts("N2")
@pytest.mark.parametrize(
    "line",
    [
        "→ gathering: news of the OS update",
        "gathering → fetching",
        "fetching → verified",
        "verified → staged",
        "staged → reboot-pending",
        "Told the update operator",
    ],
)
async def test_killed_in_any_state_it_resumes(service: OpenService, line: str) -> None:
    async with service() as node:
        await node.install()
        node.ask()
        async with node.daemon() as daemon:
            await daemon.says(line)
            daemon.send(signal.SIGKILL)
            await daemon.ended()
        async with node.daemon():
            await node.until_answered()
            await node.status_when(lambda report: report["state"] == "reboot-pending")
            assert f"{NEW_OS}/{IMAGE}" in node.stored()


@pytest.mark.accepts("A27", "N2", "I3")
@pytest.mark.parametrize("arrives", [True, False], ids=["the-patch-arrived", "it-did-not"])
async def test_killed_while_the_answer_is_on_its_way(service: OpenService, arrives: bool) -> None:
    async with service() as node:
        async with node.daemon() as daemon:
            await daemon.says("→ done")
            # The node is read, then patched.
            node.box.api.faults.extend([None, Fault.HANG])
            node.ask()
            patch = await node.hung_patch()
            if arrives:
                node.box.api.answer(patch)
            daemon.send(signal.SIGKILL)
            await daemon.ended()
        assert node.answered is arrives
        async with node.daemon() as daemon:
            await node.until_answered()
            await node.status_when(lambda report: report["hook"]["answered"] is True)
            assert "has to wait" not in daemon.stderr
        # Answered once, and never taken back.
        assert node.told == [(node.annotation, "true")]
        assert len(node.patches()) == (1 if arrives else 2)


@pytest.mark.accepts("N4", "I7")
async def test_an_update_that_is_rolled_back_is_told_and_tried_again_a_bounded_number_of_times(
    service: OpenService,
) -> None:
    async with service() as node:
        for boot in range(3):
            async with node.daemon() as daemon:
                await node.install()
                node.ask()
                await node.until_answered()
                node.withdraw()
            node.box.node.pending = None
            await node.box.reboot()
            async with node.daemon() as daemon:
                await daemon.says(f"OS {OLD_OS} runs instead of {NEW_OS}")
                assert (await node.status())["boots"] == {f"os {NEW_OS}": boot + 1}
        async with node.daemon() as daemon:
            await node.install()
            node.ask()
            await node.until_reason("was rolled back too often")
            assert not node.answered
            await daemon.says("The update operator has to wait")
