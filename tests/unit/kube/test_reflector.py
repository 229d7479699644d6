"""Following one object on a virtual clock, against a cluster that exists only here."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from torcxd.errors import PermanentError, TransientError
from torcxd.http import HttpError, Reason
from torcxd.kube.reflector import DEFAULT_PACE, follow
from torcxd.kube.watch import Change, Expired, Listing, WatchEvent
from torcxd.lifecycle import retry

Event = WatchEvent[str]
# What a watch does next: an event, a pause in seconds, an error, or None for its end.
Step = Event | float | Exception | None
HOUR = 3600.0


def modified(revision: int | str, value: str) -> Event:
    return WatchEvent(Change.MODIFIED, str(revision), value)


def bookmark(revision: int) -> Event:
    return WatchEvent(Change.BOOKMARK, str(revision), None)


@dataclass
class FakeSource:
    """An object whose watches are scripts. After its script a watch says nothing until its time is over.

    :ivar calls: when and how it was asked.
    """

    what: str = "the thing"
    now: Listing[str] = field(default_factory=lambda: Listing("10", "first", "9"))
    scripts: list[list[Step]] = field(default_factory=list)
    failing: Callable[[], Exception | None] = lambda: None
    calls: list[tuple[float, str]] = field(default_factory=list)
    stalls: list[tuple[float, float]] = field(default_factory=list)

    async def current(self) -> Listing[str]:
        self.calls.append((trio.current_time(), "list"))
        if error := self.failing():
            raise error
        return self.now

    @asynccontextmanager
    async def watch(self, revision: str, seconds: float, stall: float) -> AsyncIterator[AsyncIterator[Event]]:
        self.calls.append((trio.current_time(), revision))
        self.stalls.append((seconds, stall))
        if error := self.failing():
            raise error
        yield self._play(self.scripts.pop(0) if self.scripts else [], seconds)

    async def _play(self, script: list[Step], seconds: float) -> AsyncIterator[Event]:
        for each in [*script, seconds]:
            if each is None:
                return
            if isinstance(each, Exception):
                raise each
            if isinstance(each, float):
                await trio.sleep(each)
            else:
                yield each

    def asked(self) -> list[str]:
        return [each for _, each in self.calls]


@dataclass
class Health:
    """What was told of the source's health; repeats once."""

    told: list[tuple[bool, str]] = field(default_factory=list)

    def __call__(self, ok: bool, detail: str) -> None:
        if self.told[-1:] != [(ok, detail)]:
            self.told.append((ok, detail))


async def states(source: FakeSource, seconds: float, health: Health | None = None) -> list[str | None]:
    """What following *source* for so long brings."""
    found: list[str | None] = []
    with trio.move_on_after(seconds):
        async with follow(source, health or Health(), random=lambda: 0.5) as objects:
            async for each in objects:
                found.append(each)  # noqa: PERF401 - what came before the time was over must not be lost
    return found


async def test_the_present_state_comes_first_and_then_each_change(autojump_clock: object) -> None:
    source = FakeSource(scripts=[[5.0, modified(11, "second"), 5.0, modified(12, "third")]])
    assert await states(source, 11) == ["first", "second", "third"]
    assert source.asked() == ["list", "10"]


async def test_what_is_not_there_is_none_until_it_is_created(autojump_clock: object) -> None:
    deleted = WatchEvent(Change.DELETED, "12", "first")
    source = FakeSource(
        now=Listing("10", None, ""),
        scripts=[[WatchEvent(Change.ADDED, "11", "first"), deleted, WatchEvent(Change.ADDED, "13", "anew")]],
    )
    assert await states(source, 1) == [None, "first", None, "anew"]


async def test_repeats_and_what_comes_late_are_dropped(autojump_clock: object) -> None:
    late = [modified(9, "older than the list"), modified(12, "b"), modified(12, "b"), modified(11, "a")]
    gone = [
        WatchEvent(Change.DELETED, "14", "b"),
        modified(13, "before its end"),
        WatchEvent(Change.DELETED, "14", "b"),
    ]
    assert await states(FakeSource(scripts=[[*late, *gone]]), 1) == ["first", "b", None]


async def test_opaque_versions_are_only_compared_for_equality(autojump_clock: object) -> None:
    source = FakeSource(
        now=Listing("q", "first", "p"), scripts=[[modified("q", "same"), modified("b", "x"), modified("b", "x")]]
    )
    assert await states(source, 1) == ["first", "x"]


async def test_a_watch_that_ends_in_time_is_followed_by_another_from_where_it_was(autojump_clock: object) -> None:
    source = FakeSource(scripts=[[20.0, modified(15, "second"), 20.0, bookmark(40)]])
    health = Health()
    assert await states(source, HOUR, health) == ["first", "second"]
    assert source.asked()[:4] == ["list", "10", "40", "40"]
    assert source.asked().count("list") == 1
    # An idle hour costs a request for each watch, which lasts from four to five minutes.
    assert 12 <= len(source.calls) <= 16
    assert health.told == [(True, "the thing: watched")]


async def test_a_dead_connection_is_noticed_sooner_where_bookmarks_come(autojump_clock: object) -> None:
    source = FakeSource(scripts=[[], [bookmark(11)], [bookmark(12)]])
    await states(source, HOUR)
    (seconds, first), _, (_, third), (_, fourth), (_, fifth) = source.stalls[:5]
    assert first == seconds + DEFAULT_PACE.grace
    assert (third, fourth) == (DEFAULT_PACE.silence, DEFAULT_PACE.silence)
    # The server of the last one sent none.
    assert fifth > seconds


