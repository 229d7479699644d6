"""The update operator's question: answered when it is safe, withheld with a reason when it is not."""

from __future__ import annotations

import pytest

from tests.integration.daemon.bench import IMAGE, MANIFEST, NODE, OpenService, Service
from torcxd.sandbox.apiserver_faults import Fault as ApiFault
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.sandbox import BOARD, NEW_OS
from torcxd.sandbox.update_engine import Step


def never_answered(node: Service) -> bool:
    return (node.annotation, "true") not in node.told


@pytest.mark.accepts("A26", "A28", "I3", "I4", "N3")
async def test_an_update_that_was_forgotten_is_not_answered_for(service: OpenService) -> None:
    async with service() as node:
        await node.forget()
        node.ask()
        async with node.daemon() as daemon:
            await node.until_reason("update_engine does not say which version")
            await node.until(lambda: len(node.events("TorcxRebootWithheld")) == 1)
            assert never_answered(node)
            assert "update_engine to tell" in (await node.status())["waiting_for"]
            # It remembers, as far as a test can make it.
            await node.install()
            await node.until_answered()
            await node.until(lambda: node.reason not in node.annotations)
            await daemon.says("The update operator may reboot this node.")


@pytest.mark.accepts("I4", "N3")
async def test_a_version_that_was_forgotten_comes_back_from_the_record(service: OpenService) -> None:
    async with service() as node:
        async with node.daemon() as daemon:
            await node.install()
            await daemon.says("→ reboot-pending")
        # update_engine was restarted, too.
        await node.forget()
        node.ask()
        async with node.daemon():
            await node.until_answered()
            assert not [reason for _, reason in node.told if reason and "does not say" in reason]


@pytest.mark.accepts("I3", "I4", "N3")
async def test_a_version_that_was_superseded_unheard_and_forgotten_is_not_believed(service: OpenService) -> None:
    async with service() as node:
        async with node.daemon() as daemon:
            await node.install()
            await daemon.says("→ reboot-pending")
        # While no daemon runs, another update takes its place.
        await node.reset()
        await node.install("1632.3.0")
        await node.forget()
        node.ask()
        async with node.daemon() as daemon:
            await node.until_reason("update_engine does not say which version")
            assert never_answered(node)
            await node.reset()
            await node.install()
            await node.until_answered()


@pytest.mark.accepts("A26", "A28", "I3")
async def test_a_question_that_is_withdrawn_is_not_answered_and_a_repeated_one_is(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.bucket.fail(MANIFEST, Fault.NOT_FOUND)
        await node.install()
        node.ask()
        await node.until_reason("404")
        node.withdraw()
        node.box.bucket.heal()
        await daemon.says("→ reboot-pending")
        assert never_answered(node)
        for _ in range(2):
            node.ask()
            await node.until_answered()
            node.withdraw()


@pytest.mark.accepts("A26")
async def test_a_paused_node_is_answered_for_once_it_goes_on(service: OpenService) -> None:
    async with service() as node:
        paused = node.names.reboot_paused
        node.box.api.patch_node(NODE, annotations={paused: "true"})
        node.ask()
        async with node.daemon() as daemon:
            await daemon.says("→ done")
            assert never_answered(node)
            node.box.api.patch_node(NODE, annotations={paused: "false"})
            await node.until_answered()


@pytest.mark.accepts("A28", "I3")
async def test_an_answer_that_was_there_too_early_is_taken_back(service: OpenService) -> None:
    async with service() as node:
        await node.install()
        node.box.bucket.fail(MANIFEST, Fault.NOT_FOUND)
        node.ask()
        async with node.daemon() as daemon:
            await daemon.says("Work in state fetching failed (attempt 1)")
            # Somebody else answers.
            node.box.api.patch_node(NODE, annotations={node.annotation: "true"})
            await node.until(lambda: node.annotation not in node.annotations)
            node.box.bucket.heal()
            await node.until_answered()


@pytest.mark.accepts("A27", "A28")
@pytest.mark.parametrize("fault", [ApiFault.CONFLICT, ApiFault.UNPROCESSABLE])
async def test_a_conflict_makes_it_look_again(service: OpenService, fault: ApiFault) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        # The node is read, then patched.
        node.box.api.faults.extend([None, fault])
        node.ask()
        await node.until_answered()
        assert [each.method for each in node.patches()] == ["PATCH"] * 2


@pytest.mark.accepts("A28")
async def test_an_answer_that_the_api_server_does_not_take_is_given_again(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.api.faults.extend([None, ApiFault.UNAVAILABLE])
        node.ask()
        await daemon.says("Work in state done failed (attempt 1)")
        await node.until_answered()
        await daemon.says("The update operator may reboot this node.")
        await node.status_when(lambda report: report["last_error"] is None)


@pytest.mark.accepts("A28", "I3")
async def test_without_the_right_to_make_events_it_answers_all_the_same(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        node.box.api.forbidden.add(("create", "events"))
        await daemon.says("→ done")
        node.ask()
        await node.until_answered()
        await daemon.says("No event was made for `kubectl describe node`")


@pytest.mark.accepts("A28", "I3", "N5")
async def test_one_event_tells_of_one_reason_however_often_it_is_tried(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.bucket.withdraw(BOARD, NEW_OS)
        node.ask()
        await node.until_answered()
        node.withdraw()
        await node.install()
        await daemon.says("Work in state fetching failed (attempt 1)")
        node.ask()
        await node.until_reason("404")
        await daemon.says("Work in state fetching failed (attempt 2)")
        assert len([each for each in node.events("TorcxRebootWithheld") if "404" in each]) == 1
        assert node.annotations.get(node.annotation) is None
        await node.assert_told("404", attempts=2)
        assert f"{NEW_OS}/{IMAGE}" not in node.stored()


@pytest.mark.accepts("A6", "A28", "I2", "I3")
@pytest.mark.parametrize("how", ["unsigned", "foreign"])
async def test_what_no_trusted_key_signed_is_never_answered_for(service: OpenService, how: str) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        good = node.box.bucket.key
        node.box.bucket.key = None if how == "unsigned" else node.box.keys.make("Somebody Else")
        await node.install()
        await daemon.says("Work in state fetching failed (attempt 1)")
        node.ask()
        await node.until_reason("fetching failed")
        assert never_answered(node)
        node.box.bucket.key = good
        await node.until_answered()
        await node.until(lambda: node.reason not in node.annotations)


@pytest.mark.accepts("I3", "N3")
async def test_update_engine_is_asked_once_more_before_the_answer(service: OpenService) -> None:
    """The signal that an update is installed got lost, and the next look at update_engine would be a minute away."""
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        await node.box.update_engine.show(Step("UPDATED_NEED_REBOOT", version=NEW_OS, silent=True))
        node.ask()
        await node.until_answered()
        assert f"{NEW_OS}/{IMAGE}" in node.stored()
