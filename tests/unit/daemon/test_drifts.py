"""A set that goes away as often as it is placed is placed again at once the first time, and ever more slowly then."""

from __future__ import annotations

import trio

from torcxd.daemon.drifts import Drifts
from torcxd.lifecycle import retry
from torcxd.lifecycle.events import Drifted, Event, Waiting
from torcxd.lifecycle.facts import Running

GONE = Running("1520.8.0", "17.03", intact=False, detail="the store lacks docker:17.03")


class VirtualClock:
    def now(self) -> float:
        return 1_000_000 + trio.current_time()


class Node:
    """Where the set goes away as soon as it is placed."""

    def __init__(self) -> None:
        self.drifts = Drifts()
        self.told: list[Event] = []

    async def report(self, event: Event) -> None:
        self.told.append(event)

    async def round(self) -> float:
        """It is found gone, and placed again. Returns the seconds in between."""
        await self.drifts.tell(VirtualClock(), GONE, self.report)
        begun = trio.current_time()
        await self.drifts.rest(VirtualClock(), self.report)
        return trio.current_time() - begun


async def test_it_is_told_at_once_and_placed_ever_more_slowly(autojump_clock: trio.abc.Clock) -> None:
    node = Node()
    assert [await node.round() for _ in range(12)] == [0, *(retry.delay(each, 0.5) for each in range(1, 12))]
    drifts = [each for each in node.told if isinstance(each, Drifted)]
    waits = [each for each in node.told if isinstance(each, Waiting)]
    assert (len(drifts), len(waits)) == (12, 11)
    assert waits[0].reason == "the next attempt to place the set, which was gone 2 times in a row"
    assert waits[0].until == 1_000_000 + retry.delay(1, 0.5)


async def test_once_it_stays_the_next_time_is_the_first_again(autojump_clock: trio.abc.Clock) -> None:
    node = Node()
    assert [await node.round(), await node.round()] == [0, retry.delay(1, 0.5)]
    node.drifts.over()
    assert await node.round() == 0


async def test_an_event_in_between_does_not_make_the_wait_longer(autojump_clock: trio.abc.Clock) -> None:
    node = Node()
    for _ in range(9):
        await node.round()
    await node.drifts.tell(VirtualClock(), GONE, node.report)
    begun = trio.current_time()
    for _ in range(3):
        with trio.move_on_after(30):
            await node.drifts.rest(VirtualClock(), node.report)
    await node.drifts.rest(VirtualClock(), node.report)
    assert trio.current_time() - begun == retry.LONGEST_DELAY
