"""Directories that only this user can look into, and the lock that keeps two processes apart in one.

Both functions block, if briefly.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from torcxd.errors import EX_NOPERM, PermanentError, from_os_error
from torcxd.host import files
from torcxd.host.trusted import check_directory, untrusted

log = logging.getLogger(__name__)

MODE: Final = 0o700
# The mode, private as well, of one that was open to others, until all that they could have left in it is removed.
# Whatever interrupts that, a kill or what cannot be removed, the next process goes on with it. The sticky bit means
# nothing on a directory that nobody else can write.
_EMPTYING: Final = MODE | stat.S_ISVTX
_LOCK: Final = ".lock"


def private_directory(directory: Path) -> None:
    """Create *directory* for us alone, or make sure that it is ours alone.

    Nobody else may be able to swap a file between its verification and its use. What lies in a directory into which
    others could write is nobody knows whose, and may be open in their hands: it is removed.

    :raises PermanentError: something else has that name, a symbolic link included, it belongs to another user, others
        can write the directory that it lies in, or what others left in it cannot be removed.
    :raises TorcxdError: typed by the errno, naming the directory.
    """
    if not os.path.lexists(directory):
        files.make_directory(directory.parent)
        check_directory(directory.parent)
        # Somebody may be faster, where the directory above is one like /tmp: that it is ours is seen below.
        files.make_directory(directory, MODE)
    try:
        found = os.lstat(directory)
    except OSError as error:
        raise from_os_error(error, "look at", directory) from error
    if not stat.S_ISDIR(found.st_mode):
        raise PermanentError(f"{directory} is not a directory", hint="move it away: torcxd makes its own")
    if found.st_uid != os.geteuid():
        raise PermanentError(
            f"{directory} belongs to user {found.st_uid}, not to this process's user {os.geteuid()}",
            hint="remove it, or give it the owner that torcxd runs as",
            exit_code=EX_NOPERM,
        )
    check_directory(directory.parent)
    if stat.S_IMODE(found.st_mode) != MODE:
        _make_private(directory, found)


def _make_private(directory: Path, found: os.stat_result) -> None:
    """Keep others out, remove what they could have put there, and only then say that it is private."""
    try:
        problem = untrusted(found)
        if problem or stat.S_IMODE(found.st_mode) == _EMPTYING:
            directory.chmod(_EMPTYING)
            log.warning("%s was open to others (%s): what is in it is removed.", directory, problem or "until lately")
            _empty(directory)
            # Or a power cut could bring it back, and not the mode.
            files.fsync_directory(directory)
        directory.chmod(MODE)
    except OSError as error:
        raise from_os_error(error, "make private", directory) from error
    except RecursionError as error:
        raise PermanentError(
            f"{directory} was open to others, and what they left in it is nested too deep to be removed",
            hint=f"look who did that; then `rm -rf {directory}`",
            exit_code=EX_NOPERM,
        ) from error


def _empty(directory: Path) -> None:
    """Remove all that is in *directory*. Raises ``OSError``, or ``RecursionError``."""
    for each in directory.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the exclusive lock of *directory*; the kernel drops it with the process, however that ends.

    Blocks until it is free: it is for what is done within milliseconds.

    :raises TorcxdError: typed by the errno, naming the lock file.
    """
    path = directory / _LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os_error(error, "lock", path) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise from_os_error(error, "lock", path) from error
        yield
    finally:
        os.close(descriptor)
