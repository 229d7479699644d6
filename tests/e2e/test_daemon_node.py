"""A node's OS updates under the daemon, on a real systemd with its bus and logind, that really reboots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.attended import ANNOTATION, UNIT, AttendedNode, attended_node, install_daemon
from tests.e2e.machine import Machine
from tests.e2e.tectonic import BOOTSTRAP, NEW_OS, OLD_OS, WANTED_DOCKER, tectonic_site
from torcxd import messages
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.update_engine import Step

pytestmark = pytest.mark.e2e

STATES = ("gathering", "fetching", "verified", "staged", "reboot-pending", "done")
REASON = f"the addons for OS version {NEW_OS} are not staged yet"
KILLED = (Path(__file__).parent / "node/killed.py").read_text(encoding="utf-8")
# logind's own limit of 5 seconds would race with what the tests do meanwhile.
LOGIND = ("/etc/systemd/logind.conf.d/50-torcxd.conf", "[Login]\nInhibitDelayMaxSec=60\n")
LOGIN1 = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")


def stored(machine: Machine, os_version: str) -> list[str]:
    """The images in the user's store of *os_version*."""
    return [each.name for each in machine.path(f"/var/lib/torcx/store/{os_version}").iterdir()]


def events(node: AttendedNode) -> list[str]:
    """The reasons of the node's events, in order."""
    return [each["reason"] for each in node.site.api.events()]


async def has_arrived(node: AttendedNode, os_version: str) -> None:
    """The node comes to rest: it runs *os_version*, and everything is as it should be."""
    await node.settled(os_version)
    assert node.os_version == os_version
    status = await node.status()
    assert status["state"] == "done"
    assert await node.inhibitors() == ""


