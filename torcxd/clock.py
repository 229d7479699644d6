"""Wall-clock time, behind an interface, so that tests can run on trio's virtual clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


class SystemClock:
    """The host's clock."""

    def now(self) -> float:
        return time.time()
