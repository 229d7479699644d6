"""Keeps two processes from working on one node at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from torcxd.daemon import holder
from torcxd.errors import PermanentError, TransientError, from_os_error
from torcxd.host.files import make_directory
from torcxd.host.trusted import UntrustedError, check_directory
from torcxd.paths import Layout

# The lock that counts. Whoever can open a file, if only for reading, can hold a lock on it, and so keep torcxd from
# ever working: nobody else can open this one. The lock beside it is for `torcxd status`, whoever calls it.
_EXCLUSIVE: Final = "exclusive"


@contextmanager
def only_instance(layout: Layout, command: str = "") -> Iterator[None]:
    """Hold the lock below the state directory; the kernel drops it however the process ends.

    Where that directory cannot be written, the lock is below /run; where neither can, there is no lock, as there is no
    durable state.

    :param command: what works, for people and for ``torcxd status``.
    :raises TransientError: when another process holds it, naming its number; or the lock's file cannot be made for a
        reason that passes.
    :raises UntrustedError: others can write that directory: what is recorded there decides what is done.
    """
    opened = _opened(layout)
    if opened is None:
        yield
        return
    exclusive, shown = opened
    try:
        try:
            holder.take(exclusive)
        except BlockingIOError:
            pid, other = holder.noted(shown)
            raise TransientError(
                f"another torcxd ({f'{other}, ' if other else ''}process {pid or 'unknown'}) works on this node",
                hint="wait for it to end, or look at torcxd status",
            ) from None
        # For people only: on a full disk, or where somebody holds this one, the other lock holds without it.
        with suppress(OSError):
            holder.take(shown)
        with suppress(OSError):
            holder.note(shown, command)
        yield
    finally:
        os.close(exclusive)
        os.close(shown)


def _opened(layout: Layout) -> tuple[int, int] | None:
    for place in holder.PLACES:
        path = layout.at(place)
        try:
            make_directory(path.parent)
            check_directory(path.parent)
            exclusive = _open(path.with_name(_EXCLUSIVE), 0o600)
            try:
                return exclusive, _open(path, 0o644)
            except BaseException:
                os.close(exclusive)
                raise
        except UntrustedError:
            raise
        except (OSError, PermanentError) as error:
            reason = error if isinstance(error, PermanentError) else from_os_error(error, "lock", path)
            if not isinstance(reason, PermanentError):
                raise reason from error
    return None


def _open(path: Path, mode: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
