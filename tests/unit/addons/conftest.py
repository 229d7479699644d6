"""A node's file system for the store and profile tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from torcxd.paths import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty root."""
    return Layout(tmp_path)
