"""Digests of files."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from torcxd.errors import PermanentError, from_os_error
from torcxd.lifecycle.catalog import Digest


def file_digest(path: Path, algorithm: str) -> Digest:
    """Hash the regular file *path*, with bounded memory. Blocks: 1 GB takes a second or two.

    :param algorithm: as in :class:`~torcxd.lifecycle.catalog.Digest`.
    :raises TorcxdError: typed by the errno, or because *path* itself is a symbolic link or no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PermanentError(f"{path} is not a regular file")
            return Digest(algorithm, hashlib.file_digest(stream, algorithm).hexdigest())
    except OSError as error:
        raise from_os_error(error, "read", path) from error
