"""Runs something until it ends or a signal asks for its end."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")

# A shell's convention for a process that a signal ended: 128 + its number.
SIGNALLED = 128


async def until_signal(work: Callable[[], Awaitable[T]], *numbers: signal.Signals) -> T | signal.Signals:
    """Run *work*; the first of *numbers* cancels it.

    :returns: what *work* returned, or the signal.
    """
    outcome: list[T | signal.Signals] = []
    async with trio.open_nursery() as nursery:
        listening = trio.Event()

        async def wait_for_signal() -> None:
            with trio.open_signal_receiver(*numbers) as received:
                listening.set()
                async for number in received:
                    outcome.append(signal.Signals(number))
                    nursery.cancel_scope.cancel()
                    return

        nursery.start_soon(wait_for_signal)
        await listening.wait()
        outcome.append(await work())
        nursery.cancel_scope.cancel()
    return outcome[-1]
