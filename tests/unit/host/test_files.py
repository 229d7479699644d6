"""Durable, atomic changes of the file system, also after a process that was killed half-way."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from torcxd.errors import EX_CANTCREAT, EX_NOINPUT, PermanentError, TorcxdError, TransientError
from torcxd.host import files


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def test_a_file_is_written_whole_with_its_mode_and_folders(tmp_path: Path) -> None:
    path = tmp_path / "a/b/file"
    files.write_atomic(path, b"one", mode=0o600)
    files.write_atomic(path, b"two", mode=0o640)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(path.parent) == ["file"]


def test_what_a_killed_process_left_of_a_file_goes_with_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    path = tmp_path / "file"
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", kill)
        # A killed process does not clean up behind itself.
        patch.setattr(os, "unlink", kill)
        with pytest.raises(Killed):
            files.write_atomic(path, b"one")
    assert len(names(tmp_path)) == 1
    others = [".file", ".file.swp", ".file.tmp.old", ".other.abc.tmp", "file.tmp"]
    for each in others:
        (tmp_path / each).touch()
    files.write_atomic(path, b"two")
    assert names(tmp_path) == sorted([*others, "file"])


def test_what_a_killed_process_left_of_a_link_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("x")
    (tmp_path / ".target.link.tmp").write_text("half")
    files.link(tmp_path / "source", tmp_path / "target")
    # Two names of one file: rename(2) leaves both.
    files.link(tmp_path / "source", tmp_path / "target")
    assert names(tmp_path) == ["source", "target"]
    assert (tmp_path / "target").samefile(tmp_path / "source")


@pytest.mark.parametrize(
    ("number", "kind", "code"), [(errno.ENOSPC, TransientError, 75), (errno.EROFS, PermanentError, EX_CANTCREAT)]
)
def test_a_failure_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], code: int
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind, match=f"cannot write {path}") as caught:
        files.write_atomic(path, b"new")
    assert getattr(caught.value, "exit_code", None) == code
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_large_or_missing_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(PermanentError, match="larger than 10 bytes"):
        files.read_bytes(tmp_path / "large", limit=10)
    with pytest.raises(PermanentError, match="No such file") as caught:
        files.read_bytes(tmp_path / "missing", limit=10)
    assert caught.value.exit_code == EX_NOINPUT
    assert files.read_bytes(tmp_path / "large", limit=11) == bytes(11)


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files.remove(tmp_path / "file")
    files.remove(tmp_path / "file")
    assert names(tmp_path) == []


@pytest.mark.accepts("N2")
def test_names_are_made_durable_in_whatever_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "fsync_directory", synced.append)
    files.settle([tmp_path, tmp_path / "a"])
    assert synced == [tmp_path, tmp_path / "a"]
    monkeypatch.undo()
    (tmp_path / "file").touch()
    files.settle([tmp_path, tmp_path / "missing", tmp_path / "file"])


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "fsync_directory", fail)
    with pytest.raises(TorcxdError, match="Input/output error"):
        files.settle([tmp_path])


def test_a_link_that_cannot_take_its_name_leaves_none(tmp_path: Path) -> None:
    (source := tmp_path / "source").write_bytes(b"an image")
    (target := tmp_path / "target").mkdir()
    with pytest.raises(PermanentError, match="Is a directory"):
        files.link(source, target)
    assert {each.name for each in tmp_path.iterdir()} == {"source", "target"}
    assert source.stat().st_nlink == 1


def test_a_volatile_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (target := tmp_path / "target").mkdir()
    with pytest.raises(PermanentError, match="Is a directory"):
        files.write_volatile(target, b"new")
    assert {each.name for each in tmp_path.iterdir()} == {"target"}
