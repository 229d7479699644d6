"""The journeys' own traps: what a race of the test bench would make of them."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import trio

from tests.crash.journeys import _kept_running
from tests.crash.watch import Watch
from tests.integration.bootstrap.program import Process
from tests.integration.daemon.bench import Service


class _Daemon(Process):
    """Ends when it gets a signal."""

    def send(self, number: signal.Signals) -> None:
        if self.code is None:
            self.code = 0 if number == signal.SIGTERM else -number


async def test_a_daemon_that_is_being_started_when_its_journey_ends_is_ended_too() -> None:
    struck: list[str] = []
    moments: list[SimpleNamespace] = []
    begun: list[_Daemon] = []
    starting, may_start = trio.Event(), trio.Event()

    async def work() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            moments.append(SimpleNamespace(call=SimpleNamespace(where="the API server")))

    @asynccontextmanager
    async def start(*_arguments: str) -> AsyncIterator[Process]:
        if begun:
            starting.set()
            await may_start.wait()
        daemon = _Daemon()
        begun.append(daemon)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            yield daemon
            if len(begun) == 1:
                struck.append("a kill")
                daemon.send(signal.SIGKILL)
            while daemon.code is None:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    node = cast("Service", SimpleNamespace(start=start, judge=lambda: None, box=SimpleNamespace(flags=[])))
    watch = cast("Watch", SimpleNamespace(struck=struck, moments=moments))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _journey() -> None:
                async with _kept_running(node, watch):
                    await starting.wait()
                # Here the signal has gone to the one that is dead.

            await starting.wait()
            await trio.testing.wait_all_tasks_blocked()
            may_start.set()
    assert [each.code for each in begun] == [-signal.SIGKILL, 0]
