"""Every way in which files are replaced shows, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from torcxd.host.stamps import Stamps

SECOND = 1_000_000_000


def later() -> int:
    """A moment at which nothing was written lately."""
    return 1 << 62


def replaced(path: Path) -> None:
    path.with_name("new").write_text("2")
    path.with_name("new").rename(path)


def in_place(path: Path) -> None:
    path.write_text("2")
    os.utime(path, ns=(SECOND, SECOND))


def in_place_with_the_same_time(path: Path) -> None:
    found = path.stat()
    path.write_text("2")
    # Until the clock that files are stamped by has ticked.
    while path.stat().st_ctime_ns == found.st_ctime_ns:
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def longer(path: Path) -> None:
    path.write_text("12")


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [replaced, in_place, in_place_with_the_same_time, longer, removed])
def test_a_change_shows(tmp_path: Path, change: Callable[[Path], None]) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("1")
    other.write_text("1")
    stamps = Stamps.of(other, now=later) | Stamps.of(file, now=later)
    assert stamps.hold()
    change(file)
    assert not stamps.hold()


def test_another_target_of_a_symbolic_link_shows(tmp_path: Path) -> None:
    # As kubelets rotate their certificates, and Kubernetes its volumes.
    for each in ("1", "2"):
        (tmp_path / each).mkdir()
        (tmp_path / each / "file").write_text(each)
    data = tmp_path / "..data"
    data.symlink_to("1")
    stamps = Stamps.of(data / "file", now=later)
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(data)
    assert not stamps.hold()


def test_a_file_that_appears_shows(tmp_path: Path) -> None:
    stamps = Stamps.of(tmp_path / "file", now=later)
    assert stamps.hold()
    (tmp_path / "file").touch()
    assert not stamps.hold()


def test_a_file_of_this_very_moment_is_not_trusted(tmp_path: Path) -> None:
    # It could be written once more before the clock ticks, and look the same.
    file = tmp_path / "file"
    file.write_text("1")
    written = file.stat().st_mtime_ns
    assert not Stamps.of(file, now=lambda: written + SECOND // 100).hold()
    assert Stamps.of(file, now=lambda: written + SECOND // 10).hold()
    young, settled = Stamps.of(file, now=lambda: written), Stamps.of(now=later)
    assert not (young | settled).hold()
    assert not (settled | young).hold()


def test_what_was_written_a_moment_ago_with_an_old_time_may_be_written_again(tmp_path: Path) -> None:
    """As cp -p and rsync do: the time of the last modification is of another day."""
    file = tmp_path / "file"
    file.write_text("1")
    os.utime(file, ns=(SECOND, SECOND))
    written = file.stat().st_ctime_ns
    assert not Stamps.of(file, now=lambda: written + 1).settled
    assert Stamps.of(file, now=lambda: written + SECOND).settled
