"""The OS update's troubles: an update_engine that is absent, silent, failing, restarting, or changes its mind."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import trio

from tests.integration.bootstrap.bench import QUIET, UPDATING, OpenBench
from torcxd.dbus.service import ErrorReply
from torcxd.errors import EX_TEMPFAIL, EX_UNAVAILABLE
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.node import VendorDocker
from torcxd.sandbox.sandbox import BOARD, NEW_OS, OLD_OS, VENDOR_DOCKER
from torcxd.sandbox.update_engine import Scenario, Step, failure, no_update, stuck, update

OTHER_OS = "1580.1.0"
IMAGE = "docker:17.03.torcx.tgz"


@pytest.mark.accepts("A4", "N5")
async def test_an_absent_update_engine_is_told_and_waited_for(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.update_engine.leave()
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("failed (attempt 1)")
            await node.assert_told("com.coreos.update1")
            assert not node.bootstrapped
            await node.box.restart(node.box.update_engine)
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("A4", "A17")
async def test_without_upgrade_os_an_absent_update_engine_means_no_update(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.update_engine.leave()
        await node.bootstrap("--upgrade-os=false")
        assert node.box.reboots == 1


@pytest.mark.accepts("N5")
@pytest.mark.parametrize("member", ["GetStatus", "AttemptUpdate"])
async def test_a_hanging_update_engine_ends_at_the_deadline(bench: OpenBench, member: str) -> None:
    async with bench(QUIET) as node:
        node.box.update_engine.hang(member)
        await node.assert_tried_again("--update-deadline=0.3s", words="0.3 s")
        node.box.update_engine.heal(member)
        assert (await node.to_the_end()).code == 0


@pytest.mark.accepts("N3", "N5")
@pytest.mark.parametrize("member", ["GetStatus", "AttemptUpdate"])
async def test_an_update_engine_that_answers_with_errors_is_tried_again(bench: OpenBench, member: str) -> None:
    async with bench(QUIET) as node:
        node.box.update_engine.refuse(member, ErrorReply("org.chromium.UpdateEngine.Error.Failed", "no luck"))
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("failed (attempt 1)")
            await node.assert_told("no luck")
            node.box.update_engine.heal(member)
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        assert node.box.reboots == 1


@pytest.mark.accepts("N3", "N5")
async def test_a_failed_update_is_tried_again_and_never_taken_for_none(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.update_engine.scenario = failure(NEW_OS, 0.02)
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("failed (attempt 1)")
            await node.assert_told("the OS update")
            assert node.box.records.entries == []
            node.box.update_engine.scenario = update(NEW_OS, 0.02)
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0
        assert node.box.node.os_version == NEW_OS


@pytest.mark.accepts("N3", "N5")
async def test_an_update_that_stands_still_ends_at_the_deadline(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.update_engine.scenario = stuck(NEW_OS, 0.02)
        await node.assert_tried_again("--update-deadline=0.3s", words="DOWNLOADING at 40%")
        assert node.box.records.entries == []


@pytest.mark.accepts("N3")
async def test_a_restarted_update_engine_in_mid_update_is_asked_again(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.update_engine.scenario = stuck(NEW_OS, 0.0)
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("Waiting for the OS update: DOWNLOADING")
            node.box.update_engine.leave()
            await process.says("Waiting for update_engine to come back")
            node.box.update_engine.scenario = update(NEW_OS, 0.02)
            await node.box.restart(node.box.update_engine)
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0
        assert node.box.node.os_version == NEW_OS


@pytest.mark.accepts("N3")
async def test_a_restarted_bus_in_mid_update_is_connected_to_again(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.update_engine.scenario = stuck(NEW_OS, 0.0)
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("Waiting for the OS update: DOWNLOADING")
            await node.box.bus.restart()
            await process.says("failed (attempt 1)")
            node.box.update_engine.scenario = update(NEW_OS, 0.02)
            await node.box.nursery.start(node.box.serve_peers)
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("A4", "I4", "N3", "N5")
@pytest.mark.parametrize("version", ["0.0.0", ""])
@pytest.mark.parametrize("upgrade", ["true", "false"])
async def test_a_pending_update_of_an_unknown_version_is_never_a_success(
    bench: OpenBench, version: str, upgrade: str
) -> None:
    async with bench(UPDATING) as node:
        await node.pending_update(version=version)
        flags = (f"--upgrade-os={upgrade}", "--update-deadline=0.3s")
        process = await node.assert_tried_again(*flags, words="com.coreos.update1")
        assert "-reset_status" in process.stderr
        assert node.box.records.entries == []
        assert node.bucket_paths() == []


@pytest.mark.accepts("I4", "N3")
async def test_the_version_of_a_pending_update_is_remembered_when_update_engine_forgets_it(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.bucket.fail(IMAGE, Fault.NOT_FOUND)
        assert (await node.bootstrap()).code == EX_UNAVAILABLE
        node.box.bucket.heal()
        # The record of that run is all that knows the version now.
        await node.box.restart(node.box.update_engine)
        await node.bootstrap()
        assert node.box.reboots == 1
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0
        assert node.box.node.os_version == NEW_OS


@pytest.mark.accepts("I3", "I4", "N3")
async def test_the_version_of_an_update_that_was_superseded_meanwhile_is_not_remembered(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        engine = node.box.update_engine
        node.box.bucket.fail(IMAGE, Fault.NOT_FOUND)
        assert (await node.bootstrap()).code == EX_UNAVAILABLE
        node.box.bucket.heal()
        await node.reset()
        await engine.show(Step("UPDATED_NEED_REBOOT", version=OTHER_OS))
        await node.box.restart(engine)
        async with node.start("bootstrap", *node.box.flags) as process:
            await node.status_when(lambda told: "version of the installed OS update" in (told["waiting_for"] or ""))
            process.send(signal.SIGTERM)
        assert node.box.reboots == 0


@pytest.mark.accepts("N9")
async def test_the_addons_are_fetched_while_the_os_downloads(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.update_engine.scenario = stuck(NEW_OS, 0.0)
        async with node.start("bootstrap", *node.box.flags) as process:
            # Both images come although update_engine is far from its end.
            await node.box.bucket_server.wait_until(
                lambda server: len({each.path for each in server.requests if each.path.startswith("/torcx/")}) == 2
            )
            report = await node.status()
            assert report["state"] == "gathering"
            assert "DOWNLOADING" in report["waiting_for"]
            # Nothing has a final name before the version is final.
            assert node.stored() == set()
            await node.staged(2)
            asked = len(node.bucket_paths())
            process.send(signal.SIGTERM)
        node.box.update_engine.scenario = update(NEW_OS, 0.0)
        await node.box.restart(node.box.update_engine)
        await node.bootstrap()
        # What was fetched ahead is there; only the manifests are read again.
        assert not [each for each in node.bucket_paths()[asked:] if each.startswith("/torcx/")]
        assert node.box.reboots == 1


@pytest.mark.accepts("N9")
async def test_what_was_verified_while_the_os_downloads_is_not_asked_for_again(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.update_engine.scenario = stuck(NEW_OS, 0.0)
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says(f"The addons for OS version {NEW_OS} are fetched.")
            asked = len(node.bucket_paths())
            reboot_asked = node.box.reboot_asked
            await node.pending_update()
            await reboot_asked.wait()
            process.send(signal.SIGTERM)
        assert len(node.bucket_paths()) == asked


@pytest.mark.accepts("N8", "I3")
async def test_another_version_in_the_end_supersedes_the_announced_one(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.node.add_vendor(OTHER_OS, VendorDocker(VENDOR_DOCKER, docker_image(VENDOR_DOCKER).data))
        image = docker_image("17.03", 33_333)
        node.box.bucket.publish(BOARD, OTHER_OS, image)
        node.box.update_engine.scenario = Scenario(
            (
                Step("CHECKING_FOR_UPDATE"),
                Step("DOWNLOADING", 0.05, progress=0.2, version=NEW_OS),
                Step("DOWNLOADING", 0.05, progress=0.4, version=OTHER_OS),
                Step("UPDATED_NEED_REBOOT", version=OTHER_OS),
            )
        )
        await node.bootstrap()
        assert node.stored() == {f"{OLD_OS}/{IMAGE}", f"{OTHER_OS}/{IMAGE}"}
        node.box.update_engine.scenario = no_update("", 0)
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0
        assert node.box.node.os_version == OTHER_OS
        # Nothing stays of what was fetched for the other one.
        assert not list(node.path("/var/lib/torcx/torcxd-staging").iterdir())


@pytest.mark.accepts("N8", "I3")
async def test_a_newer_version_after_a_restart_supersedes_the_one_in_progress(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.login1.refuse("Reboot", ErrorReply("org.freedesktop.login1.OperationInProgress", "not now"))
        assert (await node.bootstrap("--retry-for=0.01s")).code == EX_TEMPFAIL
        node.box.login1.heal("Reboot")
        # Somebody withdrew the update, and the update server offers another one now.
        node.box.node.add_vendor(OTHER_OS, VendorDocker(VENDOR_DOCKER, docker_image(VENDOR_DOCKER).data))
        node.box.bucket.publish(BOARD, OTHER_OS, docker_image("17.03", 33_333))
        node.box.node.pending = None
        node.box.update_engine.scenario = update(OTHER_OS, 0.02)
        await node.box.reboot()
        last = await node.to_the_end()
        assert last.code == 0
        assert node.box.node.os_version == OTHER_OS


async def test_the_progress_of_a_slow_update_counts(bench: OpenBench) -> None:
    """The deadline is for no progress, not for the whole."""
    async with bench(replace(UPDATING, update_seconds=1.0)) as node:
        started = trio.current_time()
        await node.bootstrap("--update-deadline=0.6s")
        assert node.box.reboots == 1
        assert trio.current_time() - started > 0.6
