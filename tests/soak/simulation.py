"""Worlds from seeds for as long as there is time; each that goes wrong is made as short as it can be."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.explored import Explored
from tests.simulation.world.__main__ import tell
from tests.simulation.world.faults import CLASSES, never
from tests.simulation.world.faults import tell as tell_faults
from tests.simulation.world.run import run as run_story
from tests.simulation.world.shrink import kinds, shrink
from tests.simulation.world.story import make

NAME: Final = "simulation"
HELP: Final = "the whole node on a virtual clock, with troubles from seeds"
# Some 600 seeds. Each is another story: more hours, more of them.
SHARE: Final = 300.0
# The first seed of a run: another one each day, so that every run looks where none looked before.
START: Final = int(os.environ.get("TORCXD_SOAK_SEED", time.strftime("%Y%m%d"))) * 1_000_000
# Seconds between lines of progress.
_PROGRESS: Final = 60.0
# So many seeds in which a class of troubles, or one of its troubles, never fired are no coincidence: the rarest of them
# happens once in some hundred seeds.
_FIRES_WITHIN: Final = 60
_ALL_FIRE_WITHIN: Final = 2000

Result = tuple[int, tuple[str, ...], Counter[str], Counter[str]]


def _one(seed: int) -> Result:
    outcome = run_story(make(seed))
    return seed, outcome.violations, outcome.counts, outcome.fired


def run(budget: float, explored: Explored) -> list[str]:
    """Let worlds happen for *budget* seconds, on all processors; returns what went wrong, and how to repeat it."""
    print(f"  seeds from {START} (TORCXD_SOAK_SEED={START // 1_000_000})", flush=True)
    started = time.monotonic()
    told = started
    sums: Counter[str] = Counter()
    fired: Counter[str] = Counter()
    wrong: list[tuple[int, tuple[str, ...]]] = []
    spawn = multiprocessing.get_context("spawn")
    workers = os.cpu_count() or 1
    # The pool takes all seeds that it can get; those that are begun are finished.
    room = threading.Semaphore(2 * workers)
    with spawn.Pool(workers) as pool:
        for seed, violations, counts, troubles in pool.imap_unordered(_one, _seeds(started + budget, room)):
            room.release()
            sums += counts
            fired += troubles
            if violations:
                wrong.append((seed, violations))
            if time.monotonic() - told > _PROGRESS:
                told = time.monotonic()
                print(f"  {_rate(sums, told - started)}, {len(wrong)} went wrong", flush=True)
    print(f"  {_rate(sums, time.monotonic() - started)}", flush=True)
    for line in tell_faults(fired):
        print(f"  {line}", flush=True)
    for unit, name in (("stories", "seeds"), ("events", "events"), ("crashes", "crashes"), ("boots", "boots")):
        explored.count(NAME, name, sums[unit])
    explored.count(NAME, "troubles", sum(fired[each] for counters in CLASSES.values() for each in counters))
    explored.count(NAME, "virtual hours", round(sums["seconds"] / 3600))
    for seed, violations in wrong[:5]:
        among = kinds(violations)
        short = shrink(make(seed), lambda story, among=among: bool(among & kinds(run_story(story).violations)))  # type: ignore[misc]
        print(tell(short, run_story(short).violations), flush=True)
    return [
        *(f"{violations[0]} (python -m tests.simulation.world --seed {seed} --shrink)" for seed, violations in wrong),
        *silent(sums["stories"], fired),
    ]


def silent(seeds: int, fired: Counter[str]) -> list[str]:
    """The troubles that should have happened in so many seeds and did not: they are tested by name only."""
    if seeds < _FIRES_WITHIN:
        return []
    classes = [name for name, counters in CLASSES.items() if not any(fired[each] for each in counters)]
    single = never(fired) if seeds >= _ALL_FIRE_WITHIN else []
    return [f"in {seeds} seeds from {START} on there was no trouble of the kind {each!r}" for each in classes + single]


def _seeds(end: float, room: threading.Semaphore) -> Iterator[int]:
    seed = START
    while room.acquire() and time.monotonic() < end:
        yield seed
        seed += 1


def _rate(sums: Counter[str], seconds: float) -> str:
    hourly = round(sums["stories"] * 3600 / max(seconds, 1))
    return f"{sums['stories']:,} seeds, {hourly:,} an hour, {round(sums['seconds'] / 3600):,} virtual hours"
