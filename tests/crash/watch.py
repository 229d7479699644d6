"""Watches all system calls of a program, counts its moments, and kills it at one of them.

A call has up to three moments. ``before``: it is not made. ``torn``: half of its bytes go out. ``unanswered``: all of
what a peer is told goes out, and nothing that it answers is heard. Of a file, what is behind a call is what is before
the next one.

The kill is that of systemd: SIGKILL to the program and to all that it has started, at once.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISSOCK

import trio

from tests.crash import notify
from tests.crash.calls import Call
from tests.crash.memory import Sockets, process_of, read_call


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a program was killed.

    :param number: counted from 1, over all threads, processes and starts since the last kill.
    :param which: ``before``, ``torn`` or ``unanswered``.
    """

    number: int
    which: str
    call: Call


@dataclass(slots=True)
class Watch:
    """Counts the moments of the programs that it is given, one after the other, and kills at chosen ones.

    :param folders: those whose files count, each with what stands for it in reports.
    :param peers: those whom the program speaks to, by address.
    :param strikes: the numbers of the moments at which to kill; each is counted from the kill before it.
    :ivar calls: all that were made, or were about to be made when a kill came.
    :ivar struck: the kills so far.
    :ivar moments: how many there were since the last kill.
    """

    folders: Mapping[Path, str]
    peers: Mapping[str, str]
    strikes: tuple[int, ...] = ()
    calls: list[Call] = field(default_factory=list)
    struck: list[Moment] = field(default_factory=list)
    moments: int = 0

    async def follow(self, listener: int, group: int) -> None:
        """Decide on every call, until all processes that are watched through *listener*, which is closed then, ended.

        :param group: the process group that a kill is for. Cancellation kills it, too.
        """
        sockets = Sockets(self.peers)
        killed = False
        try:
            while True:
                await trio.lowlevel.wait_readable(listener)
                if not notify.is_waiting(listener):
                    return
                waiting = notify.receive(listener)
                if waiting is None:
                    continue
                if not killed:
                    # What reads its memory fails if somebody else has killed it meanwhile.
                    with suppress(OSError):
                        killed = self._struck_at(waiting, sockets, group)
                if not killed:
                    notify.let_go(listener, waiting)
        except BaseException:
            _kill(group)
            raise
        finally:
            os.close(listener)

    def _struck_at(self, waiting: notify.Notification, sockets: Sockets, group: int) -> bool:
        call = read_call(waiting, sockets)
        if call is None:
            return False
        if not call.peer:
            name = self._name(call.where)
            if name is None:
                return False
            call = replace(call, where=name)
        self.calls.append(call)
        due = self.strikes[len(self.struck)] if len(self.struck) < len(self.strikes) else None
        for which, data in _moments_of(call):
            self.moments += 1
            if self.moments == due:
                if data:
                    _write(call, data)
                _kill(group)
                self.struck.append(Moment(self.moments, which, call))
                self.moments = 0
                return True
        return False

    def _name(self, path: str) -> str | None:
        """What reports call the file, None for one that does not count."""
        for folder, name in self.folders.items():
            if Path(path).is_relative_to(folder):
                return path.replace(str(folder), name, 1)
        return None


def _moments_of(call: Call) -> Iterator[tuple[str, bytes]]:
    """The moments of one call, each with what of its bytes went out."""
    yield "before", b""
    if call.data is not None:
        # A datagram goes out or not.
        if len(call.data) > 1 and (not call.peer or _is_stream(call)):
            yield "torn", call.data[: len(call.data) // 2]
        if call.peer:
            yield "unanswered", call.data


def _is_stream(call: Call) -> bool:
    assert call.descriptor is not None
    descriptor = notify.duplicate(process_of(call.thread), call.descriptor)
    with socket.socket(fileno=descriptor) as found:
        return found.type == socket.SOCK_STREAM


def _write(call: Call, data: bytes) -> None:
    """Do in the program's stead what it was about to do, through its own open file."""
    assert call.descriptor is not None
    descriptor = notify.duplicate(process_of(call.thread), call.descriptor)
    try:
        # The peers run in this very process: never wait for one.
        assert not S_ISSOCK(os.fstat(descriptor).st_mode) or not os.get_blocking(descriptor)
        written = os.write(descriptor, data) if call.offset is None else os.pwrite(descriptor, data, call.offset)
        assert written == len(data), f"{written} of {len(data)} bytes went out"
    finally:
        os.close(descriptor)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
