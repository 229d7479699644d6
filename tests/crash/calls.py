"""The system calls by which a process changes anything outside itself, on Linux for x86_64.

Each is known by its number and by where in its arguments the file, or the descriptor, is that it is about. The table
serves both sides: the process that is watched makes its filter of it, the watcher reads arguments with it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

# open(2): with none of these flags it only looks.
OPEN_CHANGES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class Shape:
    """One system call, and which of its arguments say what it is about.

    :param directory: the argument with the descriptor that a relative path starts from; None: the working directory.
    :param path: the argument with the path; None where the call takes a descriptor instead.
    :param descriptor: the argument with that descriptor.
    :param flags: the argument with the flags of open(2); without ``OPEN_CHANGES`` in them, the call is none of ours.
    :param data: the argument with the bytes that are written, ``"buffer"`` (a pointer, and behind it the length) or
        ``"vector"`` (a pointer to iovecs, and their number) or ``"message"`` (a pointer to a msghdr).
    """

    name: str
    number: int
    directory: int | None = None
    path: int | None = None
    descriptor: int | None = None
    flags: int | None = None
    data: str | None = None


def _by_path(name: str, number: int, path: int = 0, directory: int | None = None, flags: int | None = None) -> Shape:
    return Shape(name, number, path=path, directory=directory, flags=flags)


def _by_descriptor(name: str, number: int, descriptor: int = 0, data: str | None = None) -> Shape:
    return Shape(name, number, descriptor=descriptor, data=data)


# Of what takes two paths, the second is told: the name that comes to be. asm/unistd_64.h has the numbers.
SHAPES: Final = {
    each.number: each
    for each in (
        _by_descriptor("write", 1, data="buffer"),
        _by_descriptor("pwrite64", 18, data="buffer"),
        _by_descriptor("writev", 20, data="vector"),
        _by_descriptor("pwritev", 296),
        _by_descriptor("pwritev2", 328),
        _by_descriptor("sendfile", 40),
        _by_descriptor("splice", 275, 2),
        _by_descriptor("copy_file_range", 326, 2),
        _by_path("open", 2, flags=1),
        _by_path("creat", 85),
        _by_path("openat", 257, 1, 0, flags=2),
        _by_path("openat2", 437, 1, 0),
        _by_descriptor("fsync", 74),
        _by_descriptor("fdatasync", 75),
        _by_descriptor("sync_file_range", 277),
        _by_descriptor("syncfs", 306),
        _by_path("truncate", 76),
        _by_descriptor("ftruncate", 77),
        _by_descriptor("fallocate", 285),
        _by_path("rename", 82, 1),
        _by_path("renameat", 264, 3, 2),
        _by_path("renameat2", 316, 3, 2),
        _by_path("link", 86, 1),
        _by_path("linkat", 265, 3, 2),
        _by_path("symlink", 88, 1),
        _by_path("symlinkat", 266, 2, 1),
        _by_path("unlink", 87),
        _by_path("unlinkat", 263, 1, 0),
        _by_path("mkdir", 83),
        _by_path("mkdirat", 258, 1, 0),
        _by_path("rmdir", 84),
        _by_path("mknod", 133),
        _by_path("mknodat", 259, 1, 0),
        _by_path("chmod", 90),
        _by_descriptor("fchmod", 91),
        _by_path("fchmodat", 268, 1, 0),
        _by_path("fchmodat2", 452, 1, 0),
        _by_path("chown", 92),
        _by_descriptor("fchown", 93),
        _by_path("lchown", 94),
        _by_path("fchownat", 260, 1, 0),
        _by_path("utimensat", 280, 1, 0),
        _by_path("setxattr", 188),
        _by_path("lsetxattr", 189),
        _by_descriptor("fsetxattr", 190),
        _by_descriptor("connect", 42),
        _by_descriptor("sendto", 44, data="buffer"),
        _by_descriptor("sendmsg", 46, data="message"),
        _by_descriptor("sendmmsg", 307),
    )
}


@dataclass(frozen=True, slots=True)
class Call:
    """A system call at its entry.

    :param thread: the number of the thread that makes it.
    :param where: the file, as an absolute path; or the peer's name.
    :param data: the bytes that it is to write, None where it is none that writes.
    :param peer: whether it speaks to a peer.
    :param offset: where in the file they go, None for behind the last ones.
    """

    name: str
    thread: int
    where: str
    data: bytes | None = None
    peer: bool = False
    descriptor: int | None = None
    offset: int | None = None
