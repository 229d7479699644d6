"""Errors that say what to do, and log lines for a terminal or for the journal."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from pathlib import Path
from typing import Final

from torcxd.cli.style import RED, YELLOW, dim, paint
from torcxd.errors import EX_IOERR, EX_OK

# What write(2) says of a pipe that nobody reads, of a full disk, and of a descriptor that is closed.
_WRITE_ERRORS: Final = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def fail(message: str, hint: str, exit_code: int) -> int:
    """Tell of the error that ends the command; returns *exit_code*."""
    if _speaks_to_journal():
        print(f"<3>{message}" + (f" Hint: {hint}." if hint else ""), file=sys.stderr)
        return exit_code
    print(f"{paint('torcxd: error:', RED, sys.stderr)} {message}", file=sys.stderr)
    if hint:
        print(f"  {dim('hint:', sys.stderr)} {hint}", file=sys.stderr)
    return exit_code


def is_of_standard_output(raised: OSError) -> bool:
    """Whether *raised* says that standard output cannot be written.

    It is the only thing that is written without a wrapper that types its errors; an error of opening names its file.
    """
    return raised.filename is None and raised.errno in _WRITE_ERRORS


def fail_to_print(error: OSError) -> int:
    """End a command whose standard output is gone; returns the exit code.

    A reader that went away (``torcxd history | head``) has read enough: nothing is wrong, and nothing is said.
    """
    # Python flushes once more at exit, and would complain of what is told here.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return EX_OK
    return fail(f"cannot write to standard output: {error.strerror}", "", EX_IOERR)


def set_up_logging(level: str, journal_socket: Path) -> None:
    """Log to standard error: plain lines on a terminal, with sd-daemon(3) priorities for the journal.

    Where the journal listens at *journal_socket*, records with fields become structured entries, and all of them do
    when standard error ends in the journal anyway.
    """
    # Only commands that log need them, and `status` is not one of these.
    from torcxd.host.journal import Journal
    from torcxd.host.journal_handler import JournalHandler, PlainFormatter

    in_journal = _speaks_to_journal()
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_JournalLines(PlainFormatter()) if in_journal else _TerminalLines(PlainFormatter()))
    root = logging.getLogger()
    root.handlers[:] = [JournalHandler(Journal(journal_socket), "torcxd", lines, replaces_lines=in_journal)]
    set_level(level)
    # gnupg logs each line that gpg prints at debug level, twice.
    logging.getLogger("gnupg").setLevel(logging.WARNING)
    # transitions logs each of its callbacks; our own lines say what happened.
    logging.getLogger("transitions").setLevel(logging.WARNING)


def set_level(level: str) -> None:
    """Log from *level* on: ``debug``, ``info``, ``warning`` or ``error``."""
    logging.getLogger().setLevel(level.upper())


def _speaks_to_journal() -> bool:
    """Whether standard error is the journal's stream, as systemd.exec(5) says how to tell."""
    try:
        device, inode = os.environ.get("JOURNAL_STREAM", "").split(":")
        found = os.fstat(sys.stderr.fileno())
        return (found.st_dev, found.st_ino) == (int(device), int(inode))
    except (ValueError, OSError):
        return False


class _TerminalLines(logging.Formatter):
    """Lines with the time, in colour.

    :param text: makes the text of a record.
    """

    def __init__(self, text: logging.Formatter) -> None:
        super().__init__()
        self._text = text

    def format(self, record: logging.LogRecord) -> str:
        text = self._text.format(record)
        stamp = dim(time.strftime("%H:%M:%S", time.localtime(record.created)), sys.stderr)
        if record.levelno >= logging.ERROR:
            return f"{stamp} {paint(text, RED, sys.stderr)}"
        if record.levelno >= logging.WARNING:
            return f"{stamp} {paint(text, YELLOW, sys.stderr)}"
        return f"{stamp} {dim(text, sys.stderr) if record.levelno < logging.INFO else text}"


class _JournalLines(logging.Formatter):
    """Lines with their priority.

    :param text: makes the text of a record.
    """

    _PRIORITIES: Final = {
        logging.DEBUG: 7,
        logging.INFO: 6,
        logging.WARNING: 4,
        logging.ERROR: 3,
        logging.CRITICAL: 2,
    }

    def __init__(self, text: logging.Formatter) -> None:
        super().__init__()
        self._text = text

    def format(self, record: logging.LogRecord) -> str:
        priority = self._PRIORITIES.get(record.levelno, 6)
        # A line break would end the entry and lose the priority of the rest.
        return "\n".join(f"<{priority}>{line}" for line in self._text.format(record).splitlines())
