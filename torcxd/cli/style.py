"""Words, times and colours for people. Imports nothing heavy, since ``torcxd status`` uses it."""

from __future__ import annotations

import os
import time

# As typing.TYPE_CHECKING, without the milliseconds that importing typing takes: `torcxd status` counts them.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TextIO

_BOLD: Final = "1"
RED: Final = "31"
YELLOW: Final = "33"
_DIM: Final = "2"


def wants_colour(stream: TextIO) -> bool:
    """Whether *stream* is a terminal and nobody said no (https://no-color.org)."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, code: str, stream: TextIO) -> str:
    """*text* in an SGR style where *stream* takes colours."""
    return f"\x1b[{code}m{text}\x1b[0m" if wants_colour(stream) else text


def bold(text: str, stream: TextIO) -> str:
    return paint(text, _BOLD, stream)


def dim(text: str, stream: TextIO) -> str:
    return paint(text, _DIM, stream)


def ago(seconds: float) -> str:
    """A span of time for people: ``3 min``."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{max(0, seconds):.0f} s"


def moment(at: float) -> str:
    """A point in time for people and for grep, UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return "an impossible time"
