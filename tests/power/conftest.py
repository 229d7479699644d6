"""A fork server, and a folder in memory for the nodes: what a disk would do is modelled, not waited for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bootstrap.conftest import MEMORY
from tests.integration.bootstrap.program import ForkServer, fork_server
from tests.power.alike import Watch, watching


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    parent = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="torcxd-power-", dir=parent) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ForkServer]:
    with fork_server(folder, module="tests.power.forkserver") as server:
        yield server


@pytest.fixture
def watch(folder: Path) -> Iterator[Watch]:
    """Tells what a restart has looked into."""
    with watching(folder) as watch:
        yield watch
