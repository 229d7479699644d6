"""One direction of a simulated connection: bytes that arrive late, change on the way, or break off."""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

# Bytes under way in one direction; who sends more waits, as with a kernel's buffers.
_WINDOW: Final = 256 * 1024
# Seconds from sending to arrival where all is well.
USUAL_LATENCY: Final = 0.001

# Told of all bytes that are sent, and when they arrive.
Heard = Callable[[float, bytearray], None]


@dataclass(slots=True)
class Link:
    """How it goes with the connections to one peer; may be changed at any time.

    :ivar latency: seconds from sending to arrival.
    :ivar down: connections are refused; see :meth:`Network.cut`.
    :ivar blackhole: nothing arrives any more, and nobody says so.
    :ivar cuts: for each of the next connections, after how many bytes from the server it is reset.
    :ivar flips: for each of the next connections, the number of the byte from the server that arrives as another one.
    :ivar unresolved: its name is not known.
    :ivar name: the peer's.
    :ivar fired: counts each trouble that somebody ran into, by its name in :mod:`tests.simulation.world.faults`.
    """

    name: str = ""
    fired: Counter[str] = field(default_factory=Counter)
    latency: float = USUAL_LATENCY
    down: bool = False
    blackhole: bool = False
    cuts: deque[int] = field(default_factory=deque)
    flips: deque[int] = field(default_factory=deque)
    unresolved: bool = False

    def note(self, trouble: str) -> None:
        """Somebody ran into *trouble*."""
        self.fired[f"{self.name}: {trouble}"] += 1


@dataclass(slots=True)
class _Piece:
    due: float
    data: memoryview
    descriptors: list[int]


class Pipe:
    """One direction of a connection."""

    def __init__(self, link: Link, heard: Heard, *, cut: int | None = None, flip: int | None = None) -> None:
        self.link = link
        self._heard = heard
        self.pieces: deque[_Piece] = deque()
        self.buffered = 0
        self.sent = 0
        self.ended = False
        self.reset = False
        self.left = False
        self._cut = cut
        self._flip = flip
        # Whoever waits for bytes sits in this scope, which ends when the next ones are due.
        self._waiting: trio.CancelScope | None = None
        self._changed = trio.Event()

    def wake(self) -> None:
        """Something has changed: let those look again who wait."""
        self._changed.set()
        self._changed = trio.Event()

    async def write(self, data: bytes, descriptors: list[int]) -> int:
        """Send as much of *data* as there is room for, at least a byte."""
        while True:
            if self.reset:
                raise ConnectionResetError(104, "connection reset by peer")
            if self.left or self.ended:
                raise BrokenPipeError(32, "broken pipe")
            room = _WINDOW - self.buffered
            if room > 0:
                break
            await self._changed.wait()
        piece = bytearray(data[:room])
        if self._flip is not None and self.sent <= self._flip < self.sent + len(piece):
            piece[self._flip - self.sent] ^= 0x20
            self.link.note("byte changed")
        if self._cut is not None and self.sent + len(piece) >= self._cut:
            self.link.note("answer cut off")
            self.abort()
            raise ConnectionResetError(104, "connection reset by peer")
        self.sent += len(piece)
        self.buffered += len(piece)
        if self.link.latency > USUAL_LATENCY:
            self.link.note("bytes late")
        last = self.pieces[-1].due if self.pieces else 0.0
        due = max(last, trio.current_time() + self.link.latency)
        self.pieces.append(_Piece(due, memoryview(bytes(piece)), descriptors))
        self._heard(due, piece)
        if self._waiting is not None and len(self.pieces) == 1:
            self._waiting.deadline = due
        return len(piece)

    def end(self) -> None:
        self.ended = True
        self.wake()

    def abort(self) -> None:
        """Break it: what is under way is lost."""
        self.reset = True
        self.forget()
        self.wake()

    def forget(self) -> None:
        for each in self.pieces:
            for descriptor in each.descriptors:
                os.close(descriptor)
        self.pieces.clear()
        self.buffered = 0

    async def read(self, most: int) -> tuple[bytes, list[int]]:
        """What has arrived, empty at the end."""
        found = self._take(most)
        if found is not None:
            # As trio's own sockets: who need not wait gives way to others.
            await trio.lowlevel.cancel_shielded_checkpoint()
            return found
        while True:
            due = math.inf
            if self.link.blackhole:
                if self.pieces:
                    self.link.note("bytes withheld")
            elif self.pieces:
                due = self.pieces[0].due
            with trio.CancelScope(deadline=due) as self._waiting:
                await self._changed.wait()
            self._waiting = None
            if (found := self._take(most)) is not None:
                return found

    def _take(self, most: int) -> tuple[bytes, list[int]] | None:
        """What has arrived, None where that is nothing yet."""
        if self.left:
            raise OSError(9, "bad file descriptor")
        if self.reset:
            raise ConnectionResetError(104, "connection reset by peer")
        if self.link.blackhole:
            return None
        now = trio.current_time()
        data, descriptors = bytearray(), list[int]()
        # What has arrived is one stream; descriptors come with the first byte of theirs, as over a Unix socket.
        while self.pieces and self.pieces[0].due <= now and len(data) < most and not descriptors:
            piece = self.pieces[0]
            if piece.descriptors and data:
                break
            room = most - len(data)
            data += piece.data[:room]
            piece.data = piece.data[room:]
            descriptors, piece.descriptors = piece.descriptors, []
            if not piece.data:
                self.pieces.popleft()
        if data:
            full = self.buffered >= _WINDOW
            self.buffered -= len(data)
            if full:
                self.wake()
            return bytes(data), descriptors
        return (b"", []) if self._is_over() else None

    def is_readable(self) -> bool:
        if self.link.blackhole:
            return False
        return self.reset or (bool(self.pieces) and self.pieces[0].due <= trio.current_time()) or self._is_over()

    def _is_over(self) -> bool:
        return self.ended and not self.pieces
