"""An image is placed and the power is cut: under its name it has its bytes and its mode, whatever else is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.explored import Explored
from tests.power.cuts import PARTS, World, find_cuts
from tests.power.disk import Disk
from tests.power.image import Item, item_of
from tests.power.record import Recording

_DATA = b"an image"
_PLACED = "var/lib/torcx/store/1520.8.0/docker:17.03.torcx.tgz"
# Staged as a download is: durable, and nobody else's to read.
_STAGED = """
import os, pathlib, sys
from torcxd.addons.store import Store
from torcxd.paths import Layout
staged = pathlib.Path(sys.argv[1], "var/lib/torcx/staged")
descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT, 0o600)
os.write(descriptor, b"an image")
os.fsync(descriptor)
"""
_PLACE = 'Store(Layout(pathlib.Path(sys.argv[1])), "1520.8.0").place(staged, "1520.8.0", "docker", "17.03")\n'


@pytest.mark.accepts("N2")
@pytest.mark.parametrize("before", ["", "staged.chmod(0o644)\n"], ids=["at-once", "after-one-that-was-killed"])
def test_a_placed_image_keeps_its_mode(tmp_path: Path, explored: Explored, before: str) -> None:
    root = tmp_path / "node"
    (root / "var/lib/torcx").mkdir(parents=True)
    disk = Disk(root, PARTS)
    recording = Recording(tmp_path / "trace")
    recording.folder.mkdir()
    recording.run(sys.executable, "-c", _STAGED + before + _PLACE, str(root))
    cuts, moments = find_cuts(disk, recording, World())
    assert {item_of(each.image, _PLACED) for each in cuts if _PLACED in each.image} == {Item(_DATA, 0o644)}
    explored.count("power loss", "moments", moments)
    explored.count("power loss", "disk images", len(cuts))
