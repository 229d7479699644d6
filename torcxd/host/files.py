"""Durable, atomic changes of the file system: the only module that renames, links or fsyncs.

A reader of a final name sees the old content or the new one, never a part, also after a power cut: the
data is fsynced before it gets its name, and the directory is fsynced after. All functions block; call them through
``trio.to_thread.run_sync`` where the data is large.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from torcxd.errors import from_os_error

# How the names of temporary files end, so that what a killed process left is told from everything else.
_TEMPORARY: Final = ".tmp"


def fsync_directory(directory: Path) -> None:
    """Make the names in *directory* durable. Raises ``OSError``."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle(directories: Iterable[Path]) -> None:
    """Make durable which names are in *directories*, those that do not exist aside.

    For a process that goes on where another one was killed: that one may have named a file, and not have come to make
    the name durable. It is there to be seen all the same, until the power fails.

    :raises TorcxdError: typed by the errno.
    """
    for each in directories:
        try:
            fsync_directory(each)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            # Of what this process cannot write, no predecessor with its rights has written anything either.
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EINVAL):
                raise from_os_error(error, "make durable", each) from error


def make_directory(directory: Path, mode: int = 0o755) -> None:
    """Create *directory* and its parents, each durable in its parent.

    :raises TorcxdError: typed by the errno, naming the directory.
    """
    try:
        missing = [directory]
        while not missing[-1].parent.exists():
            missing.append(missing[-1].parent)
        for each in reversed(missing):
            with contextlib.suppress(FileExistsError):
                each.mkdir(mode=mode)
                fsync_directory(each.parent)
        if not directory.is_dir():
            raise NotADirectoryError(20, "not a directory")
    except OSError as error:
        raise from_os_error(error, "create the directory", directory) from error


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write *data* to *path*: the file holds the old content or all of the new one, never a part.

    A temporary file in the same directory is written, fsynced, and renamed; then the directory is fsynced.
    A missing directory is created. What killed processes left of earlier attempts at this very file is removed, so no
    two processes may write one file at the same time: one of them would fail, and neither would tear it.

    :param mode: permission bits of the file, whatever the umask.
    :raises TorcxdError: typed by the errno, naming the path; the temporary file is gone then.
    """
    make_directory(path.parent)
    try:
        _remove_abandoned(path)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
        with _removed_on_failure(temporary):
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            os.rename(temporary, path)
        fsync_directory(path.parent)
    except OSError as error:
        raise from_os_error(error, "write", path) from error


@contextlib.contextmanager
def _removed_on_failure(temporary: str | Path) -> Iterator[None]:
    """Remove *temporary* where the block does not come to its end."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of *path*. Raises ``OSError``."""
    with os.scandir(path.parent) as entries:
        names = [each.name for each in entries if each.name.startswith(f".{path.name}.")]
    for each in names:
        if each.endswith(_TEMPORARY):
            os.unlink(path.parent / each)


def fsync_file(path: Path) -> None:
    """Make the content of *path* durable.

    :raises TorcxdError: typed by the errno.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise from_os_error(error, "make durable", path) from error


def rename(source: Path, target: Path) -> None:
    """Rename a file whose content is durable already, replacing *target*, and make both names durable.

    :raises TorcxdError: typed by the errno.
    """
    try:
        os.rename(source, target)
        fsync_directory(target.parent)
        if source.parent != target.parent:
            fsync_directory(source.parent)
    except OSError as error:
        raise from_os_error(error, f"rename to {target}", source) from error


def link(source: Path, target: Path) -> None:
    """Give the file *source* a second name, atomically replacing *target*; both keep sharing their bytes.

    The link is made under a temporary name first, since link(2) refuses an existing target. What killed processes left
    of earlier attempts is removed, as by :func:`write_atomic`.

    :raises TorcxdError: typed by the errno.
    """
    temporary = target.with_name(f".{target.name}.link{_TEMPORARY}")
    try:
        _remove_abandoned(target)
        os.link(source, temporary)
        with _removed_on_failure(temporary):
            os.rename(temporary, target)
        # rename(2) of two names of one file does nothing and succeeds: the temporary name would stay.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        fsync_directory(target.parent)
    except OSError as error:
        raise from_os_error(error, f"link to {target}", source) from error


def remove(path: Path) -> None:
    """Remove a file, durably; a missing one is fine.

    :raises TorcxdError: typed by the errno.
    """
    try:
        os.unlink(path)
        fsync_directory(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os_error(error, "remove", path) from error


def sync_everything() -> None:
    """Make durable what others have written, wherever that is; what torcxd writes itself is durable already.

    Takes as long as the disks take to write all that waits to be written, on every file system of the machine.
    """
    os.sync()


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Read a small file whole.

    :param limit: the largest acceptable size in bytes; a larger file is refused rather than read.
    :raises TorcxdError: typed by the errno, or :class:`PermanentError` when the file is larger than *limit*.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise from_os_error(error, "read", path) from error
    if len(data) > limit:
        raise from_os_error(OSError(27, f"larger than {limit} bytes"), "read", path)
    return data


def write_volatile(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write *data* to a file that need not survive a power cut, in /run: replaced at once, but not fsynced.

    The directory may be another user's, as that of node_exporter: what they put in the way is not followed.

    :raises TorcxdError: typed by the errno, naming the path.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with _removed_on_failure(temporary):
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                os.fchmod(descriptor, mode)
            os.rename(temporary, path)
    except OSError as error:
        raise from_os_error(error, "write", path) from error
