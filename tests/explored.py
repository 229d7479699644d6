"""What the exhaustive and the random tests explored: counted where it happens, printed where people look.

A test takes the ``explored`` fixture and counts; ``pytest`` prints the sums below its results, and ``python -m
tests.soak`` those of its parts.

    def test_every_event(explored: Explored) -> None:
        ...
        explored.count("core", "states", len(states))
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Explored:
    """Sums, by what was explored and by what was counted of it, in the order in which they came."""

    sums: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, what: str, unit: str, number: int = 1) -> None:
        """Add *number* *unit* (a plural, as "crash points") to what was explored of *what*."""
        self.sums.setdefault(what, Counter())[unit] += number

    def lines(self) -> list[str]:
        """One line for each part explored, for people."""
        width = max(map(len, self.sums), default=0)
        return [
            f"{what:{width}}  " + ", ".join(f"{number:,} {unit}" for unit, number in counted.items())
            for what, counted in self.sums.items()
        ]
