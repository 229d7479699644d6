"""Tells people how long work goes on: one live line on a terminal, nothing elsewhere (the journal has the states)."""

from __future__ import annotations

import shutil
import sys
from typing import Final, Protocol, TextIO

import trio

# Ten times a second is smooth to the eye and costs nothing beside a download.
_REFRESH: Final = 0.1
_BAR: Final = 20


class Progress(Protocol):
    """Follows several pieces of work by name."""

    def advanced(self, label: str, done: int, total: int | None) -> None:
        """*label* has come to *done* of *total* units (bytes, or per mille); a total of None is not known yet."""
        ...

    def finish(self) -> None:
        """Leave the terminal clean for other output."""
        ...


class Silent:
    """Tells nothing."""

    def advanced(self, label: str, done: int, total: int | None) -> None:
        pass

    def finish(self) -> None:
        pass


class LiveLine:
    """One line, rewritten in place. Call it from trio."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._parts: dict[str, tuple[int, int | None]] = {}
        self._drawn_at = float("-inf")
        self._drawn = False

    def advanced(self, label: str, done: int, total: int | None) -> None:
        self._parts[label] = (done, total)
        now = trio.current_time()
        complete = total is not None and done >= total
        if complete or now - self._drawn_at >= _REFRESH:
            self._drawn_at = now
            self._draw()
            if complete:
                del self._parts[label]

    def finish(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        text = "  ".join(_part(label, *state) for label, state in self._parts.items())
        self._stream.write("\r\x1b[K" + text[:width])
        self._stream.flush()
        self._drawn = True


def _part(label: str, done: int, total: int | None) -> str:
    if not total:
        return f"{label} {done >> 20} MiB"
    filled = min(_BAR, _BAR * done // total)
    return f"{label} [{'#' * filled}{'.' * (_BAR - filled)}] {min(100, 100 * done // total):3}%"
