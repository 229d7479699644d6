"""The test bench for whole bootstraps: a fork server for the session, and a node for each test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.integration.bootstrap.bench import OpenBench, open_bench
from tests.integration.bootstrap.program import ForkServer, fork_server

# The nodes lie in memory where that is possible: a run makes a hundred fsyncs, which take half of its time on a disk.
MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def program() -> Iterator[ForkServer]:
    # A socket's path is short; pytest's own folders are not.
    with tempfile.TemporaryDirectory(prefix="torcxd-fork-") as directory, fork_server(Path(directory)) as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, program: ForkServer) -> Iterator[OpenBench]:
    """Opens a node: ``async with bench(Plot(…)) as node``."""
    parent = MEMORY if os.access(MEMORY, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(prefix="torcxd-bench-", dir=parent) as directory:
        yield partial(open_bench, Path(directory), program)
