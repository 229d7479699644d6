"""When the service counts as up, and the sentence that the service manager shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from torcxd.clock import SystemClock
from torcxd.daemon.manager_observer import ManagerObserver, describe
from torcxd.host.notify import ServiceManager
from torcxd.lifecycle.events import Started
from torcxd.lifecycle.facts import OsUpdate
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.snapshot import Failure, Snapshot
from torcxd.sources.health import HealthBoard

FRESH = Snapshot("gathering", 1.0, "b", waiting_for="update_engine")


class Recorded(ServiceManager):
    def __init__(self) -> None:
        super().__init__({})
        self.told: list[tuple[str, str]] = []

    def ready(self, status: str = "") -> None:
        self.told.append(("ready", status))

    def status(self, text: str) -> None:
        self.told.append(("status", text))


@pytest.fixture
def manager() -> Recorded:
    return Recorded()


@pytest.fixture
def health(tmp_path: Path) -> HealthBoard:
    board = HealthBoard(tmp_path / "sources.json", SystemClock())
    board.expect(["update_engine", "node"])
    return board


def stepped(observer: ManagerObserver, snapshot: Snapshot) -> None:
    observer.stepped(Step(snapshot, None, ()), Started(1.0, "b"))


@pytest.mark.accepts("N5")
def test_it_is_up_once_every_source_was_tried(manager: Recorded, health: HealthBoard) -> None:
    observer = ManagerObserver(manager, health)
    stepped(observer, FRESH)
    health.up("node")
    assert manager.told == [("status", "Gathering, waiting for update_engine.")]
    health.down("update_engine", "it is masked")
    assert manager.told[1:] == [("ready", "Gathering, waiting for update_engine. Not heard: update_engine.")]
    # Once is enough.
    health.down("node", "connection refused")
    health.up("update_engine")
    assert [what for what, _ in manager.told[2:]] == ["status", "status"]
    assert manager.told[-1][1].endswith("Not heard: node.")


def test_it_is_up_at_once_where_update_engine_was_heard(manager: Recorded, health: HealthBoard) -> None:
    observer = ManagerObserver(manager, health)
    # A source may be tried before the first state is on disk.
    health.up("update_engine")
    assert manager.told == []
    stepped(observer, Snapshot("gathering", 1.0, "b", os_update=OsUpdate(None, pending=False)))
    stepped(observer, Snapshot("gathering", 2.0, "b", os_update=OsUpdate(None, pending=False)))
    assert manager.told == [("ready", "Gathering.")]


def test_a_failure_is_told_with_what_is_not_heard() -> None:
    failure = Failure("no route to 10.0.0.1", "", "transient", 1.0, 2.0, 3)
    told = describe(Snapshot("fetching", 1.0, "b", failure=failure), ["mappings", "node"])
    assert told == "Work in state fetching failed 3 times: no route to 10.0.0.1. Not heard: mappings, node."
