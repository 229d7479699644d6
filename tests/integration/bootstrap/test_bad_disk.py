"""Disks that are full and folders that cannot be written: real ones, mounted over the node's.

A full disk may be emptied by somebody: the run waits for that and says so. A folder that cannot be written stays so:
the run ends.
"""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.integration.bootstrap.bench import KUBELET_ENV, QUIET, Bench, OpenBench
from tests.integration.bootstrap.program import Process
from torcxd.errors import EX_CANTCREAT, EX_TEMPFAIL
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.sandbox import OLD_OS, Plot

FULL = "No space left"
# Every folder that a bootstrap writes to.
FOLDERS = ("/var/lib/torcxd", "/var/lib/torcx", "/etc/torcx", "/etc/kubernetes")
# Room for the folders and nothing else: a tmpfs counts in pages.
NO_ROOM = 16 * 4096


def fill(node: Bench, folder: str) -> None:
    """Leave no byte in the file system of *folder*."""
    path = node.path(folder)
    (path / "ballast").write_bytes(bytes(shutil.disk_usage(path).free))


def free(node: Bench, folder: str) -> None:
    (node.path(folder) / "ballast").unlink()


def partial_files(node: Bench) -> list[str]:
    """Temporary files that somebody left behind."""
    found = [each for folder in FOLDERS for each in node.path(folder).rglob(".*.tmp") if each.is_file()]
    return [str(each) for each in found]


async def assert_goes_on(node: Bench, process: Process) -> None:
    """The run that waits goes on by itself, to its request to reboot."""
    await process.says("Waiting for the reboot")
    process.send(signal.SIGTERM)


@pytest.mark.accepts("A24", "N5", "I8")
@pytest.mark.parametrize(
    ("folder", "file"),
    [("/var/lib/torcx", "torcxd-staging"), ("/etc/torcx", "/etc/torcx/")],
    ids=["staging", "profile"],
)
async def test_a_full_disk_is_waited_for(bench: OpenBench, folder: str, file: str) -> None:
    async with bench(QUIET) as node:
        with node.small_disk(folder, NO_ROOM):
            fill(node, folder)
            async with node.start("bootstrap", *node.box.flags) as process:
                await process.says("failed (attempt 1)")
                await node.assert_told(FULL)
                message = (await node.status())["last_error"]
                assert file in message["message"]
                assert message["hint"]
                assert node.box.records.entries == []
                assert partial_files(node) == []
                free(node, folder)
                await assert_goes_on(node, process)
            await node.box.reboot()
            assert (await node.bootstrap()).code == 0
            assert partial_files(node) == []


