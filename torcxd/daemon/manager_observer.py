"""Tells the service manager: that the service is up, and in one sentence what it is at, at each change."""

from __future__ import annotations

from collections.abc import Collection

from torcxd.host.notify import ServiceManager
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.snapshot import Snapshot
from torcxd.sources.health import HealthBoard


class ManagerObserver:
    """An observer of the engine and of the sources.

    The service is up once there is a plan, or update_engine was heard; or once each source was tried: one that is not
    there, such as an update_engine that is masked, is told of, and no reason to keep the service manager waiting.
    """

    def __init__(self, manager: ServiceManager, health: HealthBoard) -> None:
        self._manager = manager
        self._health = health
        self._snapshot: Snapshot | None = None
        self._ready = False
        self._told = ""
        health.on_change = self._tell

    def stepped(self, step: Step, event: Event) -> None:
        self._snapshot = step.snapshot
        self._tell()

    def _tell(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            return
        sentence = describe(snapshot, self._health.missing())
        known = snapshot.plan is not None or snapshot.os_update is not None
        if not self._ready and (known or self._health.all_tried()):
            self._ready = True
            self._manager.ready(sentence)
        elif sentence != self._told:
            self._manager.status(sentence)
        self._told = sentence


def describe(snapshot: Snapshot, missing: Collection[str] = ()) -> str:
    """What the node's lifecycle is at, in one sentence for ``systemctl status``; and which sources it does without."""
    without = f" Not heard: {', '.join(missing)}." if missing else ""
    target = snapshot.target
    what = f" for OS {target.coming_os}" if target is not None else ""
    if snapshot.failure is not None:
        failure = snapshot.failure
        times = "once" if failure.attempts == 1 else f"{failure.attempts} times"
        return f"Work in state {snapshot.state}{what} failed {times}: {failure.message.rstrip('.')}.{without}"
    if snapshot.waiting_for:
        return f"{snapshot.state.capitalize()}{what}, waiting for {snapshot.waiting_for}.{without}"
    return f"{snapshot.state.capitalize()}{what}.{without}"
