"""The core explored in ever larger worlds: all of them where the time allows it, then long lives at random."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from tests.explored import Explored
from tests.model.lives import Lives
from tests.model.model import Model
from tests.model.scopes import COMMANDS, WALKED, Scope
from tests.model.search import Search
from torcxd.charts import load_chart

NAME: Final = "model"
HELP: Final = "every event in every state of the core, and a crash after each; long lives at random"
SHARE: Final = 420.0
# A state takes some fifty bytes, twice that while sets grow: these take three gigabytes in each of two processes, and
# the memory is given back after each world.
MOST_STATES: Final = 30_000_000
# How many steps of a random life are taken between two looks at the clock.
_STEPS: Final = 2_000
# What of the time is for random lives.
_AT_RANDOM: Final = 0.1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one world, or of one life.

    :param complete: whether the world was gone through to the end.
    """

    scope: Scope
    states: int
    transitions: int
    seconds: float
    complete: bool
    violations: tuple[str, ...]


def scopes() -> list[Scope]:
    """The smaller worlds first.

    Boots that nobody asked for, Kubernetes versions, newer OS versions, damage: to each of them there is a world, and
    one to all of them together. update_engine's marker is to be seen in half of them.
    """
    sizes = [
        (0, 1, 1, False, False),
        (2, 1, 1, False, True),
        (0, 1, 2, False, True),
        (1, 1, 1, True, False),
        (0, 2, 1, False, False),
        (2, 2, 2, True, True),
    ]
    return [
        Scope(name, policy, boots, updates, kubes, damage=damage, marks=marks, most_states=MOST_STATES)
        for boots, kubes, updates, damage, marks in sizes
        for name, policy in COMMANDS.items()
    ]


def run(budget: float, explored: Explored) -> list[str]:
    """Explore for *budget* seconds, on all processors; what is not gone through is printed."""
    began = time.monotonic()
    until, end = began + budget * (1 - _AT_RANDOM), began + budget
    worlds = scopes()
    violations: list[str] = []
    through = 0
    for found in _side_by_side(_search, ((each, len(worlds) - place, until) for place, each in enumerate(worlds))):
        scope = found.scope
        size = f"{scope.most_boots} boots, {scope.updates} OS updates, {scope.kubes} Kubernetes versions"
        size += ", damage" if scope.damage else ""
        size += ", marker" if scope.marks else ""
        how = "all of it" if found.complete else "its beginning"
        pace = f"{found.states / found.seconds:,.0f} a second" if found.states else "not begun"
        print(f"  {scope.name}, {size}: {found.states:,} states, {how}, {pace}", flush=True)
        through += found.complete
        _count(found, explored)
        violations += found.violations
    print(f"  {through} of {len(worlds)} worlds were gone through to the end", flush=True)
    processors = os.cpu_count() or 1
    for lives in _side_by_side(_live, ((seed, processors, end) for seed in range(processors))):
        for found in lives:
            _count(found, explored)
            explored.count(f"core, {found.scope.name}", "random lives")
            violations += found.violations
    return violations


def _side_by_side(task: Callable[..., T], arguments: Iterable[tuple[object, ...]]) -> Iterator[T]:
    """What *task* makes of each of *arguments*, as it comes; each in a process of its own, which frees its memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, max_tasks_per_child=1) as pool:
        for future in as_completed([pool.submit(task, *each) for each in arguments]):
            yield future.result()


def _search(scope: Scope, left: int, until: float) -> Found:
    """Explore one of *left* worlds that are left."""
    began = time.monotonic()
    search = Search(Model(load_chart(), scope))
    # Twice its part of what is left, since many need less; where that is not enough, the others are not to lack it.
    part = (until - began) * (os.cpu_count() or 1) / left
    if part > 0:
        search.run(min(until, began + 2 * part))
    spent = time.monotonic() - began
    return Found(scope, search.states, search.transitions, spent, search.complete, tuple(search.violations))


def _live(seed: int, step: int, until: float) -> list[Found]:
    """Lives with the seeds *seed*, *seed* + *step* and so on."""
    found = []
    while time.monotonic() < until:
        scope = WALKED[seed % len(WALKED)]
        began = time.monotonic()
        lives = Lives(Model(load_chart(), scope))
        lives.run(Random(seed), _STEPS)
        told = tuple(f"seed {seed}: {each}" for each in lives.violations)
        found.append(Found(scope, lives.states, lives.transitions, time.monotonic() - began, False, told))
        seed += step
    return found


def _count(found: Found, explored: Explored) -> None:
    explored.count(f"core, {found.scope.name}", "states", found.states)
    explored.count(f"core, {found.scope.name}", "transitions", found.transitions)
