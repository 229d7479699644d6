"""``torcxd run``: what a reload of the configuration changes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from torcxd.cli.run import _Server
from torcxd.daemon.context import Context
from torcxd.host.notify import ServiceManager
from torcxd.paths import Layout
from torcxd.settings import combine


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before = logger.level
    yield logger
    logger.setLevel(before)


@pytest.mark.accepts("A32")
async def test_a_reload_changes_how_much_is_logged(tmp_path: Path, root_logger: logging.Logger) -> None:
    ctx = Context(combine(), Layout(tmp_path), {})
    server = _Server(ctx, ServiceManager({}), lambda: combine({"verbose": "debug"}))
    root_logger.setLevel(logging.INFO)
    server._take_over()
    assert root_logger.level == logging.DEBUG
