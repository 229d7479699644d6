"""The sign of life for the service manager: given only after the daemon has proved that it makes progress.

A timer alone would go on in a process whose engine is stuck, and so hide what the manager is to find. So each sign
needs a round trip through the engine's own loop and one through a worker thread: a blocked event loop, an engine that
handles no event any more, and a pool whose threads all hang give none, and the manager restarts the service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio


class Pingable(Protocol):
    """What is watched."""

    async def ping(self) -> None:
        """Return once the engine's loop has come round: after what it handles now, in turn with its events."""
        ...


async def watch(engine: Pingable, alive: Callable[[], None], interval: float) -> None:
    """Call *alive* now and every *interval* seconds, for as long as the engine and the worker threads answer.

    Never returns. Cancellation ends it at any point but within *alive*.

    :param alive: gives the sign of life; :meth:`ServiceManager.watchdog` in the daemon.
    :param interval: seconds between a sign and the next round trip: what that takes comes on top.
    """
    while True:
        await engine.ping()
        # By the default limiter on purpose: it is the one that the daemon's own file and gpg work waits for.
        await trio.to_thread.run_sync(_nothing, abandon_on_cancel=True)
        alive()
        await trio.sleep(interval)


def _nothing() -> None:
    pass
