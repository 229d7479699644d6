"""update_engine's signals by the thousand: what is kept of them is bounded, and the last one counts."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.explored import Explored
from torcxd.dbus.bus import open_bus
from torcxd.dbus.signals import BUFFER
from torcxd.dbus.update_engine import Status, UpdateEngine
from torcxd.lifecycle.facts import OsUpdate
from torcxd.sandbox import update_engine as stand_in
from torcxd.sandbox.bus import private_bus
from torcxd.sandbox.update_engine import Step
from torcxd.sources.os_update import watch_os_update

# Two seconds of a thousand each.
SIGNALS: Final = 2_000
OLD, NEW = "1632.2.0", "1632.3.0"


@pytest.fixture
def directory() -> Iterator[Path]:
    """One whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="bus.") as directory:
        yield Path(directory)


class Counting(UpdateEngine):
    """A client that counts how often it asks."""

    asked = 0

    async def status(self) -> Status:
        self.asked += 1
        return await super().status()


@pytest.fixture
async def server(directory: Path, nursery: trio.Nursery) -> AsyncIterator[tuple[stand_in.UpdateEngine, str]]:
    """The stand-in on a bus of its own, and the bus's address."""
    async with private_bus(directory) as bus:
        engine = stand_in.UpdateEngine(now=lambda: 2000.0)
        await nursery.start(engine.serve, bus.address)
        yield engine, bus.address
        nursery.cancel_scope.cancel()


async def test_a_reader_that_sleeps_finds_the_latest(
    server: tuple[stand_in.UpdateEngine, str], explored: Explored
) -> None:
    engine, address = server
    async with open_bus(address) as bus, UpdateEngine(bus).watch() as statuses:
        for number in range(1, SIGNALS + 1):
            await engine.show(Step("DOWNLOADING", progress=number / SIGNALS, version=NEW))
        # The answer comes after all that was sent before it.
        await UpdateEngine(bus).status()
        kept = [await anext(statuses) for _ in range(BUFFER)]
        assert [each.progress for each in kept] == [
            number / SIGNALS for number in range(SIGNALS - BUFFER + 1, SIGNALS + 1)
        ]
        with trio.move_on_after(0):
            raise AssertionError(f"there is another one: {await anext(statuses)}")
    explored.count("limits", "signals in a burst", SIGNALS)


async def test_progress_alone_costs_no_question(server: tuple[stand_in.UpdateEngine, str], explored: Explored) -> None:
    engine, address = server
    seen: list[OsUpdate] = []
    arrived = {OsUpdate(NEW, pending=False): trio.Event(), OsUpdate(NEW, pending=True): trio.Event()}

    async def changed(update: OsUpdate) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(update)
        if update in arrived:
            arrived[update].set()

    async with open_bus(address) as bus, trio.open_nursery() as nursery:
        client = Counting(bus)
        nursery.start_soon(watch_os_update, client, changed, lambda: None)
        for number in range(SIGNALS):
            await engine.show(Step("DOWNLOADING", progress=number / SIGNALS, version=NEW))
        await arrived[OsUpdate(NEW, pending=False)].wait()
        await engine.show(Step("UPDATED_NEED_REBOOT", version=NEW))
        await arrived[OsUpdate(NEW, pending=True)].wait()
        nursery.cancel_scope.cancel()
    assert seen[-2:] == list(arrived)
    # Once at the start and once for each change: IDLE, it downloads, it waits for the reboot.
    assert client.asked <= 4
    explored.count("limits", "signals in a burst", SIGNALS)


async def test_of_many_changes_the_last_one_wins(server: tuple[stand_in.UpdateEngine, str], explored: Explored) -> None:
    engine, address = server
    last = OsUpdate(NEW, pending=True)
    arrived, told, go_on = trio.Event(), 0, trio.Event()

    async def changed(update: OsUpdate) -> None:
        # The first one takes so long that all the others come meanwhile.
        nonlocal told
        told += 1
        await go_on.wait()
        if update == last:
            arrived.set()

    async with open_bus(address) as bus, trio.open_nursery() as nursery:
        client = Counting(bus)
        nursery.start_soon(watch_os_update, client, changed, lambda: None)
        while not told:
            await trio.lowlevel.checkpoint()
        for number in range(SIGNALS):
            await engine.show(Step("DOWNLOADING", progress=0.5, version=(OLD, NEW)[number % 2]))
        await engine.show(Step("UPDATED_NEED_REBOOT", version=NEW))
        await UpdateEngine(bus).status()
        go_on.set()
        await arrived.wait()
        nursery.cancel_scope.cancel()
    # The state is asked for once the news is stale, and not replayed: what was kept of the signals at the most.
    assert told <= 3
    assert client.asked <= BUFFER + 3
    explored.count("limits", "signals in a burst", SIGNALS)
