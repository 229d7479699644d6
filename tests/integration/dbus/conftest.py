"""A private bus, and update_engine's stand-in on it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from torcxd.sandbox.bus import PrivateBus, private_bus


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """A directory whose path is short enough for a socket; pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="bus.") as directory:
        yield Path(directory)


@pytest.fixture
async def private(socket_directory: Path) -> AsyncIterator[PrivateBus]:
    """A running message bus of the test's own."""
    async with private_bus(socket_directory) as bus:
        yield bus
