"""The durable memory of the process: the snapshot and the bounded history below ``/var/lib/torcxd`` (I8)."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from torcxd.charts import load_chart
from torcxd.daemon import document
from torcxd.errors import EX_CANTCREAT, EX_IOERR, EX_NOPERM, Kind, TorcxdError, from_os_error
from torcxd.host import files
from torcxd.host.trusted import untrusted
from torcxd.lifecycle.snapshot import Snapshot
from torcxd.paths import Layout

log = logging.getLogger(__name__)

# A node sees a handful of transitions a month; a thousand entries tell years, and read in a few milliseconds.
KEPT_ENTRIES: Final = 1000
# An entry is about 300 bytes. The file is cut back to half of this, whatever they are, once it holds about twice what
# is kept.
LARGEST_HISTORY: Final = 2 * KEPT_ENTRIES * 300
# What is wrong with a file that can be read. UnicodeEncodeError: a key with half a character in it.
_UNUSABLE: Final = (document.DamagedDocument, msgspec.ValidationError, UnicodeEncodeError)


class StateFile:
    """Loads and saves the snapshot.

    Where the directory cannot be written because of its mount or mode (a container without that mount), the process
    works from memory: it gathers afresh after a restart, and says so once.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.durable = True

    def load(self) -> Snapshot | None:
        """The recorded snapshot; None when there is none or it is unreadable.

        A damaged file is kept aside as ``state.json.damaged`` and reported; gathering starts again from the disk. What
        the process before this one has named on the disk is durable when this returns, wherever that one was killed.

        :raises TorcxdError: when the file exists and cannot be read, or the disk fails.
        """
        files.settle(self.layout.written())
        path = self.layout.state_file
        if not path.exists():
            return None
        try:
            return _snapshot(_read(path))
        except _UNUSABLE as error:
            aside = path.with_name(f"{path.name}.damaged")
            files.rename(path, aside)
            log.warning(
                "The state file %s is unusable: %s. It is kept as %s; gathering starts afresh.", path, error, aside
            )
            return None

    def save(self, snapshot: Snapshot) -> None:
        """Write the snapshot; on return it survives a power cut.

        :raises TransientError: when the disk is full or fails: nothing may be started that is not recorded.
        """
        if not self.durable:
            return
        content: dict[str, Any] = msgspec.to_builtins(snapshot)
        try:
            files.write_atomic(self.layout.state_file, document.encode(content))
        except TorcxdError as error:
            if error.kind is Kind.TRANSIENT or error.exit_code not in (EX_NOPERM, EX_CANTCREAT, EX_IOERR):
                raise
            self.durable = False
            log.warning("%s. The state is kept in memory only: after a restart everything is gathered afresh.", error)

    def record(self, entry: dict[str, Any]) -> None:
        """Append one line to the history. A history that cannot be written is no reason to stop: it is logged."""
        if not self.durable:
            return
        path = self.layout.history_file
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        try:
            files.make_directory(path.parent)
            self._bound(path)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    # A crash tore the last line: it goes, so that every line but the last is whole at all times.
                    os.ftruncate(descriptor, path.read_bytes().rfind(b"\n") + 1)
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except (OSError, TorcxdError) as error:
            log.warning("The history %s cannot be written: %s.", path, error)

    def _bound(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LARGEST_HISTORY:
                lines = _end(path, LARGEST_HISTORY // 2).splitlines(keepends=True)
                files.write_atomic(path, b"".join(lines[-KEPT_ENTRIES:]))


def read_history(path: Path, *, most: int) -> list[dict[str, Any]]:
    """The newest entries, oldest first; a torn last line is passed over.

    :raises OSError: when the file cannot be read.
    """
    entries: list[dict[str, Any]] = []
    for line in _end(path, 2 * LARGEST_HISTORY).splitlines()[-most:]:
        # A line of somebody else's can be nested too deep to be read.
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries


def read_recorded(layout: Layout) -> Snapshot | None:
    """What the state file holds, for a reader that changes nothing; None when there is nothing to be read."""
    try:
        return _snapshot(_read(layout.state_file))
    except (TorcxdError, *_UNUSABLE):
        return None


def _snapshot(data: bytes) -> Snapshot:
    """What a state file holds.

    :raises ValueError: one of :data:`_UNUSABLE`: it is damaged, or another version's, whose states are others.
    """
    snapshot = msgspec.convert(document.decode(data), Snapshot)
    chart = load_chart()
    if snapshot.state not in (each.name for each in chart.states):
        raise document.DamagedDocument(f"its state {snapshot.state[:40]!r} is none that this program has")
    if snapshot.plan is None and snapshot.state != chart.initial:
        raise document.DamagedDocument(f"it is in the state {snapshot.state} without a plan")
    return snapshot


def _read(path: Path) -> bytes:
    """The file, or so much of a larger one that it counts as damaged: it is kept aside then like any other.

    :raises DamagedDocument: somebody else can have written it: what it says decides what is done.
    :raises TorcxdError: typed by the errno.
    """
    try:
        with open(path, "rb") as stream:
            if problem := untrusted(os.fstat(stream.fileno())):
                raise document.DamagedDocument(f"others can have written it: {problem}")
            return stream.read(document.LARGEST + 1)
    except OSError as error:
        raise from_os_error(error, "read", path) from error


def _end(path: Path, most: int) -> bytes:
    """The last lines of a file, of *most* bytes together at most, whatever is before them. Raises ``OSError``."""
    with open(path, "rb") as stream:
        before = stream.seek(0, os.SEEK_END) - most
        if before <= 0:
            stream.seek(0)
        else:
            # What is left of the line that the first byte belongs to is none.
            stream.seek(before - 1)
            if b"\n" not in stream.readline(most + 1):
                return b""
        return stream.read(most)
