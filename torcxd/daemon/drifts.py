"""Slows down a node on which the set goes away as often as it is placed.

The first time it is placed again at once: that is what repairs a node. Where somebody, or a disk, keeps taking it away,
a node that went on at once would fetch its images without end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

from torcxd.clock import Clock
from torcxd.daemon.engine import Report
from torcxd.lifecycle import retry
from torcxd.lifecycle.events import Drifted, Waiting
from torcxd.lifecycle.facts import Running


@dataclass(slots=True)
class Drifts:
    """How often in a row the set was found gone, in this process."""

    _in_a_row: int = 0
    _rests_until: float = -math.inf

    async def tell(self, clock: Clock, running: Running, report: Report) -> None:
        """Report ``Drifted``: at once, since from then on the node counts as unprepared."""
        if self._in_a_row:
            self._rests_until = trio.current_time() + retry.delay(self._in_a_row, 0.5)
        self._in_a_row += 1
        await report(Drifted(clock.now(), running))

    async def rest(self, clock: Clock, report: Report) -> None:
        """Wait until the set may be placed once more: from the second time on the back-off of failures.

        Cancelled while it waits, it goes on waiting for the same moment the next time.
        """
        left = self._rests_until - trio.current_time()
        if left > 0:
            reason = f"the next attempt to place the set, which was gone {self._in_a_row} times in a row"
            await report(Waiting(clock.now(), reason, clock.now() + left))
            await trio.sleep(left)

    def over(self) -> None:
        """The set was there when it was needed."""
        self._in_a_row = 0
