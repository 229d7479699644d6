"""A new node, from first boot to a running kubelet, on a real systemd that really reboots."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.damages import assert_each_is_found
from tests.e2e.machine import Machine
from tests.e2e.tectonic import BOOTSTRAP, KUBELET_ENV, NEW_OS, OLD_OS, OTHER_DOCKER, WANTED_DOCKER, tectonic_site
from torcxd.sandbox.bucket_faults import Fault

pytestmark = pytest.mark.e2e


def boots_with(machine: Machine, name: str) -> list[int]:
    """In which boots the machine reported *name*."""
    return [each.boot for each in machine.events if each.name == name]


def stored(machine: Machine) -> set[str]:
    """The images in the user's store, ``<os>/<file>``."""
    store = machine.path("/var/lib/torcx/store")
    return {str(each.relative_to(store)) for each in store.rglob("*.torcx.*")}


async def state_of(machine: Machine, unit: str) -> dict[str, str]:
    """What ``systemctl show`` says about *unit*."""
    properties = "ActiveState,SubState,ConditionResult,Result,NRestarts"
    shown = await machine.run("systemctl", "show", f"--property={properties}", unit)
    return dict(line.split("=", 1) for line in shown.stdout.decode().splitlines())


@pytest.mark.accepts(
    "A1", "A2", "A17", "A18", "A20", "A25", "A34", "C4", "C5", "C6", "C7", "C8", "C20", "C21", "C22", "I1", "I6"
)
async def test_a_node_updates_its_os_reboots_and_only_then_runs_the_kubelet(
    new_machine: Callable[[], Machine],
) -> None:
    machine = new_machine()
    async with tectonic_site(machine, docker=WANTED_DOCKER, update=True) as site, machine.running():
        await machine.event("boot", boot=2)
        asked = len(site.bucket_server.requests)
        kubelet = await machine.event("kubelet")
        # Nothing released it in the boot in which the old OS ran.
        assert kubelet.boot == 2
        assert kubelet.fields["tag"] == "v1.8.4_coreos.0"
        assert f"VERSION_ID={NEW_OS}" in machine.path("/usr/lib/os-release").read_text()
        assert machine.path(KUBELET_ENV).exists()
        bootstrap = await state_of(machine, BOOTSTRAP)
        assert (bootstrap["ActiveState"], bootstrap["SubState"]) == ("active", "exited")

        await machine.run("systemctl", "reboot", "--no-block")
        await machine.event("kubelet", boot=3)
        bootstrap = await state_of(machine, BOOTSTRAP)
        assert (bootstrap["ActiveState"], bootstrap["ConditionResult"]) == ("inactive", "no")
        # What it had fetched before the first reboot was all that it needed.
        assert len(site.bucket_server.requests) == asked
        await machine.power_off()
    assert machine.boots == 3
    assert boots_with(machine, "kubelet") == [2, 3]
    assert f"{NEW_OS}/docker:{WANTED_DOCKER}.torcx.tgz" in stored(machine)
    # Docker is 17.03 before and after: its data outlives the reboot.
    assert [each.fields["data"] for each in machine.events if each.name == "docker"] == ["kept", "kept", "kept"]
    assert "Started" not in machine.messages(unit="kubelet.service", boot=1)


@pytest.mark.accepts("A3", "A35", "C21", "C22", "I6")
async def test_where_everything_is_in_place_the_kubelet_starts_without_a_reboot(
    new_machine: Callable[[], Machine],
) -> None:
    machine = new_machine()
    async with (
        tectonic_site(machine, docker=WANTED_DOCKER, update=False, api_server=False) as site,
        machine.running(),
    ):
        kubelet = await machine.event("kubelet")
        assert kubelet.boot == 1
        assert not site.api_server.requests
        await machine.power_off()
    assert machine.boots == 1
    assert boots_with(machine, "kubelet") == [1]


@pytest.mark.accepts("A3", "A20", "A21", "C6", "C20", "C21", "I6")
async def test_a_docker_change_alone_reboots_and_cleans_its_data(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with tectonic_site(machine, docker=OTHER_DOCKER, update=False) as site:
        async with machine.running():
            kubelet = await machine.event("kubelet")
            assert kubelet.boot == 2
            await machine.power_off()
        # What was left by a real run is judged like what is made up.
        assert_each_is_found(machine, site)
    docker = {each.boot: each.fields["data"] for each in machine.events if each.name == "docker"}
    assert docker == {1: "kept", 2: "gone"}
    assert f"{OLD_OS}/docker:{WANTED_DOCKER}.torcx.tgz" in stored(machine)
    assert machine.path("/etc/torcx/next-profile").read_text() == "tectonic\n"


@pytest.mark.accepts("C6")
async def test_a_refused_reboot_never_releases_the_kubelet(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    machine.path("/etc/systemd/system/reboot.target").symlink_to("/dev/null")
    async with tectonic_site(machine, docker=OTHER_DOCKER, update=False), machine.running():
        await machine.event("boot")
        await machine.journal_line(BOOTSTRAP, "Manager.Reboot .* failed", count=2)
        assert not machine.path(KUBELET_ENV).exists()
        assert (await state_of(machine, BOOTSTRAP))["ActiveState"] == "activating"
        assert boots_with(machine, "kubelet") == []
        # Once the request is granted, everything goes its way.
        await machine.run("rm", "/etc/systemd/system/reboot.target")
        await machine.run("systemctl", "daemon-reload")
        kubelet = await machine.event("kubelet")
        assert kubelet.boot == 2
        await machine.power_off()


@pytest.mark.accepts("A24", "C4", "C7", "C9")
async def test_it_is_tried_again_until_it_succeeds_and_the_kubelet_waits(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with tectonic_site(machine, docker=WANTED_DOCKER, update=False) as site, machine.running():
        site.bucket.fail("torcx_manifest.json", Fault.NOT_FOUND)
        await machine.event("boot")
        # More often than systemd's default start limit allows (five times in ten seconds).
        await machine.journal_line(BOOTSTRAP, "Scheduled restart job", count=7)
        await machine.journal_line("kubelet.service", "Scheduled restart job", count=7)
        assert not machine.path(KUBELET_ENV).exists()
        assert boots_with(machine, "kubelet") == []
        site.bucket.heal()
        await machine.event("kubelet", boot=1)
        await machine.power_off()


@pytest.mark.accepts("A24", "C4", "C6")
async def test_a_wrong_configuration_is_named_and_an_edit_heals_it(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    machine.write("/etc/torcxd/config.yaml", "no_such_setting: 1\n")
    async with tectonic_site(machine, docker=WANTED_DOCKER, update=False), machine.running():
        await machine.event("boot")
        await machine.journal_line(BOOTSTRAP, "/etc/torcxd/config.yaml.*no_such_setting")
        await machine.journal_line(BOOTSTRAP, "status=78/CONFIG")
        assert not machine.path(KUBELET_ENV).exists()
        await machine.run("rm", "/etc/torcxd/config.yaml")
        await machine.event("kubelet", boot=1)
        await machine.power_off()
