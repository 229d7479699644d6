"""Watches all system calls of a program, counts its moments, and kills it at one of them.

A call has up to three moments. ``before``: it is not made. ``torn``: half of its bytes go out. ``unanswered``: all of
what a peer is told goes out, and nothing that it answers is heard. Of a file, what is behind a call is what is before
the next one.

The kill is that of systemd: SIGKILL to the program and to all that it has started, at once.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISSOCK
from typing import Final

import trio

from tests.crash import notify
from tests.crash.calls import Call
from tests.crash.memory import Sockets, process_of, read_call
from tests.crash.said import said

# What differs from node to node and from run to run in a file's name.
_RANDOM: Final = re.compile(
    r"(?<=\.)\w{8}(?=\.tmp$)|(?<=/importing-)\w+|(?<=/signature-)\w+|(?<=\.#lk)\w.*|[0-9a-f]{64,}"
)


def plain(name: str) -> str:
    """A file's name without what is random in it."""
    return _RANDOM.sub("…", name)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a program can be killed.

    :param which: ``before``, ``torn`` or ``unanswered``.
    :param nth: how often there was one like it in the journey, this one included.
    """

    which: str
    call: Call
    nth: int

    @property
    def kind(self) -> str:
        """As ``torn write /etc/torcx/.next-profile.….tmp``."""
        return f"{self.which} {self.call.name} {plain(self.call.where)}"

    def __str__(self) -> str:
        return f"{self.kind} #{self.nth}"


# A number counts from 1, over all threads, processes and starts since the kill before. A text is that of a moment, or
# with `` +3`` behind it of the third one after that.
Strike = int | str


@dataclass(slots=True)
class Watch:
    """Counts the moments of the programs that it is given, one after the other, and kills at chosen ones.

    :param folders: those whose files count, each with what stands for it in reports.
    :param peers: those whom the program speaks to, by address.
    :param strikes: when to kill, one after the other.
    :ivar moments: all that were so far.
    :ivar struck: those at which it killed.
    """

    folders: Mapping[Path, str]
    peers: Mapping[str, str]
    strikes: tuple[Strike, ...] = ()
    moments: list[Moment] = field(default_factory=list)
    struck: list[Moment] = field(default_factory=list)
    _since: int = 0
    _reached: int | None = None
    _count: Counter[str] = field(default_factory=Counter)

    @property
    def calls(self) -> list[Call]:
        """The system calls so far: those that were made, and those at which it killed."""
        return [each.call for each in self.moments if each.which == "before"]

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
                    # Nobody may leave before: without a listener every call of a program that goes on fails.
                    if notify.is_over(listener):
                        return
                    await trio.lowlevel.checkpoint()
                    continue
                waiting = notify.receive(listener)
                if waiting is None:
                    continue
                if not killed:
                    # What reads its memory fails if somebody else has killed it meanwhile.
                    with suppress(OSError):
                        killed = self._strikes_at(waiting, sockets, group)
                if not killed:
                    notify.let_go(listener, waiting)
        except BaseException:
            _kill(group)
            raise
        finally:
            os.close(listener)

    def _strikes_at(self, waiting: notify.Notification, sockets: Sockets, group: int) -> bool:
        call = read_call(waiting, sockets)
        if call is None:
            return False
        name = self._name(call)
        if name is None:
            return False
        call = replace(call, where=name)
        for which, data in _moments_of(call):
            moment = Moment(which, call, 1)
            self._count[moment.kind] += 1
            moment = replace(moment, nth=self._count[moment.kind])
            self.moments.append(moment)
            if self._is_due(moment):
                if data:
                    _write(call, data)
                _kill(group)
                self.struck.append(moment)
                self._since, self._reached = len(self.moments), None
                return True
        return False

    def _is_due(self, moment: Moment) -> bool:
        if len(self.struck) == len(self.strikes):
            return False
        due = self.strikes[len(self.struck)]
        if isinstance(due, int):
            return len(self.moments) - self._since == due
        text, _, later = due.partition(" +")
        if str(moment) == text:
            self._reached = len(self.moments)
        return self._reached is not None and len(self.moments) - self._reached == int(later or 0)

    def _name(self, call: Call) -> str | None:
        """What reports call the file or the peer, and what it is told; None for a file that does not count."""
        if call.peer:
            word = said(call.data) if call.data else ""
            return f"{call.where}: {word}" if word else call.where
        for folder, name in self.folders.items():
            if Path(call.where).is_relative_to(folder):
                return call.where.replace(str(folder), name, 1)
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
