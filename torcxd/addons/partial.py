"""A file on its way into the staging directory: what has arrived, its running digest, and how to go on after a cut.

All functions block. A partial file is locked, so that two processes never write one; the kernel drops the lock with the
process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final

from torcxd.errors import PermanentError, TorcxdError, TransientError, from_os_error
from torcxd.host import files
from torcxd.host.trusted import untrusted
from torcxd.lifecycle.catalog import Digest

PART: Final = ".part"
VALIDATOR: Final = ".validator"

# Read back with few system calls and little memory.
_READ_SIZE: Final = 1 << 20
# A digest of a URL and an ETag.
_LARGEST_VALIDATOR: Final = 64 << 10


class PartialFile:
    """The partial file of one digest, open and locked. Use it in a ``with`` block.

    Beside it lies a validator: which URL it comes from, and the entity tag or date by which that server recognises the
    same content (RFC 9110 section 13.1.5).

    :param final: where the file goes once it is whole.
    :raises TransientError: another process is writing it.
    :raises TorcxdError: typed by the errno.
    """

    def __init__(self, final: Path, digest: Digest) -> None:
        self._final = final
        self._path = final.with_name(final.name + PART)
        self._validator = final.with_name(final.name + VALIDATOR)
        self._digest = digest
        self._hash = hashlib.new(digest.algorithm)
        self._file = _open_locked(self._path)
        self._finished = False
        #: Bytes that have arrived.
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # An empty one is of no use to anybody. It is removed under its lock, so that no other process is writing it.
        try:
            if not self.size and not self._finished:
                files.remove(self._path)
        finally:
            self._file.close()

    def validator_for(self, url: str) -> str | None:
        """The ``If-Range`` value with which *url* can be asked for the rest, or None: start over then."""
        if not self.size:
            return None
        try:
            recorded = json.loads(files.read_bytes(self._validator, limit=_LARGEST_VALIDATOR))
            value = recorded["validator"] if recorded["url"] == _fingerprint(url) else None
        except (TorcxdError, ValueError, KeyError, TypeError, RecursionError):
            return None
        # It is to become a header field.
        return value if isinstance(value, str) and value.isascii() and value.isprintable() else None

    def rehash(self) -> None:
        """Take the bytes that are there already into the digest; appending goes on behind them."""
        self._hash = hashlib.new(self._digest.algorithm)
        self.size = 0
        try:
            self._file.seek(0)
            while piece := self._file.read(_READ_SIZE):
                self._hash.update(piece)
                self.size += len(piece)
        except OSError as error:
            raise from_os_error(error, "read", self._path) from error

    def empty(self) -> None:
        """Forget what has arrived."""
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError as error:
            raise from_os_error(error, "truncate", self._path) from error
        files.remove(self._validator)
        self._hash = hashlib.new(self._digest.algorithm)
        self.size = 0

    def begin(self, url: str, validator: str | None) -> None:
        """Start over with what is about to come from *url*, recognised by *validator* if it can be."""
        self.empty()
        if validator is not None:
            recorded = {"url": _fingerprint(url), "validator": validator}
            files.write_atomic(self._validator, json.dumps(recorded).encode(), mode=0o600)

    def require_room(self, coming: int) -> None:
        """Find out before a download whether the disk can take it, rather than fill it up in vain.

        :param coming: how many bytes more.
        :raises TransientError: there is no room for them.
        """
        try:
            found = os.fstatvfs(self._file.fileno())
            free = found.f_bavail * found.f_frsize
            if coming > free:
                words = f"{os.strerror(errno.ENOSPC)}: {coming} bytes are to come, and there is room for {free}"
                raise OSError(errno.ENOSPC, words)
        except OSError as error:
            raise from_os_error(error, "write", self._path) from error

    def append(self, pieces: Iterable[bytes | bytearray]) -> None:
        """Write and hash the next bytes."""
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[self._file.write(view) :]
                self._hash.update(piece)
                self.size += len(piece)
        except OSError as error:
            raise from_os_error(error, "write", self._path) from error

    def found(self) -> Digest:
        """The digest of what has arrived."""
        return Digest(self._digest.algorithm, self._hash.hexdigest())

    def finish(self) -> Path:
        """Make the file durable and give it its final name: only for a file whose digest is right."""
        if self.found() != self._digest:
            raise AssertionError(f"{self._path} was about to get a name that it has no right to")
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise from_os_error(error, "make durable", self._path) from error
        files.rename(self._path, self._final)
        self._finished = True
        files.remove(self._validator)
        return self._final


def _open_locked(path: Path) -> io.FileIO:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
            file = io.FileIO(descriptor, "r+")
        except OSError as error:
            raise from_os_error(error, "open", path) from error
        with contextlib.ExitStack() as stack:
            stack.callback(file.close)
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise PermanentError(f"{path} is not a regular file", hint="remove it")
            if _is_shared(found):
                files.remove(path)
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TransientError(
                    f"another process is downloading {path}", hint="wait for it to finish, or stop it"
                ) from error
            except OSError as error:
                raise from_os_error(error, "lock", path) from error
            # Whoever had the lock a moment ago may have renamed or removed the file since we opened it.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(found, path.lstat()):
                    stack.pop_all()
                    return file


def _is_shared(found: os.stat_result) -> bool:
    """Whether somebody else can write into the file, also once it is verified; or it has another name, too.

    What it is by that name should not be overwritten.
    """
    return bool(untrusted(found)) or found.st_nlink > 1


def _fingerprint(url: str) -> str:
    # Not the URL itself: it may be signed, and so a secret.
    return hashlib.sha256(url.encode()).hexdigest()
