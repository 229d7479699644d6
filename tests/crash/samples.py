"""Little programs whose system calls are known: what the watch is tested with. Each ends its process."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import threading
from pathlib import Path

from tests.crash import notify


def _folder() -> Path:
    return Path(os.environ["FOLDER"])


def every_kind() -> None:
    """A file is written in three ways, made durable, linked, renamed, cut; and there is a lot that does not count."""
    folder = _folder()
    (folder / "read").read_bytes()
    descriptor = os.open(folder / "new", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"first ")
    os.writev(descriptor, [b"sec", b"ond"])
    os.pwrite(descriptor, b"F", 0)
    os.fchmod(descriptor, 0o600)
    os.fsync(descriptor)
    os.close(descriptor)
    directory = os.open(folder, os.O_RDONLY)
    os.link(folder / "new", folder / "second")
    os.rename(folder / "new", folder / "third")
    os.unlink("second", dir_fd=directory)
    (folder / "name").symlink_to("third")
    (folder / "inner").mkdir()
    (folder / "inner").rmdir()
    os.chdir(folder)
    os.truncate("third", 3)
    one, other = socket.socketpair()
    one.send(b"to itself")
    _, writer = os.pipe()
    os.write(writer, b"to itself")
    Path(os.devnull).write_bytes(b"to nobody")
    for each in (one, other):
        each.close()
    os._exit(0)


def with_helpers() -> None:
    """A thread and a child each make a folder, one after the other."""
    thread = threading.Thread(target=os.mkdir, args=[_folder() / "by-thread"])
    thread.start()
    thread.join()
    subprocess.run(["mkdir", _folder() / "by-child"], check=True)
    os._exit(0)


def that_talks() -> None:
    """Tells the peer two words, and notes its answer."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(os.environ["PEER"])
        peer.setblocking(False)
        peer.send(b"hello")
        peer.setblocking(True)
        (_folder() / "answer").write_bytes(peer.recv(10))
    os._exit(0)


def without_seccomp() -> None:
    """As on a kernel, or in a container, that refuses the filter."""

    def refuse(*_: object) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1

    notify.libc.syscall = refuse
