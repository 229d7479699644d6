"""The power is cut while Docker's data is removed in the boot: the next one goes on, and never removes the new data."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.explored import Explored
from tests.integration.dbus.test_cleanup_unit import DUE, SEALED, script
from tests.power.cuts import PARTS, World, find_cuts
from tests.power.disk import Disk
from tests.power.image import write_image
from tests.power.record import Recording
from torcxd.paths import Layout

# What the new Docker writes and makes durable as soon as it runs.
_NEW = "var/lib/docker/new"


def _violations(folder: Path, text: str, explored: Explored | None = None) -> Iterator[str]:
    """Cut the power at every moment of a boot with the clean-up *text*, and Docker after it; boot again each time."""
    layout = Layout(folder / "node")
    for path, content in (
        (layout.docker_data / "overlay2/layer", "old"),
        (layout.docker_data / "image/db", "old"),
        (layout.docker_cleanup_due, f"{DUE}\n"),
        (layout.sealed_profile, SEALED.replace("REF", "17.03")),
        (layout.at("/etc/hostname"), "node"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    disk = Disk(layout.root, PARTS)
    recording = Recording(folder / "trace")
    recording.folder.mkdir()
    recording.run("/bin/sh", "-c", text)
    recording.run("touch", f"{layout.root}/{_NEW}")
    recording.run("sync", f"{layout.root}/{_NEW}", str(layout.docker_data))
    cuts, moments = find_cuts(disk, recording, World())
    for cut in cuts:
        write_image(layout.root, cut.image, PARTS)
        again = layout.docker_cleanup_due.exists()
        if again:
            subprocess.run(["/bin/sh", "-c", text], check=True)
        left = {each.name for each in layout.docker_data.rglob("*")}
        if left - {"new"}:
            yield f"after {cut.after}, lost: {cut.lost}: Docker starts on old data: {left}"
        if _NEW in cut.image and again:
            yield f"after {cut.after}, lost: {cut.lost}: the new Docker's data is removed"
    if explored is not None:
        explored.count("power loss", "moments", moments)
        explored.count("power loss", "disk images", len(cuts))


@pytest.mark.accepts("I6", "C20", "N2")
def test_the_removal_is_repeated_and_removes_nothing_new(tmp_path: Path, explored: Explored) -> None:
    assert list(_violations(tmp_path, script(Layout(tmp_path / "node")), explored)) == []


@pytest.mark.parametrize(
    ("whole", "broken", "words"),
    [("-delete; ", "", "old data"), ("sync; rm ", "rm ", "old data"), ("; sync", "", "new Docker's data")],
    ids=["removes-nothing", "data-not-durable", "list-not-durable"],
)
def test_a_broken_removal_is_found_out(tmp_path: Path, whole: str, broken: str, words: str) -> None:
    text = script(Layout(tmp_path / "node"))
    before, found, after = text.rpartition(whole)
    assert found
    violations = list(_violations(tmp_path, before + ("-print; " if "delete" in whole else broken) + after))
    assert any(words in each for each in violations), violations
