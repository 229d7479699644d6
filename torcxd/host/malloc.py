"""The C library's allocator, for a process that runs for months."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

# mallopt(3), malloc.h of glibc.
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

# Bytes from which on a piece of memory is mapped by itself, and so goes back to the kernel as soon as it is freed.
# glibc begins with 128 KiB, but the first larger piece that is freed raises that, up to 32 MiB: from then on the
# buffers of reads, TLS and JSON lie between small pieces that live for long, and the heap grows around the holes they
# leave, by some 15 kB for each OS update. Half of what it begins with also catches what is just below.
_MAPPED_FROM: Final = 64 * 1024

# One heap for the event loop and one for the threads beside it, which have little to do at the same time. glibc would
# make up to eight for each processor, each with holes of its own.
_HEAPS: Final = 2


def keep_heap_small() -> None:
    """Have freed memory go back to the kernel for the rest of the process's life. Without glibc it does nothing."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        mallopt(_M_ARENA_MAX, _HEAPS)
