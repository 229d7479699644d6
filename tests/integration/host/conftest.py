"""A datagram socket that stands where systemd listens."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """A directory whose path is short enough for a socket; pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="socket.") as directory:
        yield Path(directory)


@pytest.fixture
def listener(socket_directory: Path) -> Iterator[socket.socket]:
    """A bound datagram socket; ``getsockname()`` is its path. It never blocks: what was sent is there already."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as bound:
        bound.bind(str(socket_directory / "s"))
        yield bound
