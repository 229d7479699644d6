"""The core explored in ever larger worlds: all of them where the time allows it, then long lives at random."""

from __future__ import annotations

import time
from random import Random
from typing import Final

from tests.explored import Explored
from tests.model.explore import Explorer
from tests.model.scopes import COMMANDS, WALKED
from tests.model.shell import Scope
from torcxd.charts import load_chart

NAME: Final = "model"
HELP: Final = "every event in every state of the core, and a crash after each; long lives at random"
SHARE: Final = 600.0
# A state takes about a kilobyte: these take two gigabytes, and the memory is given back after each world.
MOST_STATES: Final = 2_000_000
# How many steps of a random life are taken between two looks at the clock.
_STEPS: Final = 2_000
# What of the time is for random lives.
_AT_RANDOM: Final = 0.2


def scopes() -> list[Scope]:
    """The smaller worlds first."""
    sizes = [(0, 1, False), (0, 1, True), (1, 1, False), (0, 2, False), (1, 2, True), (2, 2, True)]
    return [
        Scope(name, policy, most_boots=boots, kubes=kubes, damage=damage, most_states=MOST_STATES)
        for boots, kubes, damage in sizes
        for name, policy in COMMANDS.items()
    ]


def run(budget: float, explored: Explored) -> list[str]:
    """Explore for *budget* seconds; what is not gone through is printed."""
    began = time.monotonic()
    until = began + budget * (1 - _AT_RANDOM)
    violations: list[str] = []
    worlds = scopes()
    through = 0
    for number, scope in enumerate(worlds):
        # Each gets its part of what is left.
        left = until - time.monotonic()
        explorer = Explorer(load_chart(), scope)
        explorer.run(time.monotonic() + left / (len(worlds) - number))
        through += explorer.complete
        size = f"{scope.most_boots} boots, {scope.kubes} Kubernetes versions{', damage' if scope.damage else ''}"
        how = "all of it" if explorer.complete else "its beginning"
        print(f"  {scope.name}, {size}: {explorer.states:,} states, {how}", flush=True)
        _count(explorer, explored)
        violations += explorer.violations
    print(f"  {through} of {len(worlds)} worlds were gone through to the end", flush=True)
    seed = 0
    while time.monotonic() < began + budget:
        scope = WALKED[seed % len(WALKED)]
        explorer = Explorer(load_chart(), scope)
        explorer.walk(Random(seed), _STEPS)
        _count(explorer, explored)
        explored.count(f"core, {scope.name}", "random lives")
        violations += [f"seed {seed}: {each}" for each in explorer.violations]
        seed += 1
    return violations


def _count(explorer: Explorer, explored: Explored) -> None:
    explored.count(f"core, {explorer.scope.name}", "states", explorer.states)
    explored.count(f"core, {explorer.scope.name}", "transitions", explorer.transitions)
