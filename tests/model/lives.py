"""Goes far instead of everywhere: long lives at random, with any number of boots."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.model.exploration import Exploration
from tests.model.model import State

# How long a life is, and how often it goes where nothing goes wrong: it gets through a few boots.
_LIFE: Final = 80
_BENIGN: Final = 0.6


@dataclass(slots=True)
class Lives(Exploration):
    """Lives in one model. After :meth:`run` it holds what was found."""

    _came: dict[State, tuple[State | None, str]] = field(default_factory=dict)

    @property
    def states(self) -> int:
        return len(self._came)

    def run(self, random: Random, steps: int, *, look: int = 40) -> None:
        """Take *steps* steps at random, most of them benign, from the start again and again.

        :param look: after so many steps it is looked for the way out.
        """
        begin = state = self.model.begin()
        if begin is None or state is None:
            self.tell()
            return
        self._come(begin, None, "the process starts")
        for step in range(steps):
            if self.first and self.violations:
                break
            found = list(self._following(state))
            if not found or step % look == look - 1:
                self._check_way_out(state)
            if not found or step % _LIFE == _LIFE - 1:
                state = begin
                continue
            benign = [each for each in found if each[1]]
            label, _, following = random.choice(benign if benign and random.random() < _BENIGN else found)
            self._come(following, state, label)
            state = following

    def _following(self, state: State, *, only_benign: bool = False) -> Iterator[tuple[str, bool, State]]:
        """What can happen: what it is, whether it is benign, and what follows."""
        worlds = frozenset((state.world,))
        for move in self.model.moves(state.process, worlds, benign=only_benign):
            self.transitions += 1
            benign = move.benign if isinstance(move.benign, bool) else state.world in move.benign
            for world in move.worlds:
                yield move.label, benign, State(move.process, world)
        self.tell()

    def _come(self, state: State, source: State | None, label: str) -> None:
        self._came.setdefault(state, (source, label))

    def _check_way_out(self, state: State) -> None:
        """From *state* the goal is reached where nothing goes wrong any more."""
        seen, pending = {state}, deque([state])
        while pending:
            each = pending.popleft()
            if self.model.is_goal(each.process, frozenset((each.world,))):
                return
            for label, benign, following in self._following(each, only_benign=True):
                if not benign:
                    continue
                self._come(following, each, label)
                if following not in seen:
                    seen.add(following)
                    pending.append(following)
        snapshot = self.model.steps.snapshots[self.model.steps.processes[state.process].snapshot or 0]
        self.violate(f"no way out of {snapshot.state}", state)

    def story(self, state: State | None) -> list[str]:
        """The life that has led to *state*."""
        story: list[str] = []
        while state is not None:
            state, label = self._came[state]
            story.insert(0, label)
        return story
