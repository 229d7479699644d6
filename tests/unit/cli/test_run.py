"""``torcxd run``: what a reload of the configuration changes."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from torcxd.cli.dispatch import read_settings
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


@pytest.mark.parametrize("length", [10, 5000])
def test_a_reload_that_fails_in_whatever_way_keeps_what_was(
    tmp_path: Path, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that no file can have is found out by the system, in the middle of the reading."""
    ctx = Context(combine(), Layout(tmp_path), {})
    arguments = argparse.Namespace(root=str(tmp_path), version_manifest="/" + "m" * length)
    server = _Server(ctx, ServiceManager({}), lambda: read_settings(arguments, {}))
    server._take_over()
    assert server._ctx is ctx
    assert "the old one is kept" in caplog.text
