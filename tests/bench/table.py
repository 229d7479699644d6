"""What was measured, as a table: each figure beside its peer's, with the spread, and whether the target is met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Final, TypeVar

T = TypeVar("T")
S = TypeVar("S")

_HEADINGS: Final = ("Measured", "torcxd", "Beside", "Its figure", "Ratio", "Target", "Met")


class Unit(Enum):
    """How a figure is written: its decimals and its name."""

    MEGABYTES_A_SECOND = (0, "MB/s")
    MEGABYTES = (1, "MB")
    SECONDS = (2, "s")
    MILLISECONDS = (1, "ms")
    MILLISECONDS_A_MINUTE = (1, "ms/min")
    AN_HOUR = (0, "an hour")
    A_SECOND = (0, "a second")
    TIMES_ITS_SIZE = (3, "of its size")

    def render(self, values: Sequence[float]) -> str:
        """The median, and from where to where the values range if there are several."""
        decimals, name = self.value
        middle = f"{median(values):.{decimals}f} {name}"
        if len(values) == 1:
            return middle
        return f"{middle} ({min(values):.{decimals}f} to {max(values):.{decimals}f})"


class Of(Enum):
    """What a target is about."""

    RATIO = "ratio"
    FIGURE = "figure"


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached, by the median."""

    of: Of
    bound: float
    at_least: bool = False

    def is_met(self, row: Row) -> bool:
        value = row.ratio if self.of is Of.RATIO else median(row.figures)
        return value >= self.bound if self.at_least else value <= self.bound

    def render(self, unit: Unit) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:g}" + (f" {unit.value[1]}" if self.of is Of.FIGURE else "")


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    :param figures: torcxd's, one for each round, in *unit*.
    :param beside: what the peer is.
    :param peers: the peer's figures in the same rounds.
    :param target: None where the comparison is for information.
    """

    what: str
    unit: Unit
    figures: Sequence[float]
    beside: str
    peers: Sequence[float]
    target: Target | None = None

    @property
    def ratio(self) -> float:
        """The median of each round's ratio: the two halves of a round had the same company on the machine."""
        return median(figure / peer for figure, peer in zip(self.figures, self.peers, strict=True))

    def cells(self) -> tuple[str, ...]:
        target, met = ("", "") if self.target is None else (self.target.render(self.unit), self._verdict(self.target))
        peers = self.unit.render(self.peers)
        return self.what, self.unit.render(self.figures), self.beside, peers, f"{self.ratio:.2f}", target, met

    def _verdict(self, target: Target) -> str:
        return "yes" if target.is_met(self) else "NO"


def render(rows: Sequence[Row]) -> str:
    """The table, in Markdown."""
    lines = [_HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    dashes = tuple("-" * width for width in widths)
    padded = (
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in (lines[0], dashes, *lines[1:])
    )
    return "".join(f"| {' | '.join(line)} |\n" for line in padded)


def interleaved(rounds: int, one: Callable[[], T], other: Callable[[], S]) -> tuple[list[T], list[S]]:
    """Run both *rounds* times, in turns, so that what disturbs the machine disturbs both. Who begins changes."""
    ones: list[T] = []
    others: list[S] = []
    for number in range(rounds):
        if number % 2:
            others.append(other())
            ones.append(one())
        else:
            ones.append(one())
            others.append(other())
    return ones, others
