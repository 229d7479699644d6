"""The lifecycle on D-Bus, for programs on the node: ``io.torcxd.Torcxd1``, read-only.

``busctl introspect io.torcxd.Torcxd1 /io/torcxd/Torcxd1`` shows it, ``busctl monitor io.torcxd.Torcxd1`` follows it.
Who may own and read it says ``systemd/io.torcxd.Torcxd1.conf``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from torcxd.dbus.connection import system_bus_address
from torcxd.dbus.service import Interface, Property, Service
from torcxd.errors import TorcxdError
from torcxd.lifecycle import retry
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.facts import Plan
from torcxd.lifecycle.machine import Move, Step
from torcxd.lifecycle.snapshot import Snapshot

log = logging.getLogger(__name__)

NAME: Final = "io.torcxd.Torcxd1"
PATH: Final = "/io/torcxd/Torcxd1"
INTERFACE: Final = NAME

# Transitions that wait to be sent. A bus takes them at once; one that hangs must not make the process grow, and who
# reads it again later wants to know how the node is, not every way it went.
_MOST_WAITING: Final = 64


class BusObject(Service):
    """An observer of the engine whose properties and signals tell its steps to the bus.

    :param address: gives the bus's address; asked at each connection.
    :param random: gives numbers in [0, 1) for jitter.
    """

    def __init__(self, random: Callable[[], float], address: Callable[[], str] = system_bus_address) -> None:
        super().__init__(NAME)
        self._address = address
        self._random = random
        self._snapshot: Snapshot | None = None
        self._because = ""
        self._moves: deque[Move] = deque(maxlen=_MOST_WAITING)
        self._changed = trio.Event()
        self._attempt = 0
        properties = {
            "State": Property("s", lambda: self._snapshot.state if self._snapshot else ""),
            "Since": Property("t", lambda: round(self._snapshot.since * 1_000_000) if self._snapshot else 0),
            "Reason": Property("s", self._reason),
            "Target": Property("s", lambda: _target(self._snapshot.plan if self._snapshot else None)),
        }
        signals = {"StateChanged": "sss"}
        names = {"StateChanged": ("from", "to", "reason")}
        self.export(PATH, Interface(INTERFACE, properties=properties, signals=signals, argument_names=names))

    def stepped(self, step: Step, event: Event) -> None:
        self._snapshot = step.snapshot
        if step.move is not None:
            self._because = step.move.because
            self._moves.append(step.move)
        self._changed.set()

    async def run(self) -> None:
        """Be on the bus until cancelled: what ends the connection is told once, and it is made again."""
        while True:
            try:
                await self.serve(self._address())
                failure = "the bus closed the connection"
            except TorcxdError as error:
                failure = str(error)
            self._attempt += 1
            if self._attempt == 1:
                log.info("The state is not told on D-Bus: %s. It is tried again.", failure)
            else:
                log.debug("The state is not told on D-Bus: %s.", failure)
            await trio.sleep(retry.delay(self._attempt, self._random()))

    async def started(self) -> None:
        self._attempt = 0
        # Who connects now reads the properties; what happened while nobody could listen is in the journal.
        self._moves.clear()
        self.start_soon(self._tell_changes)

    async def _tell_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while self._moves:
                move = self._moves.popleft()
                await self.emit(PATH, INTERFACE, "StateChanged", move.source, move.dest, move.because)
            await self.emit_properties_changed(PATH, INTERFACE)

    def _reason(self) -> str:
        """What most explains the present state: its failure, what it waits for, or how it was entered."""
        if self._snapshot is None:
            return ""
        if self._snapshot.failure is not None:
            return self._snapshot.failure.message
        return self._snapshot.waiting_for or self._because


def _target(plan: Plan | None) -> str:
    """What the node is to run, in one clause; empty while it is not known."""
    if plan is None:
        return ""
    docker = f", Docker {plan.docker}" if plan.docker else ""
    return f"OS {plan.boot_os}, Kubernetes {plan.target.kube_version}{docker}"
