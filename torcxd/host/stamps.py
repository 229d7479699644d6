"""Whether files have changed since something was made of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Device, inode, size, and the times of the last modification and the last change. A rotation by a rename or a symbolic
# link brings another inode; one in place another time. The time of the change is there for tools that put back the
# other; where merely a mode or a link changed, something is made anew for nothing.
_Look = tuple[int, int, int, int, int]

# Nanoseconds. The kernel stamps files by a clock that ticks every 10 ms at the slowest (CONFIG_HZ=100): what was
# written later than that before it was looked at could be written again, and look the same.
_TICK: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Stamps:
    """What some files looked like at one moment, which has to be before they were read.

    :ivar files: by path, symbolic links followed; None for one that could not be looked at.
    :ivar settled: whether a change of any of them would show.
    """

    files: Mapping[Path, _Look | None]
    settled: bool

    @classmethod
    def of(cls, *paths: Path, now: Callable[[], int] = time.time_ns) -> Stamps:
        """Look at the files. Blocks: one system call each.

        :param now: the time of day in nanoseconds.
        """
        files = {path: _look(path) for path in paths}
        # By the time of the change, which nobody can put back.
        newest = max((each[4] for each in files.values() if each is not None), default=0)
        return cls(files, settled=now() - newest > _TICK)

    def __or__(self, other: Stamps) -> Stamps:
        return Stamps({**self.files, **other.files}, self.settled and other.settled)

    def hold(self) -> bool:
        """Whether all files are sure to be as they were. Blocks: one system call each."""
        return self.settled and all(_look(path) == look for path, look in self.files.items())


def _look(path: Path) -> _Look | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
