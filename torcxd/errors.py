"""The error type of the whole program: what was tried, what happened, what to do, and whether trying again helps.

Three kinds only, because a caller can do only three things: try again (transient), stop and tell
(permanent), or stop and refuse to be restarted until somebody edits something (configuration).
Exit codes are those of sysexits(3), which systemd's ``RestartPreventExitStatus=`` can name.
"""

from __future__ import annotations

import errno
import os
from enum import StrEnum
from typing import Final

EX_OK: Final = 0
EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_NOINPUT: Final = 66
EX_UNAVAILABLE: Final = 69
EX_SOFTWARE: Final = 70
EX_CANTCREAT: Final = 73
EX_IOERR: Final = 74
EX_TEMPFAIL: Final = 75
EX_NOPERM: Final = 77
EX_CONFIG: Final = 78


# A sentence with a path and a URL in it is far shorter; what is longer quotes a peer that does not come to an end.
_LONGEST: Final = 2000


class Kind(StrEnum):
    """What a caller can do about an error."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    CONFIGURATION = "configuration"


class TorcxdError(Exception):
    """Base of every error that torcxd raises on purpose.

    :param message: one sentence: what was tried and what happened, naming the file, URL or bus name. What peers and
        files say may be a part of it as it came: what no line of a log can hold is replaced, what is endless is cut.
    :param hint: one sentence: what the operator can do about it. Empty when there is nothing to add.
    :param exit_code: the sysexits(3) code of a process that ends because of this error.

    :ivar retry_after: seconds for which whoever refused wants to be left alone, None when it did not say.
    """

    kind: Kind = Kind.PERMANENT
    exit_code: int = EX_UNAVAILABLE
    retry_after: float | None = None

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None) -> None:
        self.message = one_line(message)
        self.hint = one_line(hint)
        super().__init__(self.message)
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def one_line(text: str) -> str:
    """*text* as journal and terminal can take it: a line break would forge a line, an escape more than that."""
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


class TransientError(TorcxdError):
    """Trying again later may succeed without anybody's help."""

    kind = Kind.TRANSIENT
    exit_code = EX_TEMPFAIL


class PermanentError(TorcxdError):
    """Trying again gives the same answer until something outside this process changes."""

    kind = Kind.PERMANENT
    exit_code = EX_UNAVAILABLE


class ConfigurationError(TorcxdError):
    """The configuration is wrong: a restart does not help, an edit does."""

    kind = Kind.CONFIGURATION
    exit_code = EX_CONFIG


# A full disk or a busy file may be over in a minute; a read-only or forbidden path stays so until somebody acts.
_TRANSIENT_ERRNOS: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY, errno.EAGAIN}
)
_HINTS: Final = {
    errno.ENOSPC: "free some space on that file system",
    errno.EDQUOT: "raise the quota of that file system",
    errno.EROFS: "the file system is read-only: mount it writable, or point --root or the path option elsewhere",
    errno.EACCES: "run as root, or check the owner and mode",
    errno.EPERM: "run as root, or check the owner and mode",
    errno.ENOENT: "put the file there, or correct the path that leads to it",
}
_EXIT_CODES: Final = {
    errno.EACCES: EX_NOPERM,
    errno.EPERM: EX_NOPERM,
    errno.EROFS: EX_CANTCREAT,
    errno.ENOENT: EX_NOINPUT,
}


def from_os_error(error: OSError, doing: str, path: str | os.PathLike[str]) -> TorcxdError:
    """Turn an ``OSError`` into a typed error.

    :param doing: what was tried, as a verb phrase: ``"write"``, ``"read"``, ``"rename"``.
    :param path: the file it was tried on.
    :returns: a :class:`TransientError` for conditions that pass by themselves (full disk, I/O error), else a
        :class:`PermanentError`; both name the path and carry a hint where there is one.
    """
    number = error.errno or 0
    message = f"cannot {doing} {os.fspath(path)}: {error.strerror or error}"
    hint = _HINTS.get(number, "")
    if number in _TRANSIENT_ERRNOS:
        return TransientError(message, hint=hint)
    return PermanentError(message, hint=hint, exit_code=_EXIT_CODES.get(number, EX_IOERR))
