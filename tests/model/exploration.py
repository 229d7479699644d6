"""What the ways to explore a model have in common: telling what is wrong, the first of each kind, with its story."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

from tests.model.model import Model, State


@dataclass(slots=True)
class Exploration:
    """An exploration of one model.

    :param first: whether to stop at the first violation.
    :ivar violations: what is wrong, each with a story that leads there.
    :ivar transitions: how many were taken.
    """

    model: Model
    first: bool = False
    violations: list[str] = field(default_factory=list)
    transitions: int = 0
    _kinds: set[str] = field(default_factory=set)

    @abstractmethod
    def story(self, state: State | None) -> list[str]:
        """What has led to *state*."""

    def tell(self) -> None:
        """Tell of what the model found to be wrong."""
        for wrong in self.model.wrongs:
            self.violate(wrong.what, wrong.state, wrong.label)
        self.model.wrongs.clear()

    def violate(self, what: str, state: State | None, *more: str) -> None:
        """Keep the first of each kind.

        :param more: what happened since *state*.
        """
        if what in self._kinds:
            return
        self._kinds.add(what)
        story = filter(None, [*self.story(state), *more])
        self.violations.append(f"{self.model.scope.name}: {what}: {' > '.join(story)}")
