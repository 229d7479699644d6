"""The test bench for crashes: a fork server of watched programs for the session."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.server import WatchedServer, watched_server


@pytest.fixture(scope="session")
def watched() -> Iterator[WatchedServer]:
    # A socket's path is short; pytest's own folders are not.
    with tempfile.TemporaryDirectory(prefix="torcxd-fork-") as directory, watched_server(Path(directory)) as server:
        yield server
