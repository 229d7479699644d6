"""Tells people how long work goes on: one live line on a terminal, nothing elsewhere (the journal has the states)."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import Final, Protocol, TextIO

import trio

from torcxd.errors import one_line

# Ten times a second is smooth to the eye and costs nothing beside a download.
_REFRESH: Final = 0.1
# A bar of twenty characters moves every five per cent; below six it says less than the figure beside it.
_LONGEST_BAR: Final = 20
_SHORTEST_BAR: Final = 6
_GAP: Final = "  "


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
        label = one_line(label)
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
        self._stream.write("\r\x1b[K" + fit(self._parts, width))
        self._stream.flush()
        self._drawn = True


def progress_for(stream: TextIO) -> Progress:
    """What suits *stream*: a live line where it is a terminal that can go back in a line."""
    return LiveLine(stream) if stream.isatty() and os.environ.get("TERM") != "dumb" else Silent()


def fit(parts: Mapping[str, tuple[int, int | None]], width: int) -> str:
    """The line for *parts*, at most *width* characters: bars become shorter, then go, then labels and whole parts do.

    :param parts: by label, what is done and the total.
    """
    for bar in (*range(_LONGEST_BAR, _SHORTEST_BAR - 1, -1), 0):
        line = _GAP.join(_part(label, *state, bar) for label, state in parts.items())
        if len(line) <= width:
            return line
    for count in range(len(parts), 0, -1):
        # As in "docker:17.03 for 1576.4.0".
        shown = [_part(label.replace(" for ", " "), *state, 0) for label, state in list(parts.items())[:count]]
        line = _GAP.join([*shown, f"+{len(parts) - count} more"] if count < len(parts) else shown)
        if len(line) <= width:
            return line
    return f"{len(parts)} in progress"[:width]


def _part(label: str, done: int, total: int | None, bar: int) -> str:
    if not total:
        return f"{label} {done >> 20} MiB"
    percent = f"{min(100, 100 * done // total):3}%"
    filled = min(bar, bar * done // total)
    return f"{label} [{'#' * filled}{'.' * (bar - filled)}] {percent}" if bar else f"{label} {percent}"
