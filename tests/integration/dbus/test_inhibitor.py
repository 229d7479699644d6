"""The inhibitors on a real bus: held exactly while the node is not prepared, let go on every way out (N1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from torcxd.daemon.inhibitor import InhibitionGuard
from torcxd.dbus.bus import open_bus
from torcxd.lifecycle.events import OsUpdateSeen
from torcxd.lifecycle.facts import OsUpdate, Plan, Target
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.snapshot import Snapshot
from torcxd.sandbox.bus import PrivateBus
from torcxd.sandbox.login1 import Login1
from torcxd.sandbox.records import Records

OLD, NEW = "1520.8.0", "1576.4.0"
PENDING = OsUpdate(NEW, pending=True)
UNPREPARED = Snapshot("fetching", 0.0, "boot-1", os_update=PENDING)
TARGET = Target("amd64-usr", OLD, NEW, "v1.8.4", "x", ("17.03",), "y")
PREPARED = replace(UNPREPARED, state="reboot-pending", plan=Plan(TARGET, NEW, "17.03", (), resolved=True))


class Host:
    """logind's stand-in, and the guard under test."""

    def __init__(self, bus: PrivateBus, nursery: trio.Nursery, limit: float) -> None:
        self.bus = bus
        self.records = Records()
        self.login1 = Login1(self.records)
        self.nursery = nursery
        self.guard = InhibitionGuard(lambda: open_bus(bus.address, enable_fds=True), limit=limit, random=lambda: 0.0)

    def tell(self, snapshot: Snapshot) -> None:
        self.guard.stepped(Step(snapshot, None, ()), OsUpdateSeen(0, PENDING))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let everything run until *condition* holds; the deadline is only there to end a failed test."""
        with trio.fail_after(10):
            while not condition():
                await trio.lowlevel.checkpoint()

    @property
    def listed(self) -> list[tuple[str, str, str, str]]:
        return self.login1.inhibitors


@asynccontextmanager
async def hosting(private: PrivateBus, limit: float = 3600) -> AsyncIterator[Host]:
    async with trio.open_nursery() as nursery:
        host = Host(private, nursery, limit)
        await nursery.start(host.login1.serve, private.address)
        nursery.start_soon(host.guard.run)
        yield host
        nursery.cancel_scope.cancel()


@pytest.mark.accepts("N1")
async def test_it_is_held_with_a_telling_reason_until_the_set_is_complete(private: PrivateBus) -> None:
    async with hosting(private) as host:
        host.tell(replace(UNPREPARED, os_update=None))
        assert host.listed == []
        host.tell(UNPREPARED)
        await host.until(lambda: bool(host.guard.held))
        reason = f"the addons for OS version {NEW} are not staged yet"
        # Users are refused by the one. Root, and with it an update operator's agent, is stopped by the other only.
        assert host.listed == [("shutdown", "torcxd", reason, mode) for mode in ("block", "delay")]
        assert host.guard.held == reason
        host.tell(replace(UNPREPARED, state="verified"))
        host.tell(PREPARED)
        await host.until(lambda: not host.listed)
        assert host.guard.held == ""
        assert len(host.records.of("Inhibit")) == 2


@pytest.mark.accepts("N1")
async def test_it_is_let_go_when_the_process_ends(private: PrivateBus) -> None:
    async with trio.open_nursery() as outer:
        login1 = Login1(Records())
        await outer.start(login1.serve, private.address)
        async with trio.open_nursery() as nursery:
            host = Host(private, nursery, 3600)
            nursery.start_soon(host.guard.run)
            host.tell(UNPREPARED)
            await host.until(lambda: bool(login1.inhibitors))
            nursery.cancel_scope.cancel()
        await host.until(lambda: not login1.inhibitors)
        outer.cancel_scope.cancel()


@pytest.mark.accepts("N1", "N3")
async def test_it_is_taken_again_after_a_restart_of_logind_and_of_the_bus(private: PrivateBus) -> None:
    async with hosting(private) as host:
        host.tell(UNPREPARED)
        await host.until(lambda: bool(host.listed))
        host.login1.leave()
        await host.until(lambda: host.guard.held == "")
        await host.nursery.start(host.login1.serve, private.address)
        await host.until(lambda: bool(host.listed))
        await private.restart()
        await host.until(lambda: host.guard.held == "")
        await host.nursery.start(host.login1.serve, private.address)
        await host.until(lambda: bool(host.listed))


@pytest.mark.accepts("N1")
async def test_a_node_that_is_never_prepared_does_not_refuse_reboots_for_ever(private: PrivateBus) -> None:
    async with hosting(private, limit=0.5) as host:
        host.tell(UNPREPARED)
        await host.until(lambda: len(host.records.of("Release")) == 2)
        # The next update starts the time anew.
        host.tell(PREPARED)
        host.tell(UNPREPARED)
        await host.until(lambda: len(host.records.of("Inhibit")) == 4)
