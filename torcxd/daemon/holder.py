"""Which torcxd works on the node: the lock's file, and how to look at it without a trace.

The lock is an open file description lock (fcntl(2)): the kernel drops it however the process ends, it counts across
containers that share the file, and, unlike flock(2), it can be asked about without being taken. Kept free of heavy
imports, because ``torcxd status`` asks, also where it may not read all.
"""

from __future__ import annotations

import fcntl
import os
import struct

# As typing.TYPE_CHECKING, without the milliseconds that importing typing takes: `torcxd status` counts them.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Where it is, below the root: beside the state, or, in a container where that cannot be written, beside what is told
# of the sources.
PLACES: Final = ("var/lib/torcxd/lock", "run/torcxd/lock")
# struct flock on 64-bit Linux: type, whence, start, length (0 is to the end), and a process number, always 0 here.
_FLOCK: Final = "hhqqi0q"


def take(descriptor: int) -> None:
    """Take the lock for as long as *descriptor* is open.

    :param descriptor: open for reading and writing.
    :raises BlockingIOError: somebody holds it.
    :raises OSError: the file system knows no locks.
    """
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))


def note(descriptor: int, command: str) -> None:
    """Write down who holds it. :raises OSError: the disk is full."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {command}\n".encode(), 0)


def noted(descriptor: int) -> tuple[int | None, str | None]:
    """The process number, in its own namespace, and the command of who holds it, or held it last."""
    pid, _, command = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip().partition(" ")
    return int(pid) if pid.isdecimal() else None, command or None


def look(root: str) -> dict[str, Any]:
    """Which torcxd works on the node below *root*, as ``torcxd status --json`` tells.

    ``runs`` is None where this user may not look; ``command`` is the last one's where none runs; ``pid`` is None then.
    """
    told: dict[str, Any] = {"runs": False, "pid": None, "command": None}
    for place in PLACES:
        try:
            descriptor = os.open(f"{root.rstrip('/')}/{place}", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            told["runs"] = None
            continue
        try:
            pid, command = noted(descriptor)
            if _is_held(descriptor):
                return {"runs": True, "pid": pid, "command": command}
            told["command"] = told["command"] or command
        except OSError:
            told["runs"] = None
        finally:
            os.close(descriptor)
    return told


def _is_held(descriptor: int) -> bool:
    asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    found: int = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0]
    return found != fcntl.F_UNLCK
