"""Keeps two processes from working on one node at the same time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torcxd.errors import PermanentError, TransientError, from_os_error
from torcxd.host.files import make_directory
from torcxd.paths import Layout


@contextmanager
def only_instance(layout: Layout) -> Iterator[None]:
    """Hold the lock below the state directory; the kernel drops it however the process ends.

    Where the directory cannot be written there is no lock, as there is no durable state.

    :raises TransientError: when another process holds it, naming its number; or the lock's file cannot be made for a
        reason that passes.
    """
    path = layout.state_directory / "lock"
    try:
        make_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except (OSError, PermanentError) as error:
        reason = error if isinstance(error, PermanentError) else from_os_error(error, "lock", path)
        if not isinstance(reason, PermanentError):
            raise reason from error
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise TransientError(
                f"another torcxd (process {holder}) works on this node",
                hint="wait for it to end, or look at torcxd status",
            ) from None
        # For people only: on a full disk the lock holds without it.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
