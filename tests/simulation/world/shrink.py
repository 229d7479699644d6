"""Makes a story that goes wrong as short as it can be: each event that is left is needed for the same violation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.simulation.world.story import Event, Story

Fails = Callable[[Story], bool]

# Runs of the world for one story: a handful of events is found in some dozens; the rest is for stubborn ones.
MOST_RUNS = 150


def kinds(violations: tuple[str, ...]) -> frozenset[str]:
    """What went wrong, without the particulars: the invariants by name."""
    return frozenset(each.partition(":")[0] for each in violations)


def shrink(story: Story, fails: Fails, *, most_runs: int = MOST_RUNS) -> Story:
    """The shortest story found that still *fails*, by leaving out ever smaller parts (delta debugging).

    :param fails: whether a story goes wrong in the way of interest; it does for *story*.
    """
    runs = 0
    best = story
    size = max(1, len(best.events) // 2)
    while runs < most_runs:
        shorter = None
        for start in range(0, len(best.events), size):
            candidate = _without(best, start, size)
            runs += 1
            if fails(candidate):
                shorter = candidate
                break
            if runs >= most_runs:
                break
        if shorter is not None:
            best = shorter
            size = max(1, min(size, len(best.events) // 2))
        elif size == 1:
            break
        else:
            size //= 2
    return best


def _without(story: Story, start: int, size: int) -> Story:
    kept: tuple[Event, ...] = story.events[:start] + story.events[start + size :]
    return replace(story, events=kept)
