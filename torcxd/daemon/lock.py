"""Keeps two processes from working on one node at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torcxd.daemon import holder
from torcxd.errors import PermanentError, TransientError, from_os_error
from torcxd.host.files import make_directory
from torcxd.paths import Layout


@contextmanager
def only_instance(layout: Layout, command: str = "") -> Iterator[None]:
    """Hold the lock below the state directory; the kernel drops it however the process ends.

    Where that directory cannot be written, the lock is below /run; where neither can, there is no lock, as there is no
    durable state.

    :param command: what works, for people and for ``torcxd status``.
    :raises TransientError: when another process holds it, naming its number; or the lock's file cannot be made for a
        reason that passes.
    """
    descriptor = _opened(layout)
    if descriptor is None:
        yield
        return
    try:
        try:
            holder.take(descriptor)
        except BlockingIOError:
            pid, other = holder.noted(descriptor)
            raise TransientError(
                f"another torcxd ({f'{other}, ' if other else ''}process {pid or 'unknown'}) works on this node",
                hint="wait for it to end, or look at torcxd status",
            ) from None
        # For people only: on a full disk the lock holds without it.
        with suppress(OSError):
            holder.note(descriptor, command)
        yield
    finally:
        os.close(descriptor)


def _opened(layout: Layout) -> int | None:
    for place in holder.PLACES:
        path = layout.at(place)
        try:
            make_directory(path.parent)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except (OSError, PermanentError) as error:
            reason = error if isinstance(error, PermanentError) else from_os_error(error, "lock", path)
            if not isinstance(reason, PermanentError):
                raise reason from error
    return None
