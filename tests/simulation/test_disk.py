"""The simulated disk: what a power cut may take and what it may not, and what a full disk refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.world.disk import Disk
from tests.simulation.world.image import Image
from tests.simulation.world.network import shuffled
from tests.simulation.world.sockets import OWNER
from torcxd.host import files

# So many cuts that each choice that there is has been made.
CUTS = range(60)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk that a program works on: one durable file."""
    disk = Disk(tmp_path)
    (tmp_path / "var").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "var/old").write_bytes(b"old")
    disk.settle()
    program = OWNER.set("program")
    with disk.mounted():
        yield disk
    OWNER.reset(program)


def left_by(disk: Disk) -> list[dict[str, bytes]]:
    """What is in /var after each of many power cuts at this moment."""
    return [_files(disk.after_power_cut(shuffled(each))) for each in CUTS]


def _files(image: Image) -> dict[str, bytes]:
    top = image.things[image.root].content
    assert isinstance(top, dict)
    entries = image.things[top["var"]].content
    assert isinstance(entries, dict)
    found = {name: image.things[inode].content for name, inode in entries.items()}
    return {name: content for name, content in found.items() if isinstance(content, bytes)}


def test_what_was_made_durable_outlives_every_cut(disk: Disk) -> None:
    files.write_atomic(disk.root / "var/old", b"new")
    assert all(each == {"old": b"new"} for each in left_by(disk))
    assert disk.fired["power: something lost"] == 0


def test_a_rename_is_whole_or_has_not_happened(disk: Disk) -> None:
    os.rename(disk.root / "var/old", disk.root / "var/other")
    found = left_by(disk)
    assert {tuple(each) for each in found} == {("old",), ("other",)}
    assert disk.fired["power: something lost"] > 0


def test_names_come_back_in_another_order_and_contents_torn(disk: Disk) -> None:
    for name in ("first", "second"):
        descriptor = os.open(disk.root / "var" / name, os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"content")
        os.close(descriptor)
    found = left_by(disk)
    assert {frozenset(each) for each in found} == {
        frozenset(("old", *names)) for names in ((), ("first",), ("second",), ("first", "second"))
    }
    contents = {each["first"] for each in found if "first" in each}
    assert {b"content", b"", bytes(7)} < contents
    assert all(b"content".startswith(each.rstrip(b"\0")) for each in contents)


def test_what_a_killed_process_did_not_make_durable_a_later_cut_still_takes(disk: Disk) -> None:
    os.rename(disk.root / "var/old", disk.root / "var/other")
    image = disk.freeze()
    # The rest of its life has no effect.
    files.fsync_directory(disk.root / "var")
    (disk.root / "var/more").write_bytes(b"")
    disk.restore(image)
    assert sorted(each.name for each in (disk.root / "var").iterdir()) == ["other"]
    assert {tuple(each) for each in left_by(disk)} == {("old",), ("other",)}


def test_it_comes_at_the_operation_that_was_chosen(disk: Disk) -> None:
    seen: list[list[str]] = []
    disk.after(2, lambda: seen.append(sorted(each.name for each in (disk.root / "var").iterdir())))
    os.rename(disk.root / "var/old", disk.root / "var/a")
    os.rename(disk.root / "var/a", disk.root / "var/b")
    os.rename(disk.root / "var/b", disk.root / "var/c")
    assert seen == [["a"]]


def test_a_full_disk_refuses_what_needs_room_and_knows_nothing_of_memory(disk: Disk) -> None:
    disk.full = True
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (disk.root / "var/folder").mkdir()
    descriptor = os.open(disk.root / "var/old", os.O_WRONLY)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        os.write(descriptor, b"more")
    os.close(descriptor)
    (disk.root / "run/folder").mkdir()
    os.unlink(disk.root / "var/old")
    assert disk.fired["disk: write refused"] == 2
