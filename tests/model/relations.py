"""What becomes of each world, tabulated: a thing that happens is looked up for thousands of worlds at once.

A state of the model is a process and its world. What happens to the world depends on little of the process, and what
the core answers on nothing of the world but the event. So worlds are numbered, what can happen to them is computed once
for each of them, and the states are explored in bundles: all the worlds that one process is in.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Set
from typing import Final, Generic, TypeVar

from tests.model.world import World

Kind = TypeVar("Kind", bound=Hashable)
Table = dict[int, int]


class Relation(Generic[Kind]):
    """What becomes of worlds, by the kind of what happens; filled as worlds are met.

    :param happen: what can happen in a world: kinds, each at most once, and the worlds after.
    :ivar tables: the number of the world after by that of the world before, for each kind.
    """

    def __init__(self, happen: Callable[[int], Iterable[tuple[Kind, int]]]) -> None:
        self._happen: Final = happen
        self._met: Final[set[int]] = set()
        self.tables: Final[dict[Kind, Table]] = {}

    def meet(self, worlds: Set[int]) -> None:
        """Learn what can happen in *worlds*."""
        for world in worlds - self._met:
            self._met.add(world)
            for kind, after in self._happen(world):
                table = self.tables.setdefault(kind, {})
                assert world not in table, f"{kind} happens in two ways"
                table[world] = after


class Worlds:
    """Worlds by number, and where what the sources may report is the truth.

    :param truths: conditions on worlds.
    :ivar where: the worlds in which each of *truths* holds.
    """

    def __init__(self, truths: Iterable[Callable[[World], bool]]) -> None:
        self.all: Final[list[World]] = []
        self._numbers: Final[dict[World, int]] = {}
        self._truths: Final = tuple(truths)
        self.where: Final[list[set[int]]] = [set() for _ in self._truths]

    def number(self, world: World) -> int:
        """The number of *world*, which is new or not."""
        known = self._numbers.get(world)
        if known is not None:
            return known
        number = self._numbers[world] = len(self.all)
        self.all.append(world)
        for holds, where in zip(self._truths, self.where, strict=True):
            if holds(world):
                where.add(number)
        return number
