"""Files and directories that decide what root does: they count only if nobody else can have written them.

As OpenSSH does with its keys (sshd_config(5), StrictModes): the owner is root or the user that torcxd runs as, and
neither everybody nor a foreign group may write. Functions block, for a few system calls.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from torcxd.errors import EX_NOPERM, PermanentError, from_os_error


class UntrustedError(PermanentError):
    """Somebody else could have written it."""

    exit_code = EX_NOPERM


def untrusted(found: os.stat_result) -> str:
    """Who else can write what *found* describes, as a clause; empty when nobody can."""
    if found.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {found.st_uid}"
    if found.st_mode & stat.S_IWOTH:
        return "everybody may write it"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
        return f"the group {found.st_gid} may write it"
    return ""


def read_trusted(path: Path, *, limit: int) -> bytes:
    """Read a small regular file whole. Links are followed: what counts is who can write what they lead to.

    :param limit: the largest acceptable size in bytes.
    :raises UntrustedError: somebody else can write it.
    :raises TorcxdError: typed by the errno; a :class:`PermanentError` when it is no regular file, or larger.
    """
    try:
        with open(path, "rb", opener=_at_once) as stream:
            # Of the open file: the name may be of another one in a moment.
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise PermanentError(f"{path} is not a regular file")
            _refuse(path, untrusted(found))
            data = stream.read(limit + 1)
    except OSError as error:
        raise from_os_error(error, "read", path) from error
    if len(data) > limit:
        raise from_os_error(OSError(27, f"larger than {limit} bytes"), "read", path)
    return data


def _at_once(path: str, flags: int) -> int:
    """Open what is there without waiting: it may be a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def check_directory(directory: Path) -> None:
    """Make sure that nobody else can put other files into *directory*, or in place of those that are there.

    Links are followed: an administrator may have moved it to another disk. Where it is mounted read-only, whoever
    mounted it decides what is in it, and that is root.

    :raises UntrustedError: somebody else can.
    :raises PermanentError: it is no directory.
    :raises TorcxdError: typed by the errno.
    """
    try:
        found = os.stat(directory)
    except OSError as error:
        raise from_os_error(error, "look at", directory) from error
    if not stat.S_ISDIR(found.st_mode):
        raise PermanentError(f"{directory} is not a directory", hint="move it away: torcxd makes its own")
    # In a sticky directory others may add names, but not touch ours.
    if found.st_mode & stat.S_ISVTX and found.st_uid in (0, os.geteuid()):
        return
    problem = untrusted(found)
    # The kubelet gives the folder of a ConfigMap to everybody, and mounts it so that nobody can write.
    if problem and not os.statvfs(directory).f_flag & os.ST_RDONLY:
        _refuse(directory, problem)


def _refuse(path: Path, problem: str) -> None:
    if problem:
        raise UntrustedError(
            f"{path} cannot be trusted: {problem}",
            hint=f"look who changed it; then `chown root {path}` and `chmod go-w {path}`",
        )
