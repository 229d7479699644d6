"""Digests of files, each computed once."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path
from typing import Final

from torcxd.errors import PermanentError, from_os_error
from torcxd.lifecycle.catalog import Digest

_Stamp = tuple[int, int, int, int]

# A node's stores hold a few dozen images. What is forgotten is hashed once more, should it be asked for again.
MOST_KNOWN: Final = 256


class Digests:
    """What this process knows of the digests of files, for as long as the files look the same.

    An image is looked at in each state on its way from staging through the stores into the running system, and hashing
    it takes longer than all the rest. What looks the same is the same file, whatever its name: inode, size and time of
    modification. Nothing is remembered beyond the process: what an earlier one has seen may have lost bytes in a power
    cut or to a bad disk. It may be used from several threads.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, _Stamp], Digest] = {}
        # A dictionary may not change while its first key is looked for.
        self._lock = threading.Lock()

    def of(self, path: Path, algorithm: str) -> Digest:
        """The digest of the regular file *path*. Blocks if it is not known: 1 GB takes a second or two.

        :param algorithm: as in :class:`~torcxd.lifecycle.catalog.Digest`.
        :raises TorcxdError: typed by the errno, or because *path* itself is a symbolic link or no regular file.
        """
        try:
            with open(path, "rb", buffering=0, opener=_itself_at_once) as stream:
                found = os.fstat(stream.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise PermanentError(f"{path} is not a regular file")
                # Stamped before it is read: if it changes meanwhile, the stamp is of no file any more.
                key = (algorithm, _stamp(found))
                known = self._known.get(key)
                if known is None:
                    known = Digest(algorithm, hashlib.file_digest(stream, algorithm).hexdigest())
                    self._remember(key, known)
                return known
        except OSError as error:
            raise from_os_error(error, "read", path) from error

    def learn(self, path: Path, digest: Digest) -> None:
        """Remember the digest of a file that was hashed while it was written, and that nobody else can write.

        :raises TorcxdError: typed by the errno.
        """
        try:
            self._remember((digest.algorithm, _stamp(path.lstat())), digest)
        except OSError as error:
            raise from_os_error(error, "look at", path) from error

    def _remember(self, key: tuple[str, _Stamp], digest: Digest) -> None:
        with self._lock:
            self._known[key] = digest
            if len(self._known) > MOST_KNOWN:
                # The one that it has known for longest.
                del self._known[next(iter(self._known))]


def _itself_at_once(path: str, flags: int) -> int:
    """Open no file that a link leads to, and do not wait for a named pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _stamp(found: os.stat_result) -> _Stamp:
    # Not the time of the last change (ctime): a further link and another mode change that, and not the content.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
