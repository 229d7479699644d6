"""The reboot: refused, lost, asked for once and never twice, rolled back, or without the set that it was for."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.integration.bootstrap.bench import QUIET, UPDATING, Bench, OpenBench
from torcxd.dbus.service import ErrorReply
from torcxd.errors import EX_TEMPFAIL
from torcxd.sandbox.sandbox import NEW_OS, OLD_OS
from torcxd.sandbox.update_engine import no_update

IMAGE = "docker:17.03.torcx.tgz"
REFUSAL = ErrorReply("org.freedesktop.login1.OperationInProgress", "There's already a shutdown in progress")


def remove_image(node: Bench) -> None:
    node.path(f"/var/lib/torcx/store/{OLD_OS}/{IMAGE}").unlink()


def edit_profile(node: Bench) -> None:
    profile = node.path("/etc/torcx/profiles/tectonic.json")
    profile.write_text(profile.read_text().replace("17.03", "1.12"))


@pytest.mark.accepts("C6", "I7", "N5")
@pytest.mark.parametrize("via", ["login1", "systemd1"])
async def test_a_refused_reboot_is_asked_for_again_and_never_a_success(bench: OpenBench, via: str) -> None:
    async with bench(QUIET) as node:
        service, member = (node.box.login1, "Reboot") if via == "login1" else (node.box.systemd1, "StartUnit")
        service.refuse(member, REFUSAL)
        async with node.start("bootstrap", *node.box.flags, f"--reboot-via={via}") as process:
            await process.says("failed (attempt 1)")
            await node.assert_told(REFUSAL.args[0])
            report = await node.status()
            assert report["state"] == "reboot-pending"
            assert report["reboot"]["accepted_at"] is None
            assert node.box.reboots == 0
            service.heal(member)
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        assert process.code == 128 + signal.SIGTERM
        assert node.box.reboots == 1
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("I3", "C6")
@pytest.mark.parametrize(
    ("damage", "again"), [(remove_image, False), (edit_profile, True)], ids=["the same process", "the next process"]
)
async def test_what_was_damaged_while_the_reboot_was_refused_is_made_whole_before_it_is_asked_for(
    bench: OpenBench, damage: Callable[[Bench], None], again: bool
) -> None:
    async with bench(QUIET) as node:
        node.box.login1.refuse("Reboot", REFUSAL)
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("failed (attempt 1)")
            damage(node)
            node.box.login1.heal("Reboot")
            if again:
                process.send(signal.SIGKILL)
            else:
                await process.says("Waiting for the reboot")
                process.send(signal.SIGTERM)
        if again:
            process = await node.bootstrap()
        # The checker looked at the set the moment login1 was asked.
        assert "The staged set was damaged" in process.stderr
        assert node.box.reboots == 1
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("C6", "I7")
async def test_a_reboot_that_stays_refused_ends_the_run_with_an_error(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.login1.refuse("Reboot", REFUSAL)
        ended = await node.bootstrap("--retry-for=0.01s")
        node.assert_failed(ended, EX_TEMPFAIL, REFUSAL.args[0])
        # Its unit starts it again: it goes on where it was, without any network.
        asked = len(node.bucket_paths())
        node.box.login1.heal("Reboot")
        await node.bootstrap()
        assert node.box.reboots == 1
        assert len(node.bucket_paths()) == asked


@pytest.mark.accepts("C6", "C20", "I7")
async def test_no_other_docker_is_pinned_without_the_clean_up_that_it_takes(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.systemd1.refuse("EnableUnitFiles", ErrorReply("System.Error.ENOSPC", "No space left on device"))
        await node.assert_tried_again(words="No space left")
        assert not node.path("/etc/torcx/next-profile").exists()
        assert node.box.reboots == 0
        node.box.systemd1.heal("EnableUnitFiles")
        assert (await node.to_the_end()).code == 0


@pytest.mark.accepts("C6", "I7", "N2")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_run_that_is_ended_between_the_request_and_its_record_asks_no_second_time(
    bench: OpenBench, number: signal.Signals
) -> None:
    async with bench(QUIET) as node:
        # login1 accepts the request, and is busy with it before it answers.
        node.box.answers_reboots = False
        async with node.start("bootstrap", *node.box.flags) as process:
            await node.box.reboot_asked.wait()
            process.send(number)
        assert (await node.status())["reboot"]["accepted_at"] is None
        # The unit starts it again while the system still goes down.
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("The system is going down already")
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        assert node.box.reboots == 1
        node.judge()
        node.box.answers_reboots = True
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("I7", "N2")
async def test_a_run_that_is_started_again_during_the_shutdown_only_waits(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("Waiting for the reboot")
            process.send(signal.SIGKILL)
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("Waiting for the reboot")
            report = await node.status()
            assert "reboot" in report["waiting_for"]
            assert report["waiting_until"]
            process.send(signal.SIGTERM)
        assert node.box.reboots == 1


@pytest.mark.accepts("I7", "N4")
async def test_an_os_update_that_is_rolled_back_is_tried_a_bounded_number_of_times(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        for attempt in (1, 2, 3):
            process = await node.bootstrap()
            assert node.box.reboots == attempt, process.stderr
            assert not node.bootstrapped
            # The boot loader falls back to the old partition.
            node.box.node.pending = None
            await node.box.reboot()
            assert node.box.node.os_version == OLD_OS
        last = await node.to_the_end()
        assert (last.code, node.bootstrapped) == (0, True), last.stderr
        # The node serves with the OS that it has, with the Docker of the plan, and says why.
        assert node.box.node.os_version == OLD_OS
        assert node.box.reboots == 3
        assert NEW_OS in (await node.torcxd("status")).stdout
        assert "rolled back" in last.stderr


@pytest.mark.accepts("I7", "N4")
async def test_an_os_update_that_is_rolled_back_once_is_tried_again(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        await node.bootstrap()
        node.box.node.pending = None
        await node.box.reboot()
        process = await node.bootstrap()
        assert "The boot did not bring the staged set" in process.stderr
        assert not node.bootstrapped
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0
        assert node.box.node.os_version == NEW_OS
        assert node.box.reboots == 2


@pytest.mark.accepts("I1", "I7", "N4")
async def test_a_boot_without_its_docker_is_repaired(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        await node.bootstrap()
        # Somebody cleans up before the boot: torcx seals nothing, and Docker does not start.
        node.path(f"/var/lib/torcx/store/{NEW_OS}/{IMAGE}").unlink()
        assert await node.box.reboot() == "no store has docker:17.03"
        process = await node.bootstrap()
        assert "The boot did not bring the staged set" in process.stderr
        assert not node.bootstrapped
        assert node.box.reboots == 2
        assert f"{NEW_OS}/{IMAGE}" in node.stored()
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("I1", "I7", "N4", "N5")
async def test_boots_that_never_bring_docker_are_bounded(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        for attempt in (1, 2, 3):
            await node.bootstrap("--retry-for=0.01s")
            assert node.box.reboots == attempt
            # Something keeps torcx from sealing: its generator fails.
            profile = node.path("/etc/torcx/profiles/tectonic.json")
            held = profile.rename(profile.with_suffix(".held"))
            await node.box.reboot()
            held.rename(profile)
        ended = await node.bootstrap("--retry-for=0.01s")
        node.assert_failed(ended, EX_TEMPFAIL, "3 boots did not bring", "Docker 17.03")
        assert node.box.reboots == 3
        told = await node.torcxd("status")
        assert "3 did not bring" in told.stdout
        # Its unit starts it again and again: it says the same, and asks for no further boot.
        ended = await node.bootstrap("--retry-for=0.01s")
        node.assert_failed(ended, EX_TEMPFAIL, "3 boots did not bring")
        assert node.box.reboots == 3
        # Somebody mends it and reboots by hand.
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("I1", "N4")
async def test_what_was_damaged_before_the_boot_is_not_published_over(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        await node.bootstrap()
        await node.box.reboot()
        # It came up well, and then somebody pins something else.
        profile = node.path("/etc/torcx/profiles/tectonic.json")
        profile.write_text(profile.read_text().replace("17.03", "1.12"))
        process = await node.bootstrap()
        assert "does not pin docker:17.03" in process.stderr
        assert (process.code, node.bootstrapped) == (0, True)
        assert "17.03" in profile.read_text()
        assert node.box.reboots == 1


@pytest.mark.accepts("I7", "N4")
async def test_a_reboot_by_somebody_else_counts_as_well(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.login1.refuse("Reboot", REFUSAL)
        await node.bootstrap("--retry-for=0.01s")
        node.box.login1.heal("Reboot")
        node.box.update_engine.scenario = no_update("", 0)
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0
        assert node.box.node.os_version == NEW_OS
        assert node.box.reboots == 0
