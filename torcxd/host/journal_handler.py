"""Log records as structured entries of the journal.

Where standard error is the journal's own stream, every record goes through the native socket instead, so that a record
with fields and the line that people read are one and the same entry. Elsewhere (a terminal, a container's log) the
lines stay where they are, and only what carries a ``MESSAGE_ID`` is entered into the journal besides, if there is one.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from torcxd.errors import one_line
from torcxd.host.journal import Journal

# syslog's priorities; sd-daemon(3).
_PRIORITIES: Final = (
    (logging.CRITICAL, "2"),
    (logging.ERROR, "3"),
    (logging.WARNING, "4"),
    (logging.INFO, "6"),
    (logging.NOTSET, "7"),
)


class PlainFormatter(logging.Formatter):
    """The message, of which peers may have written a part, on one line; and below it the traceback, if there is one."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(map(one_line, super().formatException(ei).split("\n")))


class JournalHandler(logging.Handler):
    """Hands records over to *journal*, with the fields in their attribute ``journal`` (a mapping of strings).

    :param identifier: the ``SYSLOG_IDENTIFIER``, which journalctl shows before each line.
    :param lines: the handler that writes lines for people.
    :param replaces_lines: whether *lines* end in the same journal, so that they are needed only for what the socket
        does not take.
    """

    def __init__(self, journal: Journal, identifier: str, lines: logging.Handler, *, replaces_lines: bool) -> None:
        super().__init__()
        self._journal = journal
        self._identifier = identifier
        self._lines = lines
        self._replaces_lines = replaces_lines
        self.setFormatter(PlainFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, str] = getattr(record, "journal", {})
        entered = False
        if fields or self._replaces_lines:
            entered = self._journal.send(
                {
                    "MESSAGE": self.format(record),
                    "PRIORITY": next(name for level, name in _PRIORITIES if record.levelno >= level),
                    "SYSLOG_IDENTIFIER": self._identifier,
                    "CODE_FILE": record.pathname,
                    "CODE_LINE": str(record.lineno),
                    "CODE_FUNC": record.funcName or "",
                    **{name: one_line(value) for name, value in fields.items()},
                }
            )
        if not (entered and self._replaces_lines):
            self._lines.handle(record)
