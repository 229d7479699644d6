"""The staging directory: what is believed, what is cleaned up, and who may look inside."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
from pathlib import Path

import pytest

from torcxd.addons.partial import PartialFile
from torcxd.addons.private import locked, private_directory
from torcxd.addons.staging import Staging
from torcxd.errors import EX_NOPERM, PermanentError, TorcxdError
from torcxd.host import files
from torcxd.lifecycle.catalog import Digest

CONTENT = b"an image"
DIGEST = Digest("sha512", hashlib.sha512(CONTENT).hexdigest())
OTHER = Digest("sha256", hashlib.sha256(b"another").hexdigest())


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "staging")


def stage(staging: Staging, name: str, content: bytes = CONTENT) -> Path:
    private_directory(staging.directory)
    path = staging.directory / name
    path.write_bytes(content)
    return path


def names(staging: Staging) -> set[str]:
    return {each.name for each in staging.directory.iterdir()}


async def test_nothing_is_held_and_nothing_made_before_the_first_download(staging: Staging) -> None:
    assert not await staging.holds(DIGEST)
    staging.clean(())
    assert not staging.directory.exists()


@pytest.mark.accepts("I2", "N2")
async def test_a_name_is_believed_once_the_digest_was_seen(staging: Staging) -> None:
    path = stage(staging, str(DIGEST))
    assert staging.path(DIGEST) == path
    assert await staging.holds(DIGEST)
    assert not await staging.holds(OTHER)


@pytest.mark.accepts("I2", "N2")
async def test_a_wrong_file_is_removed(staging: Staging) -> None:
    path = stage(staging, str(DIGEST), b"an imagE")
    assert not await staging.holds(DIGEST)
    assert not path.exists()


@pytest.mark.accepts("I2")
async def test_a_file_that_changes_is_hashed_again(staging: Staging) -> None:
    path = stage(staging, str(DIGEST))
    assert await staging.holds(DIGEST)
    path.write_bytes(b"longer than it was")
    assert not await staging.holds(DIGEST)


async def test_a_link_is_no_staged_file(staging: Staging, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    private_directory(staging.directory)
    staging.path(DIGEST).symlink_to(tmp_path / "elsewhere")
    assert not await staging.holds(DIGEST)
    assert not staging.path(DIGEST).is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == CONTENT


def test_cleaning_keeps_what_it_is_told_to_keep(staging: Staging) -> None:
    kept = {str(DIGEST), f"{DIGEST}.part", f"{DIGEST}.validator"}
    for each in (*kept, str(OTHER), f"{OTHER}.part", f"{OTHER}.validator", ".leftover.tmp", "whatever"):
        stage(staging, each)
    staging.clean([DIGEST])
    assert names(staging) == kept
    staging.clean(())
    assert names(staging) == set()


@pytest.mark.accepts("N2")
def test_cleaning_spares_what_somebody_is_writing(staging: Staging) -> None:
    stage(staging, f"{OTHER}.part")
    with staging.open_partial(DIGEST) as partial:
        partial.begin("https://h/x", '"tag"')
        partial.append([b"half"])
        staging.clean(())
        assert names(staging) == {f"{DIGEST}.part", f"{DIGEST}.validator"}
    staging.clean(())
    assert names(staging) == set()


def test_cleaning_removes_a_link_not_its_target_and_no_directory(staging: Staging, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    private_directory(staging.directory)
    (staging.directory / "link").symlink_to(tmp_path / "elsewhere")
    (staging.directory / f"{OTHER}.part").symlink_to(tmp_path / "elsewhere")
    (staging.directory / "directory").mkdir()
    staging.clean(())
    assert names(staging) == {"directory"}
    assert (tmp_path / "elsewhere").read_bytes() == CONTENT


@pytest.mark.accepts("N7")
def test_a_partial_file_goes_on_where_it_was(staging: Staging) -> None:
    with staging.open_partial(DIGEST) as partial:
        assert (partial.size, partial.validator_for("https://h/x")) == (0, None)
        partial.begin("https://h/x", '"tag"')
        partial.append([CONTENT[:3], bytearray(CONTENT[3:5])])
        assert partial.size == 5
    with staging.open_partial(DIGEST) as partial:
        assert partial.size == 5
        assert partial.validator_for("https://h/x") == '"tag"'
        assert partial.validator_for("https://h/y") is None
        partial.rehash()
        partial.append([CONTENT[5:]])
        assert partial.found() == DIGEST
        assert staging.finish(partial).read_bytes() == CONTENT
    assert names(staging) == {str(DIGEST)}


def test_no_url_is_on_the_disk(staging: Staging) -> None:
    with staging.open_partial(DIGEST) as partial:
        partial.begin("https://user:hunter2@h/x?signature=hunter3", '"tag"')
        partial.append(CONTENT[:1] for _ in range(1))
    for each in staging.directory.iterdir():
        assert b"hunter" not in each.read_bytes()
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


@pytest.mark.accepts("I2")
def test_a_partial_file_never_gets_a_name_that_it_does_not_deserve(staging: Staging) -> None:
    with staging.open_partial(DIGEST) as partial:
        partial.begin("https://h/x", None)
        partial.append([b"an imagE"])
        with pytest.raises(AssertionError, match="no right to"):
            partial.finish()
    assert not staging.path(DIGEST).exists()


def test_an_empty_partial_file_leaves_nothing(staging: Staging) -> None:
    with staging.open_partial(DIGEST) as partial:
        partial.begin("https://h/x", '"tag"')
        partial.append([b"x"])
        partial.empty()
    assert names(staging) == set()


@pytest.mark.accepts("N2")
def test_a_partial_file_that_was_finished_while_we_waited_is_opened_anew(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = stage(staging, f"{DIGEST}.part")
    opened: list[str] = []
    real = os.open

    def overtaken(path: str | Path, *arguments: int) -> int:
        descriptor = real(path, *arguments)
        if Path(path) == part:
            opened.append(str(path))
            if len(opened) == 1:  # Another process finishes right between our open and our lock.
                part.rename(staging.path(DIGEST))
        return descriptor

    monkeypatch.setattr(os, "open", overtaken)
    with staging.open_partial(DIGEST) as partial:
        assert partial.size == 0
        assert len(opened) == 2
    assert names(staging) == {str(DIGEST)}


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "fifo"])
def test_what_is_no_file_is_not_opened_as_one(staging: Staging, make: object) -> None:
    private_directory(staging.directory)
    path = staging.directory / f"{DIGEST}.part"
    make(path)  # type: ignore[operator]  # both take a path
    with pytest.raises(PermanentError) as caught:
        PartialFile(staging.path(DIGEST), DIGEST)
    assert str(path) in caught.value.message


def test_a_private_directory_is_made_so(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    private_directory(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.parent.stat().st_mode) & 0o055 == 0o055
    directory.chmod(0o777)
    private_directory(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_somebody_elses_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(PermanentError, match="belongs to user") as caught:
        private_directory(tmp_path)
    assert caught.value.exit_code == EX_NOPERM


def _no_locks(descriptor: int, operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_file_system_without_locks_is_told_with_the_file(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(staging, f"{OTHER}.part")
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    with pytest.raises(TorcxdError, match=r"cannot lock .*\.part: No locks available"):
        staging.open_partial(DIGEST)
    with pytest.raises(TorcxdError, match=r"cannot lock .*\.part: No locks available"):
        staging.clean(())
    with pytest.raises(TorcxdError, match=r"cannot lock .*\.lock: No locks available"), locked(staging.directory):
        raise AssertionError("it was not locked")


def test_cleaning_leaves_what_somebody_began_meanwhile(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    part = stage(staging, f"{DIGEST}.part")
    removed: list[Path] = []
    real = files.remove

    def overtaken(path: Path) -> None:
        real(path)
        removed.append(path)
        if removed == [part]:  # Another process begins the same download, now that the name is free.
            part.write_bytes(b"new")

    monkeypatch.setattr(files, "remove", overtaken)
    staging.clean(())
    assert removed == [part]
    assert part.read_bytes() == b"new"


def test_cleaning_leaves_what_somebody_began_while_we_waited(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    part = stage(staging, f"{DIGEST}.part")
    real = fcntl.flock

    def overtaken(descriptor: int, operation: int) -> None:
        # Another process finishes between our open and our lock, and a third one begins anew.
        part.rename(staging.path(OTHER))
        part.write_bytes(b"new")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    staging.clean([OTHER])
    assert part.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [OSError(errno.EMFILE, "Too many open files"), RecursionError()])
def test_what_could_not_be_emptied_is_not_believed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """A user who could write there left directories within directories, until none can be removed, or a kill comes."""
    (directory := tmp_path / "private").mkdir()
    directory.chmod(0o777)
    (directory / "planted").mkdir()

    def fails(path: Path) -> None:
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", fails)
        with pytest.raises(TorcxdError, match="private"):
            private_directory(directory)
    assert not stat.S_IMODE(directory.stat().st_mode) & 0o077
    private_directory(directory)
    assert not list(directory.iterdir())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_that_somebody_else_made_a_moment_before_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory like /tmp, where names are free for all."""
    directory = tmp_path / "private"
    tmp_path.chmod(0o1777)
    real = files.make_directory

    def overtaken(path: Path, mode: int = 0o755) -> None:
        if path == directory:
            path.mkdir(0o700)
            os.chown(path, 1000, 1000)
        real(path, mode)

    monkeypatch.setattr(files, "make_directory", overtaken)
    with pytest.raises(PermanentError, match="belongs to user 1000"):
        private_directory(directory)
