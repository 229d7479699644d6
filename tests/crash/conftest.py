"""The test bench for crashes: a fork server of watched programs for the session."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.explore import Explorer
from tests.crash.journeys import Arrival
from tests.crash.server import WatchedServer, watched_server
from tests.explored import Explored

ExplorerOf = Callable[..., Explorer]


@pytest.fixture(scope="session")
def watched() -> Iterator[WatchedServer]:
    # A socket's path is short; pytest's own folders are not.
    with tempfile.TemporaryDirectory(prefix="torcxd-fork-") as directory, watched_server(Path(directory)) as server:
        yield server


@pytest.fixture(scope="session")
def known() -> dict[str, Arrival]:
    """The ends of the journeys that nobody disturbed."""
    return {}


@pytest.fixture
def explorer_of(known: dict[str, Arrival], explored: Explored) -> Iterator[ExplorerOf]:
    """Makes the explorer of a journey, and counts what it explores."""
    made: list[Explorer] = []

    def make(journey: str, *builds: str) -> Explorer:
        explorer = Explorer(journey, builds, known)
        if not builds:
            made.append(explorer)
        return explorer

    yield make
    for each in made:
        each.count(explored)
