"""What the end-to-end tests share: a Debian tree with torcxd installed, and machines on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import tree
from tests.e2e.machine import Machine


@pytest.fixture(scope="session")
def layers() -> tuple[Path, Path]:
    """The lower layers of a machine: torcxd from the built wheel, over Debian."""
    base = tree.base_tree()
    return tree.torcxd_layer(base), base


@pytest.fixture
def new_machine(layers: tuple[Path, Path], tmp_path: Path) -> Callable[[], Machine]:
    """Makes machines that do not run yet."""
    made: list[Machine] = []

    def make() -> Machine:
        made.append(Machine(layers, tmp_path / f"machine-{len(made) + 1}"))
        return made[-1]

    return make