@pytest.mark.parametrize(
    "error", [Expired("gone"), TransientError("cut"), PermanentError("malformed"), TransientError("stalled")]
)
async def test_after_a_failure_the_object_is_listed_again(autojump_clock: object, error: Exception) -> None:
    source = FakeSource(scripts=[[modified(11, "second"), error], [modified(31, "fourth")]])
    health = Health()

    def lists_third() -> None:
        source.now = Listing("30", "third", "25")

    found: list[str | None] = []
    with trio.move_on_after(10):
        async with follow(source, health, random=lambda: 0.5) as objects:
            async for each in objects:
                found.append(each)
                if each == "second":
                    lists_third()
    assert found == ["first", "second", "third", "fourth"]
    assert source.asked() == ["list", "10", "list", "30"]
    assert source.calls[2][0] - source.calls[1][0] == pytest.approx(retry.FIRST_DELAY)
    assert [ok for ok, _ in health.told] == [True, False, True]
    assert health.told[1] == (False, f"the thing: {error}")


async def test_an_object_that_is_the_same_after_a_failure_is_no_news(autojump_clock: object) -> None:
    source = FakeSource(scripts=[[20.0, TransientError("cut")], [20.0, TransientError("cut")]])
    assert await states(source, 100) == ["first"]
    assert source.asked().count("list") == 3


async def test_a_deletion_during_a_failure_is_found(autojump_clock: object) -> None:
    source = FakeSource(scripts=[[TransientError("cut")]])
    found: list[str | None] = []
    with trio.move_on_after(10):
        async with follow(source, Health(), random=lambda: 0.5) as objects:
            async for each in objects:
                found.append(each)
                source.now = Listing("20", None, "")
    assert found == ["first", None]


async def test_versions_that_start_anew_are_noticed_by_a_bookmark(autojump_clock: object) -> None:
    source = FakeSource(scripts=[[20.0, bookmark(3)]])
    found: list[str | None] = []
    with trio.move_on_after(60):
        async with follow(source, Health(), random=lambda: 0.5) as objects:
            async for each in objects:
                found.append(each)
                source.now = Listing("3", "restored", "2")
    assert found == ["first", "restored"]
    assert source.asked() == ["list", "10", "list", "3"]


async def test_a_server_that_ends_every_watch_at_once_is_asked_ever_less_often(autojump_clock: object) -> None:
    source = FakeSource(scripts=[[None] for _ in range(1000)])
    health = Health()
    await states(source, HOUR, health)
    assert len(source.calls) < 2 * (HOUR / retry.LONGEST_DELAY + 20)
    assert (False, "the thing: the API server ended the watch as soon as it had begun") in health.told


async def test_a_server_that_repeats_itself_and_ends_makes_no_busy_loop(autojump_clock: object) -> None:
    source = FakeSource(scripts=[[modified(9, "first"), Expired("again")] for _ in range(1000)])
    assert await states(source, HOUR) == ["first"]
    assert len(source.calls) < 2 * (HOUR / retry.LONGEST_DELAY + 20)


async def test_a_server_that_is_away_for_days_is_asked_until_it_is_back(autojump_clock: object) -> None:
    back = 72 * HOUR
    away = HttpError("refused", reason=Reason.CONNECT, kind=TransientError.kind, url="https://api/")
    source = FakeSource(failing=lambda: away if trio.current_time() < begun + back else None)
    health = Health()
    begun = trio.current_time()
    assert await states(source, back + HOUR, health) == ["first"]
    attempts = [at for at, asked in source.calls if asked == "list"]
    assert attempts[-1] - begun < back + 1.1 * retry.LONGEST_DELAY
    assert len(attempts) < back / (0.9 * retry.LONGEST_DELAY) + 20
    assert health.told == [(False, f"the thing: {away}"), (True, "the thing: watched")]


async def test_a_server_that_says_when_is_asked_then_but_not_later_than_by_itself(autojump_clock: object) -> None:
    for asks, waits in ((30.0, 30.0), (86400.0, retry.LONGEST_DELAY)):
        busy = HttpError("busy", reason=Reason.STATUS, kind=TransientError.kind, url="u", status=429, retry_after=asks)
        errors: list[Exception] = [busy]
        source = FakeSource(failing=lambda errors=errors: errors.pop() if errors else None)  # type: ignore[misc]
        await states(source, 200)
        assert source.calls[1][0] - source.calls[0][0] == pytest.approx(waits)


async def test_nothing_piles_up_however_many_changes_there_are(autojump_clock: object) -> None:
    def changes() -> Iterator[Event]:
        for revision in range(11, 20_000):
            yield modified(revision, "x" * 1000)

    class Busy(FakeSource):
        async def _play(self, script: list[Step], seconds: float) -> AsyncIterator[Event]:
            for each in changes():
                yield each
            await trio.sleep(seconds)

    sizes = []
    tracemalloc.start()
    try:
        with trio.move_on_after(1):
            async with follow(Busy(), lambda ok, detail: None, random=lambda: 0.5) as objects:
                number = 0
                async for _ in objects:
                    number += 1
                    if number in {1000, 19_000}:
                        sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 10_000
