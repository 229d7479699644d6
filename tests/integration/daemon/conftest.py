"""The test bench for the daemon: the fork server of the bootstrap's bench, and a node in service for each test."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.integration.bootstrap.conftest import program  # noqa: F401
from tests.integration.bootstrap.program import ForkServer
from tests.integration.daemon.bench import OpenService, open_service


@pytest.fixture
def service(tmp_path: Path, program: ForkServer) -> OpenService:  # noqa: F811
    """Opens a node in service: ``async with service() as node``."""
    return partial(open_service, tmp_path / "node", program)
