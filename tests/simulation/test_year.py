"""A year of a node's life under the daemon, on the virtual clock: nothing grows, and nothing is left undone."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.simulation.live import live
from tests.simulation.pace import DAY, FORTNIGHTS, LARGEST_HISTORY, SETTLED, os_version

# Bytes, in three months. What a plan or an error is long makes some difference; one object that is kept for each event
# would be seen, for there are thousands of them.
LARGEST_GROWTH = 100_000


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder in memory: the state is made durable tens of thousands of times, which takes minutes on a real disk."""
    with tempfile.TemporaryDirectory(prefix="year.", dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture
def traced() -> Iterator[None]:
    """Python counts what it allocates no longer than for one test."""
    yield
    tracemalloc.stop()


@pytest.mark.accepts("N3", "N4", "I7", "I8")
async def test_a_year_leaves_nothing_behind(
    disk: Path, traced: None, autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    year = await live(disk, monkeypatch)
    assert trio.current_time() >= 364 * DAY

    # It lived: every update was prepared, answered and verified, after whatever went wrong before.
    assert year.node.pending == os_version(FORTNIGHTS)
    assert year.answers == FORTNIGHTS
    assert year.rolled_back == FORTNIGHTS // 5
    assert year.inhibitors >= FORTNIGHTS
    assert year.failures > FORTNIGHTS
    assert year.states["reboot-pending"] >= FORTNIGHTS

    # Whatever happened, nothing was broken.
    assert year.checker.check() == []

    # Nothing grows.
    weights = year.weights[1:]
    settled = year.weights[SETTLED + 1 :]
    assert settled[-1].memory - settled[0].memory < LARGEST_GROWTH, settled
    # And within each fortnight, in which one process meets all of it.
    assert max(each.growth for each in settled) < LARGEST_GROWTH, settled
    assert len({each.descriptors for each in weights}) == 1, weights
    assert len({each.tasks for each in weights}) == 1, weights
    assert max(each.state_file for each in weights) < 10_000
    assert max(each.history for each in weights) < LARGEST_HISTORY + 1000
    assert max(each.stores for each in weights) == 2
