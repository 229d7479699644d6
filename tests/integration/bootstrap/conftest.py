"""The test bench for whole bootstraps: a fork server for the session, and a node for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.integration.bootstrap.bench import OpenBench, open_bench
from tests.integration.bootstrap.program import ForkServer, fork_server


@pytest.fixture(scope="session")
def program() -> Iterator[ForkServer]:
    # A socket's path is short; pytest's own folders are not.
    with tempfile.TemporaryDirectory(prefix="torcxd-fork-") as directory, fork_server(Path(directory)) as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, program: ForkServer) -> OpenBench:
    """Opens a node: ``async with bench(Plot(…)) as node``."""
    return partial(open_bench, tmp_path, program)