@pytest.mark.accepts("A26", "A27", "A28", "N1", "N4", "N10", "I3")
async def test_an_update_is_held_off_staged_answered_booted_and_verified(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with attended_node(machine) as node:
        await node.boot(1)
        await node.entered("done")
        assert await node.inhibitors() == ""
        # The addons of the new OS version are not there yet, and the update is installed.
        node.site.bucket.fail(NEW_OS, Fault.NOT_FOUND)
        await node.announce()
        await node.install()
        await node.told(messages.INHIBITOR_TAKEN)
        held = await node.inhibitors()
        assert held.count(REASON) == 2
        assert {line.split()[-1] for line in held.splitlines()} == {"block", "delay"}
        assert NEW_OS in await node.annotated(f"{ANNOTATION}-reason")
        # The operator is told at once, the failure comes later.
        await node.says(f"Work in state fetching for OS {NEW_OS} failed")
        # A daemon that is killed lets go, and takes hold again.
        await machine.run("systemctl", "kill", "--signal=KILL", UNIT)
        await node.told(messages.INHIBITOR_TAKEN, times=2)
        assert REASON in await node.inhibitors()

        node.site.bucket.heal()
        await node.asked_to_reboot()
        await node.boot(2)
        (verified,) = await machine.journal_entries(f"_SYSTEMD_UNIT={UNIT}", "TORCXD_EVENT=boot_verified")
        assert verified["MESSAGE_ID"] == messages.TRANSITION.id
        assert verified["TORCXD_BECAUSE"].startswith("the boot brought the set")
        assert (verified["TORCXD_OS"], verified["TORCXD_BOOT_OS"]) == (OLD_OS, NEW_OS)
        await has_arrived(node, NEW_OS)
        await node.says(f"Done for OS {NEW_OS}.")
        await machine.power_off()
    assert machine.boots == 2
    assert stored(machine, NEW_OS) == [f"docker:{WANTED_DOCKER}.torcx.tgz"]
    assert events(node)[0] == "TorcxRebootWithheld"
    assert events(node)[-1] == "TorcxRebootReady"
    before = machine.messages(unit=UNIT, boot=1)
    assert before.index("Reboots are let through again") < before.index("staged → reboot-pending")
    assert "Stopped by SIGTERM" in before


@pytest.mark.accepts("N4", "N9", "I7")
async def test_a_rolled_back_update_is_recorded_and_tried_again(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with attended_node(machine) as node:
        await node.boot(1)
        await node.entered("done")
        # Staged ahead: the hook's answer needs nobody any more.
        await node.announce()
        await node.entered("staged", times=2)
        node.site.bucket.fail("/", Fault.UNAVAILABLE)
        machine.inside("/var/lib/node/next-boot-fails").touch()
        await node.install()
        await node.asked_to_reboot()
        # The unit's protections let it see which installation waits.
        assert (await node.status())["plan"]["target"]["installation"]
        node.site.bucket.heal()

        await node.boot(2)
        assert node.os_version == OLD_OS
        rolled_back = await node.told(messages.ROLLED_BACK)
        assert rolled_back["TORCXD_BOOT_OS"] == NEW_OS
        assert OLD_OS in rolled_back["TORCXD_REASON"]
        await node.entered("done")
        assert (await node.status())["boots"] == {f"os {NEW_OS}": 1}
        await node.announce()
        await node.install()
        await node.asked_to_reboot()

        await node.boot(3)
        await has_arrived(node, NEW_OS)
        assert (await node.status())["boots"] == {}
        await machine.power_off()
    assert machine.boots == 3


@pytest.mark.accepts("N2", "N4", "I3", "I8")
async def test_a_daemon_killed_in_each_state_gets_there(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    machine.write("/killed.py", KILLED)
    command = "ExecStart=\nExecStart=/opt/torcxd/bin/python /killed.py run\nReadWritePaths=/var/lib/killed\n"
    machine.path("/var/lib/killed").mkdir(parents=True)
    async with attended_node(machine, unit=f"[Service]\n{command}") as node:
        await node.boot(1)
        await node.announce()
        await node.entered("staged")
        await node.install()
        await node.asked_to_reboot()
        await node.boot(2)
        await has_arrived(node, NEW_OS)
        await machine.power_off()
    assert machine.boots == 2
    killed = {each.name.split()[0] for each in machine.path("/var/lib/killed").iterdir()}
    assert killed == set(STATES)
    assert stored(machine, NEW_OS) == [f"docker:{WANTED_DOCKER}.torcx.tgz"]
    assert not machine.path("/var/lib/torcxd/state.json.damaged").exists()


@pytest.mark.accepts("N1")
async def test_what_an_inhibitor_does_to_root(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    machine.write(*LOGIND)
    async with attended_node(machine) as node:
        await node.boot(1)
        await node.entered("done")
        node.site.bucket.fail(NEW_OS, Fault.NOT_FOUND)
        await node.engine.show(Step("UPDATED_NEED_REBOOT", version=NEW_OS))
        await node.told(messages.INHIBITOR_TAKEN)
        refused = await machine.run("systemctl", "reboot", "--check-inhibitors=yes", check=False)
        assert refused.returncode != 0
        assert REASON in refused.stderr.decode()
        # What every agent of an update operator calls: granted, and delayed until the set is complete.
        await machine.run("busctl", "call", *LOGIN1, "Reboot", "b", "false")
        preparing = await machine.run("busctl", "get-property", *LOGIN1, "PreparingForShutdown")
        assert preparing.stdout == b"b true\n"
        assert (await node.show("ActiveState"))["ActiveState"] == "active"
        node.site.bucket.heal()

        await node.boot(2)
        await has_arrived(node, NEW_OS)
        node.site.bucket.fail("1688.4.0", Fault.NOT_FOUND)
        await node.engine.show(Step("UPDATED_NEED_REBOOT", version="1688.4.0"))
        await node.told(messages.INHIBITOR_TAKEN)
        # This asks nobody.
        await machine.run("systemctl", "reboot", "--force", check=False)
        await node.boot(3)


@pytest.mark.accepts("N1", "N3")
async def test_after_a_restart_of_the_bus_reboots_are_held_off_again(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with attended_node(machine) as node:
        await node.boot(1)
        await node.entered("done")
        node.site.bucket.fail(NEW_OS, Fault.NOT_FOUND)
        # Nobody reboots the node meanwhile.
        await node.engine.show(Step("UPDATED_NEED_REBOOT", version=NEW_OS))
        await node.told(messages.INHIBITOR_TAKEN)
        before = await node.show("MainPID", "NRestarts")
        await machine.run("systemctl", "restart", "dbus.service")
        # Before update_engine is back: what was pending still is.
        await node.told(messages.INHIBITOR_TAKEN, times=2)
        held = await node.inhibitors()
        assert held.count(REASON) == 2
        assert {line.split()[-1] for line in held.splitlines()} == {"block", "delay"}
        await node.serve_engine()
        node.site.bucket.heal()
        await node.entered("reboot-pending")
        await node.told(messages.INHIBITOR_RELEASED)
        assert await node.inhibitors() == ""
        assert await node.show("MainPID", "NRestarts") == before
        await machine.power_off()


@pytest.mark.accepts("N3", "N5")
async def test_the_unit_comes_up_where_update_engine_is_masked(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with attended_node(machine) as node:
        machine.path("/etc/systemd/system/update-engine.service").unlink(missing_ok=True)
        machine.path("/etc/systemd/system/update-engine.service").symlink_to("/dev/null")
        await machine.event("boot", boot=1)
        await machine.journal_line(UNIT, "Started torcxd.service")
        shown = await node.show("ActiveState", "StatusText")
        assert shown["ActiveState"] == "active"
        assert shown["StatusText"].endswith("Not heard: update_engine.")
        status = await node.status()
        assert status["process"]["command"] == "run"
        assert status["process"]["runs"] is True
        assert status["waiting_for"] == "update_engine to tell which OS version boots next"
        assert status["sources"]["update_engine"]["up"] is False
        await machine.power_off()


async def test_systemd_watches_reloads_and_shows_the_daemon(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with attended_node(machine, unit="[Service]\nWatchdogSec=2s\n") as node:
        await node.boot(1)
        await node.entered("done")
        shown = await machine.run("systemctl", "status", "--no-pager", UNIT)
        assert f'Status: "Done for OS {OLD_OS}."' in shown.stdout.decode()
        # A wrong configuration is refused, and the daemon goes on.
        first = await node.show("MainPID", "NRestarts")
        machine.inside("/etc/torcxd/config.yaml").write_text("no_such_setting: 1\n")
        await machine.run("systemctl", "reload", UNIT)
        refused = await node.told(messages.CONFIGURATION_REFUSED)
        assert "/etc/torcxd/config.yaml" in refused["TORCXD_ERROR"]
        assert await node.show("MainPID", "NRestarts") == first
        machine.inside("/etc/torcxd/config.yaml").write_text("verbose: debug\n")
        await machine.run("systemctl", "reload", UNIT)
        await node.told(messages.CONFIGURATION_RELOADED)
        assert await node.show("MainPID", "NRestarts") == first
        # One that stands still is found out, and started anew.
        await machine.run("systemctl", "kill", "--signal=STOP", UNIT)
        await machine.journal_line(UNIT, "Watchdog timeout")
        await machine.journal_line(UNIT, "Started torcxd.service", count=2)
        again = await node.show("MainPID", "NRestarts", "ActiveState")
        assert (again["ActiveState"], again["NRestarts"]) == ("active", "1")
        assert again["MainPID"] != first["MainPID"]
        # And one that is started with a wrong configuration is left alone, for an edit.
        machine.inside("/etc/torcxd/config.yaml").write_text("no_such_setting: 1\n")
        await machine.run("systemctl", "restart", UNIT, check=False)
        await machine.journal_line(UNIT, "status=78/CONFIG")
        failed = await node.show("ActiveState", "SubState")
        assert failed == {"ActiveState": "failed", "SubState": "failed"}
        await machine.power_off()


@pytest.mark.accepts("C4")
async def test_the_daemon_starts_once_a_bootstrap_has_succeeded(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    async with tectonic_site(machine, docker=WANTED_DOCKER, update=False) as site:
        install_daemon(machine)
        site.bucket.fail("torcx_manifest.json", Fault.NOT_FOUND)
        async with machine.running():
            await machine.event("boot")
            await machine.journal_line(BOOTSTRAP, "Scheduled restart job", count=2)
            skipped = await machine.run("systemctl", "show", "--property=ActiveState", UNIT)
            assert skipped.stdout == b"ActiveState=inactive\n"
            site.bucket.heal()
            await machine.journal_line(UNIT, "Started torcxd.service")
            await machine.power_off()
