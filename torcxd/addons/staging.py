"""The staging directory: downloads keyed by their digest, before they get a name in a store.

``<algorithm>-<hex>`` is a whole file whose digest was right when it got that name, ``….part`` one that is still
arriving, ``….validator`` what is needed to go on with it. Everything else there is left over and gets cleaned up.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

import trio

from torcxd.addons.hashing import Digests
from torcxd.addons.partial import PART, VALIDATOR, PartialFile
from torcxd.addons.private import private_directory
from torcxd.errors import from_os_error
from torcxd.host import files
from torcxd.host.trusted import untrusted
from torcxd.lifecycle.catalog import Digest

log = logging.getLogger(__name__)

_SUFFIXES: Final = ("", PART, VALIDATOR)


class Staging:
    """The staging directory of a node; private (0700) to the user that torcxd runs as.

    :param directory: created when first needed. A symbolic link, or another user's directory, is refused.
    :param digests: what the process knows of files; of its own unless given. A name alone is not believed.
    """

    def __init__(self, directory: Path, digests: Digests | None = None) -> None:
        self.directory = directory
        self._digests = digests or Digests()

    def path(self, digest: Digest) -> Path:
        """Where the whole file of *digest* is, or will be."""
        return self.directory / str(digest)

    async def holds(self, digest: Digest) -> bool:
        """Whether the whole file is there, and is what its name says: it is hashed at the first question.

        A wrong one is removed. Cancellation returns at once; the thread that hashes ends by itself.

        :raises TorcxdError: the file cannot be read, or the directory is not ours alone.
        """
        return await trio.to_thread.run_sync(self._holds, digest, abandon_on_cancel=True)

    def clean(self, keep: Collection[Digest]) -> None:
        """Remove all files but those of *keep*, their partial ones included. Blocks, briefly.

        A partial file that another process is writing stays.

        :raises TorcxdError: typed by the errno.
        """
        names = {str(digest) + suffix for digest in keep for suffix in _SUFFIXES}
        try:
            with os.scandir(self.directory) as entries:
                found = [each for each in entries if not each.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return
        except OSError as error:
            raise from_os_error(error, "list", self.directory) from error
        private_directory(self.directory)
        # Each partial file before its validator, which stays with it.
        for each in sorted(found, key=lambda entry: entry.name):
            if each.name in names:
                continue
            path = self.directory / each.name
            if not (each.name.endswith(PART) and each.is_file(follow_symlinks=False)):
                files.remove(path)
            elif not _remove_unlocked(path):
                names.add(each.name.removesuffix(PART) + VALIDATOR)

    def open_partial(self, digest: Digest) -> PartialFile:
        """Open the partial file of *digest*, new or left by an earlier attempt. Blocks, briefly.

        :raises TransientError: another process is writing it.
        :raises TorcxdError: typed by the errno, or because the directory is not ours alone.
        """
        private_directory(self.directory)
        return PartialFile(self.path(digest), digest)

    def finish(self, partial: PartialFile) -> Path:
        """Give a partial file whose digest is right its final name, durably. Blocks until the disk has it."""
        digest = partial.found()
        path = partial.finish()
        self._digests.learn(path, digest)
        return path

    def _holds(self, digest: Digest) -> bool:
        if not os.path.lexists(self.directory):
            return False
        private_directory(self.directory)
        path = self.path(digest)
        if not os.path.lexists(path):
            return False
        if not path.is_symlink() and self._digests.of(path, digest.algorithm) == digest and not _foreign(path):
            return True
        log.warning("%s is not what its name says. It is removed.", path)
        files.remove(path)
        return False


def _foreign(path: Path) -> bool:
    """Whether somebody else can change the file that was just hashed."""
    try:
        return bool(untrusted(path.lstat()))
    except OSError as error:
        raise from_os_error(error, "look at", path) from error


def _remove_unlocked(path: Path) -> bool:
    """Remove a partial file unless another process is writing it; under its lock, so that none begins meanwhile.

    :returns: whether it is gone.
    :raises TorcxdError: typed by the errno.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had the lock a moment ago may have renamed the file since, and somebody begun another.
            mine = os.path.samestat(os.fstat(descriptor), path.lstat())
            if mine:
                files.remove(path)
            return mine
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        raise from_os_error(error, "lock", path) from error
