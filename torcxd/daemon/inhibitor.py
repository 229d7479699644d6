"""Holds off reboots while the node is not prepared for what boots next (N1).

By two login1 inhibitors, for logind listens to nobody else. One in block mode: it refuses reboots of users, and of root
from systemd 257 on. Before, root passes it, and so do the agents of the update operators, which run as root. The other
one stops them, in delay mode: logind grants their reboot, and lets it wait until the inhibitor is let go, for
``InhibitDelayMaxSec=`` at most. What passes both is in docs/operations.md. The kernel closes the descriptors, however
this process ends, so they never outlive it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from torcxd import messages
from torcxd.dbus.bus import Bus
from torcxd.dbus.login1 import NAME, InhibitMode, Login1
from torcxd.dbus.signals import OwnerChange, Signals
from torcxd.errors import TorcxdError
from torcxd.lifecycle import retry
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.preparedness import inhibition
from torcxd.lifecycle.snapshot import Snapshot

log = logging.getLogger(__name__)

WHAT: Final = "shutdown"
WHO: Final = "torcxd"


class InhibitionGuard:
    """An observer of the engine that holds the inhibitors whenever the core wants reboots held off.

    :param limit: seconds for which one inhibition is held at most: a node that can never be prepared must not refuse
        reboots for ever.
    :ivar held: why it is held now, empty when it is not.
    """

    def __init__(
        self,
        open_bus: Callable[[], AbstractAsyncContextManager[Bus]],
        *,
        limit: float,
        random: Callable[[], float],
    ) -> None:
        self._open_bus = open_bus
        self._limit = limit
        self._random = random
        self._wanted = ""
        # Counts the times that it became wanted: one that was given up is not one that comes after it.
        self._asked = 0
        self._changed = trio.Event()
        self.held = ""

    def decided(self, snapshot: Snapshot) -> None:
        """Take them for *snapshot*, which need not be durable yet: a full disk is no reason to let a reboot through.

        Nor is it one to let go of them: that waits for :meth:`stepped`.
        """
        if wanted := inhibition(snapshot):
            self._want(wanted)

    def stepped(self, step: Step, event: Event) -> None:
        self._want(inhibition(step.snapshot))

    def _want(self, wanted: str) -> None:
        if bool(wanted) != bool(self._wanted):
            self._wanted = wanted
            self._asked += bool(wanted)
            self._changed.set()

    async def run(self) -> None:
        """Take and release them until cancelled, which releases them."""
        while True:
            if not self._wanted:
                await self._next_change()
                continue
            asked = self._asked
            with trio.move_on_after(self._limit) as scope:
                await self._hold()
            if scope.cancelled_caught:
                log.warning(
                    "Reboots are let through: after %.0f s, still %s. The node may come up without Docker.",
                    self._limit,
                    self._wanted,
                    extra=messages.INHIBITOR_EXPIRED.extra({"TORCXD_REASON": self._wanted}),
                )
                while self._asked == asked:
                    await self._next_change()

    async def _hold(self) -> None:
        """Hold the inhibitors for as long as they are wanted, over restarts of bus and logind."""
        attempt = 0
        while self._wanted:
            try:
                async with self._open_bus() as bus, bus.owner_changes(NAME) as restarts:
                    login1 = Login1(bus)
                    with (
                        await login1.inhibit(WHAT, WHO, self._wanted, InhibitMode.BLOCK),
                        await login1.inhibit(WHAT, WHO, self._wanted, InhibitMode.DELAY),
                    ):
                        attempt = 0
                        await self._while_wanted(restarts)
            except* TorcxdError as group:
                attempt += 1
                log.warning("Reboots cannot be held off: %s.", group.exceptions[0])
            if self._wanted and attempt:
                await trio.sleep(retry.delay(attempt, self._random()))

    async def _while_wanted(self, restarts: Signals[OwnerChange]) -> None:
        """Return when they are no longer wanted, or logind went away and took the inhibitors with it."""
        self.held = self._wanted
        log.info(
            "Holding off reboots: %s.",
            self._wanted,
            extra=messages.INHIBITOR_TAKEN.extra({"TORCXD_REASON": self._wanted}),
        )
        try:
            async with trio.open_nursery() as nursery:

                async def until_restart() -> None:
                    await anext(restarts)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_restart)
                while self._wanted:
                    await self._next_change()
                nursery.cancel_scope.cancel()
        finally:
            self.held = ""
            if not self._wanted:
                log.info("Reboots are let through again.", extra=messages.INHIBITOR_RELEASED.extra())

    async def _next_change(self) -> None:
        self._changed = trio.Event()
        await self._changed.wait()
