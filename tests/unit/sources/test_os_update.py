"""The daemon's watch of update_engine on the virtual clock: each of its traps, and no change told twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
import trio
import trio.testing

from tests.unit.sources.conftest import FakeEngine
from torcxd.dbus.errors import DBusError
from torcxd.dbus.update_engine import Operation
from torcxd.lifecycle.facts import OsUpdate
from torcxd.sources.os_update import POLL_INTERVAL, watch_os_update

NEW = "1576.4.0"
NONE = OsUpdate(None, pending=False)


@dataclass
class Watched:
    engine: FakeEngine
    seen: list[OsUpdate] = field(default_factory=list)
    heard: int = 0
    error: DBusError | None = None

    async def changed(self, update: OsUpdate) -> None:
        self.seen.append(update)

    def hear(self) -> None:
        self.heard += 1

    async def run(self) -> None:
        try:
            await watch_os_update(self.engine, self.changed, self.hear)
        except DBusError as error:
            self.error = error


@asynccontextmanager
async def watching() -> AsyncIterator[Watched]:
    async with trio.open_nursery() as nursery:
        watched = Watched(FakeEngine(nursery))
        nursery.start_soon(watched.run)
        await trio.testing.wait_all_tasks_blocked()
        yield watched
        nursery.cancel_scope.cancel()


async def test_the_state_at_the_start_is_told_and_then_each_change_once(mock_clock: trio.testing.MockClock) -> None:
    async with watching() as watched:
        assert watched.seen == [NONE]
        for progress in (0.0, 0.3, 0.6, 0.9):
            watched.engine.go(Operation.DOWNLOADING, NEW, progress=progress)
            await trio.testing.wait_all_tasks_blocked()
        watched.engine.go(Operation.FINALIZING, NEW)
        await trio.testing.wait_all_tasks_blocked()
        watched.engine.go(Operation.UPDATED_NEED_REBOOT, NEW)
        await trio.testing.wait_all_tasks_blocked()
        assert watched.seen == [NONE, OsUpdate(NEW, pending=False), OsUpdate(NEW, pending=True)]


@pytest.mark.accepts("N3")
async def test_a_silent_reset_is_noticed_by_the_poll(mock_clock: trio.testing.MockClock) -> None:
    async with watching() as watched:
        watched.engine.go(Operation.UPDATED_NEED_REBOOT, NEW)
        await trio.testing.wait_all_tasks_blocked()
        watched.engine.set(Operation.IDLE)
        mock_clock.jump(POLL_INTERVAL + 1)
        await trio.testing.wait_all_tasks_blocked()
        assert watched.seen == [NONE, OsUpdate(NEW, pending=True), NONE]


@pytest.mark.accepts("N3")
async def test_a_forged_signal_is_not_believed(mock_clock: trio.testing.MockClock) -> None:
    async with watching() as watched:
        before = watched.engine.state
        watched.engine.go(Operation.UPDATED_NEED_REBOOT, "")
        watched.engine.state = before
        await trio.testing.wait_all_tasks_blocked()
        assert watched.seen == [NONE]


@pytest.mark.accepts("N3", "I4")
async def test_an_update_whose_version_was_forgotten_is_pending_and_unknown(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with watching() as watched:
        for version in ("0.0.0", ""):
            watched.engine.go(Operation.UPDATED_NEED_REBOOT, version)
            await trio.testing.wait_all_tasks_blocked()
            assert watched.seen[-1].unknown
        assert len(watched.seen) == 2


@pytest.mark.accepts("N3")
async def test_another_installation_of_the_same_version_is_told(mock_clock: trio.testing.MockClock) -> None:
    async with watching() as watched:
        for installation in ("1", "2"):
            watched.engine.set(Operation.UPDATED_NEED_REBOOT, NEW)
            watched.engine.state = replace(watched.engine.state, installation=installation)
            mock_clock.jump(POLL_INTERVAL + 1)
            await trio.testing.wait_all_tasks_blocked()
        assert watched.seen == [NONE, OsUpdate(NEW, True, "1"), OsUpdate(NEW, True, "2")]
        # Signals do not tell which installation they are of, and need not be asked about.
        polls = watched.engine.polls
        watched.engine.signal(replace(watched.engine.state, installation=""))
        await trio.testing.wait_all_tasks_blocked()
        assert watched.engine.polls == polls


@pytest.mark.accepts("N3")
async def test_a_failed_update_is_no_update(mock_clock: trio.testing.MockClock) -> None:
    async with watching() as watched:
        watched.engine.go(Operation.DOWNLOADING, NEW)
        await trio.testing.wait_all_tasks_blocked()
        watched.engine.go(Operation.REPORTING_ERROR_EVENT, NEW)
        await trio.testing.wait_all_tasks_blocked()
        watched.engine.go(Operation.IDLE)
        await trio.testing.wait_all_tasks_blocked()
        assert watched.seen == [NONE, OsUpdate(NEW, pending=False), NONE]


@pytest.mark.accepts("N3")
async def test_a_service_that_leaves_ends_the_watch(mock_clock: trio.testing.MockClock) -> None:
    async with watching() as watched:
        watched.engine.leave()
        await trio.testing.wait_all_tasks_blocked()
        assert watched.error is not None
        assert watched.error.kind == "transient"
