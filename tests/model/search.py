"""Explores the graph exhaustively, breadth first; and looks whether from each state reached the goal can be reached.

Boots that are counted (:attr:`Scope.most_boots`) are put off until all is explored that comes with fewer of them. So
how many there were is no part of a state: what follows a state where more boots were used up follows it where fewer
were, too, and what is benign takes none of them.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from tests.model.exploration import Exploration
from tests.model.model import Move, State
from tests.model.relations import Table

# The worlds that processes are in, by the process' number.
Bundles = dict[int, set[int]]
# The same, as compact as it can be: only stories are made of it.
Level = dict[int, "array[int]"]
_NOWHERE: Final[frozenset[int]] = frozenset()


@dataclass(slots=True)
class Search(Exploration):
    """One exploration. After :meth:`run` it holds what was found.

    :ivar boots: with how many counted boots all is explored.
    :ivar complete: whether nothing is left to explore, and from each state it was looked for the goal.
    """

    states: int = 0
    boots: int = 0
    complete: bool = False
    _deadline: float | None = None
    _reached: Bundles = field(default_factory=dict)
    # What was reached first in each step, and which of these began with the boots that were put off.
    _levels: list[Level] = field(default_factory=list)
    _booted: set[int] = field(default_factory=set)

    def run(self, deadline: float | None = None) -> None:
        """Explore until nothing is left, :attr:`Scope.most_states` are reached, or it is *deadline* (monotonic)."""
        self._deadline = deadline
        frontier: Bundles = {}
        begin = self.model.begin()
        if begin is not None:
            self._reach(begin.process, {begin.world}, frontier)
        self.tell()
        put_off: Bundles = {}
        while frontier:
            frontier = self._advance(self._unfold(frontier), put_off)
            if self._is_over():
                return
            if not frontier and put_off:
                self.boots += 1
                self._booted.add(len(self._levels))
                for process, worlds in put_off.items():
                    self._reach(process, worlds, frontier)
                put_off = {}
        self.complete = self._check_ways_out()

    def _is_over(self) -> bool:
        if self.first and self.violations:
            return True
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return True
        most = self.model.scope.most_states
        return most is not None and self.states >= most

    def _unfold(self, frontier: Bundles) -> Bundles:
        """*frontier*, and all that the world can do by itself from there: then each process is looked at less often."""
        unfolded: Bundles = {}
        while frontier:
            self._levels.append({process: array("I", worlds) for process, worlds in frontier.items()})
            following: Bundles = {}
            for process, worlds in frontier.items():
                unfolded.setdefault(process, set()).update(worlds)
                for move in self.model.around(process, worlds):
                    self.transitions += move.times
                    self._reach(process, move.worlds, following)
            frontier = following
        return unfolded

    def _advance(self, frontier: Bundles, put_off: Bundles) -> Bundles:
        """What is first reached from *frontier* by what processes do and hear; ends early when all is over.

        :param put_off: what is reached by a boot that counts is added to it.
        """
        most = self.model.scope.most_boots
        may_boot = most is None or self.boots < most
        following: Bundles = {}
        for process, worlds in frontier.items():
            for move in self.model.within(process, worlds):
                if not move.counted:
                    self.transitions += move.times
                    self._reach(move.process, move.worlds, following)
                elif may_boot:
                    self.transitions += move.times
                    put_off.setdefault(move.process, set()).update(move.worlds)
            heard = self.model.heard(process, worlds)
            self.transitions += len(heard) * len(worlds)
            for after in {each.process for each in heard} - {process}:
                self._reach(after, worlds, following)
            self.tell()
            if self._is_over():
                break
        return following

    def _reach(self, process: int, worlds: Set[int], following: Bundles) -> None:
        reached = self._reached.setdefault(process, set())
        fresh = worlds - reached
        if fresh:
            self.states += len(fresh)
            reached |= fresh
            following.setdefault(process, set()).update(fresh)

    # What is told.

    def story(self, state: State | None) -> list[str]:
        """What has led to *state*: a short one, since breadth comes first."""
        story: list[str] = []
        level = len(self._levels) - 1
        while state is not None:
            while state.world not in self._levels[level].get(state.process, ()):
                level -= 1
            if level == 0:
                break
            counted = level in self._booted
            state, label = next(self._origins(state, reversed(self._levels[:level]), counted=counted))
            story.insert(0, label)
        return ["the process starts", *story]

    def _origins(self, state: State, levels: Iterable[Level], *, counted: bool) -> Iterator[tuple[State, str]]:
        """From where in *levels*, and how, *state* is reached.

        :param counted: it is by a boot that was put off.
        """
        for level in levels:
            for process, numbers in level.items():
                worlds = set(numbers)
                for move in self.model.moves(process, worlds):
                    if (move.process, move.counted) != (state.process, counted) or state.world not in move.worlds:
                        continue
                    for world in worlds:
                        if (world if move.table is None else move.table.get(world)) == state.world:
                            yield State(process, world), move.label

    # The goal.

    def _check_ways_out(self) -> bool:
        """Look for the goal from every state: it is to be reached where nothing goes wrong any more.

        Backwards from the goals, keeping only what is not yet known to lead there: there is no room for both.

        :returns: whether there was time for it.
        """
        lost, self._reached = self._reached, {}
        entries = self._entries(lost)
        pending: Bundles = {}
        for process, worlds in lost.items():
            if good := set(self.model.is_goal(process, worlds)):
                pending[process] = good
        for process, good in pending.items():
            lost[process] -= good
        inverses: dict[int, dict[int, list[int]]] = {}
        while pending:
            if self._deadline is not None and time.monotonic() >= self._deadline:
                return False
            process, good = pending.popitem()
            for source, move in entries.get(process, ()):
                left = lost[source]
                if not left:
                    continue
                before = _before(move, good, inverses) & left
                if not isinstance(move.benign, bool):
                    before &= move.benign
                if before:
                    left -= before
                    pending.setdefault(source, set()).update(before)
        for state in self._first_of(lost):
            snapshot = self.model.steps.snapshots[self.model.steps.processes[state.process].snapshot or 0]
            self.violate(f"no way out of {snapshot.state}", state)
        return True

    def _entries(self, reached: Bundles) -> dict[int, list[tuple[int, Move]]]:
        """What leads to each process where nothing goes wrong, and from which."""
        entries: dict[int, list[tuple[int, Move]]] = {}
        for process, worlds in reached.items():
            for move in self.model.moves(process, worlds, benign=True):
                if move.benign is not False:
                    entries.setdefault(move.process, []).append((process, move._replace(worlds=_NOWHERE)))
        return entries

    def _first_of(self, lost: Bundles) -> Iterator[State]:
        """One of *lost* that was reached early, if there is any."""
        for level in self._levels:
            for process, worlds in level.items():
                for world in worlds:
                    if world in lost[process]:
                        yield State(process, world)
                        return


def _before(move: Move, worlds: Set[int], inverses: dict[int, dict[int, list[int]]]) -> Set[int]:
    """The worlds from which *move* leads to *worlds*.

    :param inverses: the tables that were turned round before, by their identity.
    """
    if move.table is None:
        return worlds
    inverse = inverses.get(id(move.table))
    if inverse is None:
        inverse = inverses[id(move.table)] = _inverse(move.table)
    return set(chain.from_iterable(inverse.get(each, ()) for each in worlds))


def _inverse(table: Table) -> dict[int, list[int]]:
    inverse: dict[int, list[int]] = {}
    for before, after in table.items():
        inverse.setdefault(after, []).append(before)
    return inverse
