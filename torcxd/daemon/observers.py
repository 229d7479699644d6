"""Several observers of one engine."""

from __future__ import annotations

from torcxd.daemon.engine import Observer
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.machine import Step


class Observers:
    """Tells each of *observers* of each step, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def stepped(self, step: Step, event: Event) -> None:
        for each in self._observers:
            each.stepped(step, event)
