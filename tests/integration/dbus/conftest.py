"""A private bus, a connection to it, and a record of what the stand-ins on it are asked."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from torcxd.dbus.bus import Bus, open_bus
from torcxd.sandbox.bus import PrivateBus, private_bus
from torcxd.sandbox.records import Records


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


@pytest.fixture
async def bus(private: PrivateBus) -> AsyncIterator[Bus]:
    async with open_bus(private.address, enable_fds=True) as bus:
        yield bus


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "requests.jsonl", lambda: {"boot_id": "b"})
