"""The sign of life on a virtual clock: none without progress."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from torcxd.daemon.watchdog import watch

INTERVAL = 10


class Engine:
    """Answers pings for as long as it is not stuck."""

    def __init__(self) -> None:
        self.moving = trio.Event()
        self.moving.set()

    async def ping(self) -> None:
        await self.moving.wait()


class Signs:
    """The clock stands still while a worker thread runs: it is moved by hand, from one sign to the next."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self.at: list[float] = []
        self._clock = clock
        self._given = trio.Event()

    def __call__(self) -> None:
        self.at.append(trio.current_time())
        self._given.set()

    async def next(self) -> None:
        await self._given.wait()
        self._given = trio.Event()

    async def pass_time(self, seconds: float) -> None:
        await trio.testing.wait_all_tasks_blocked()
        self._clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
def engine() -> Engine:
    return Engine()


async def test_an_engine_that_moves_gives_a_sign_each_interval(
    engine: Engine, mock_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    signs = Signs(mock_clock)
    nursery.start_soon(watch, engine, signs, INTERVAL)
    for _ in range(3):
        await signs.next()
        await signs.pass_time(INTERVAL)
    await signs.next()
    assert signs.at == [0, 10, 20, 30]


async def test_an_engine_that_is_stuck_gives_none_until_it_moves_again(
    engine: Engine, mock_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    signs = Signs(mock_clock)
    nursery.start_soon(watch, engine, signs, INTERVAL)
    await signs.next()
    engine.moving = trio.Event()
    for _ in range(100):
        await signs.pass_time(INTERVAL)
    assert signs.at == [0]
    engine.moving.set()
    await signs.next()
    assert signs.at == [0, 1000]


async def test_worker_threads_that_all_hang_give_none(
    engine: Engine, mock_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    signs = Signs(mock_clock)
    limiter = trio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = 1
    await limiter.acquire_on_behalf_of(engine)
    nursery.start_soon(watch, engine, signs, INTERVAL)
    for _ in range(100):
        await signs.pass_time(INTERVAL)
    assert signs.at == []
    limiter.release_on_behalf_of(engine)
    await signs.next()
    assert signs.at == [1000]


async def test_it_ends_when_it_is_cancelled_in_the_middle_of_a_round_trip(
    engine: Engine, mock_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    signs = Signs(mock_clock)
    engine.moving = trio.Event()
    nursery.start_soon(watch, engine, signs, INTERVAL)
    await trio.testing.wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert not nursery.child_tasks
    assert signs.at == []