@pytest.mark.accepts("A24", "N5")
async def test_a_full_disk_ends_the_run_in_the_end(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        with node.small_disk("/etc/torcx", NO_ROOM):
            fill(node, "/etc/torcx")
            ended = await node.bootstrap("--retry-for=0.01s")
            node.assert_failed(ended, EX_TEMPFAIL, FULL, "/etc/torcx/")
            assert node.box.records.entries == []


@pytest.mark.accepts("A24", "N7")
async def test_a_disk_that_fills_up_in_the_middle_of_an_image_keeps_what_arrived(bench: OpenBench) -> None:
    plot = Plot(next_os=None, update_seconds=0, image_bytes=6_000_000, rate=2_000_000)
    async with bench(plot) as node:
        with node.small_disk("/var/lib/torcx", 8 << 20):
            async with node.start("bootstrap", *node.box.flags) as process:
                # There was room when it began.
                await node.holds_partial(1 << 20)
                room = shutil.disk_usage(node.path("/var/lib/torcx")).free
                node.box.node.write("/var/lib/torcx/ballast", bytes(room - (1 << 20)))
                await process.says("failed (attempt 1)")
                await node.assert_told(FULL)
                assert node.stored() == set()
                free(node, "/var/lib/torcx")
                await assert_goes_on(node, process)
            images = [each for each in node.box.bucket_server.requests if each.path.startswith("/torcx/")]
            assert int(images[-1].headers["range"].removeprefix("bytes=").removesuffix("-")) >= 1 << 20
            await node.box.reboot()
            assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("A24", "N7")
async def test_no_image_is_begun_that_the_disk_has_no_room_for(bench: OpenBench) -> None:
    async with bench(Plot(next_os=None, update_seconds=0, image_bytes=6_000_000)) as node:
        with node.small_disk("/var/lib/torcx", 4 << 20):
            async with node.start("bootstrap", *node.box.flags) as process:
                await process.says("failed (attempt 1)")
                await node.assert_told(FULL)
                staging = node.path("/var/lib/torcx/torcxd-staging")
                assert sum(each.stat().st_size for each in staging.glob("*.part")) == 0
                process.send(signal.SIGTERM)


@pytest.mark.accepts("A25", "C6", "I1")
async def test_a_full_disk_never_leaves_half_a_kubelet_env(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        await node.bootstrap()
        await node.box.reboot()
        with node.small_disk("/etc/kubernetes", NO_ROOM):
            fill(node, "/etc/kubernetes")
            async with node.start("bootstrap", *node.box.flags) as process:
                await process.says("failed (attempt 1)")
                await node.assert_told(FULL)
                assert not node.bootstrapped
                assert partial_files(node) == []
                free(node, "/etc/kubernetes")
            assert process.code == 0
            assert node.kubelet_env["KUBELET_IMAGE_TAG"] == "v1.8.4_coreos.0"
            node.judge()


@pytest.mark.accepts("I8", "N2")
async def test_nothing_goes_on_before_the_state_is_on_the_disk(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        with node.small_disk("/var/lib/torcxd", NO_ROOM):
            fill(node, "/var/lib/torcxd")
            async with node.start("bootstrap", *node.box.flags) as process:
                await process.says("Nothing goes on before the state is recorded")
                assert FULL in process.stderr
                assert node.bucket_paths() == []
                assert node.box.update_engine.attempts == 0
                free(node, "/var/lib/torcxd")
                await assert_goes_on(node, process)
            await node.box.reboot()
            assert (await node.bootstrap()).code == 0
            node.judge()


@pytest.mark.accepts("I8")
async def test_a_state_that_can_never_be_recorded_ends_the_run(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        with node.small_disk("/var/lib/torcxd", NO_ROOM):
            fill(node, "/var/lib/torcxd")
            ended = await node.bootstrap("--retry-for=0.01s")
            node.assert_failed(ended, EX_TEMPFAIL, FULL, "state.json")
            assert node.bucket_paths() == []


@pytest.mark.accepts("I8", "N2")
async def test_a_disk_that_fills_up_on_the_way_stops_the_run_where_it_is(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        with node.small_disk("/var/lib/torcxd", 1 << 20):
            node.box.bucket.fail("torcx_manifest.json", Fault.UNAVAILABLE, times=1)
            async with node.start("bootstrap", *node.box.flags) as process:
                await process.says("failed (attempt 1)")
                fill(node, "/var/lib/torcxd")
                await process.says("Nothing goes on before the state is recorded")
                assert node.stored() == set()
                assert (await node.status())["state"] == "fetching"
                free(node, "/var/lib/torcxd")
                await assert_goes_on(node, process)
            await node.box.reboot()
            assert (await node.bootstrap()).code == 0
            node.judge()


@pytest.mark.accepts("A24", "A31")
@pytest.mark.parametrize(
    ("folder", "named"),
    [("/var/lib/torcx", "torcxd-staging"), ("/etc/torcx", "/etc/torcx/")],
    ids=["staging", "profile"],
)
async def test_a_read_only_folder_ends_the_run(bench: OpenBench, folder: str, named: str) -> None:
    async with bench(QUIET) as node:
        with node.read_only(folder):
            ended = await node.bootstrap()
            node.assert_failed(ended, EX_CANTCREAT, "ead-only file system", named)
            assert node.box.records.entries == []
            assert (await node.status())["last_error"]["kind"] == "permanent"
        # Mended, it goes on from there.
        assert (await node.to_the_end()).code == 0


@pytest.mark.accepts("A25", "C6", "I1")
async def test_a_read_only_etc_kubernetes_ends_the_run_before_the_kubelet(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        await node.bootstrap()
        await node.box.reboot()
        with node.read_only("/etc/kubernetes"):
            ended = await node.bootstrap()
            node.assert_failed(ended, EX_CANTCREAT, "ead-only file system", KUBELET_ENV)
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("A6", "A31", "N2", "I8")
async def test_without_a_place_for_its_state_it_works_from_memory_and_says_so(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        with node.read_only("/var/lib/torcxd"):
            ended = await node.bootstrap()
            assert "kept in memory only" in ended.stderr
            assert node.box.reboots == 1
            await node.box.reboot()
            last = await node.bootstrap()
            assert (last.code, node.bootstrapped) == (0, True), last.stderr
        assert node.box.reboots == 1
        assert node.stored() == {f"{OLD_OS}/docker:17.03.torcx.tgz"}


@pytest.mark.accepts("I8")
@pytest.mark.parametrize("damage", [b"", b'{"schema": 1', b"\x00" * 500, b'{"schema": 99, "snapshot": {}}'])
async def test_a_damaged_state_is_kept_aside_and_gathering_starts_again(bench: OpenBench, damage: bytes) -> None:
    async with bench(QUIET) as node:
        await node.bootstrap()
        state = node.path("/var/lib/torcxd/state.json")
        state.write_bytes(damage)
        damaged = await node.torcxd("status")
        assert damaged.code == 65
        assert "Problem" in damaged.stdout
        await node.box.reboot()
        last = await node.to_the_end()
        assert (last.code, node.bootstrapped) == (0, True)
        assert state.with_name("state.json.damaged").read_bytes() == damage
        # What was staged before is found again: no second reboot.
        assert node.box.reboots == 1
        assert "state.json.damaged" in node.processes[-1].stderr


@pytest.mark.accepts("N2")
async def test_two_runs_at_a_time_are_one_too_many(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.bucket.fail("torcx_manifest.json", Fault.UNAVAILABLE)
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("failed (attempt 1)")
            second = await node.bootstrap()
            node.assert_failed(second, EX_TEMPFAIL, "another torcxd", str(process.pid))
            process.send(signal.SIGTERM)
        node.box.bucket.heal()
        assert (await node.to_the_end()).code == 0
