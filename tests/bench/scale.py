"""How much is measured, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes in bytes, times in seconds.

    :param image: the image that is downloaded as fast as it goes.
    :param small_image: each of the two images of a bootstrap.
    :param rate: bytes a second over each connection of a bootstrap.
    :param update: how long the OS update of a bootstrap takes.
    :param idle: seconds for which the daemon is watched doing nothing.
    :param events: of a watch, handled in one go.
    :param reactions: how often the daemon is made to react.
    :param downloads, bootstraps, starts: how often each of them is repeated.
    """

    image: int
    small_image: int
    rate: float
    update: float
    downloads: int
    bootstraps: int
    starts: int
    idle: float
    events: int
    reactions: int


FULL: Final = Scale(
    image=200_000_000,
    small_image=25_000_000,
    rate=20_000_000,
    update=3,
    downloads=7,
    bootstraps=3,
    starts=31,
    idle=70,
    events=20_000,
    reactions=11,
)
# Long enough to keep it working; its figures mean nothing.
QUICK: Final = Scale(
    image=4_000_000,
    small_image=400_000,
    rate=20_000_000,
    update=0.2,
    downloads=1,
    bootstraps=1,
    starts=2,
    idle=2,
    events=200,
    reactions=1,
)
