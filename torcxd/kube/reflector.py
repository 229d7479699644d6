"""The latest state of one object of the API, for as long as anybody wants to know.

``async with follow(…) as objects`` lists, watches, and begins anew whenever the watch ends otherwise than it should:
whatever goes wrong, and for however long, it tells its health and tries again. What it rests on:

- Only the latest state counts, so after any failure the object is listed again, which also finds a deletion that no
  watch told of. A list of one object is as cheap as a get, and unlike that it says from where to watch.
- Resource versions of one object can be compared where they are decimal numbers, as etcd's are: what is not newer than
  what was seen last came twice or late, and is dropped. Otherwise they are opaque, and only exact repeats are dropped.
  A list is believed whatever its version is: after a restored backup the versions start from an earlier one.
- A server that ends a watch early, in good order or not, is not asked again at once, so that no answer whatever makes
  a busy loop.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

import trio

from torcxd.errors import TorcxdError, TransientError
from torcxd.kube.watch import Change, Expired, Listing, WatchEvent
from torcxd.lifecycle import retry

T = TypeVar("T")


class SourceHealth(Protocol):
    """Is told how a source is.

    Called with True at each sign of life, and with False at each failure: cheap, and without a checkpoint.

    :param detail: one sentence for people.
    """

    def __call__(self, ok: bool, detail: str) -> None: ...


class Source(Protocol[T]):
    """What can be followed; see :class:`torcxd.kube.watch.NamedObject`."""

    @property
    def what(self) -> str: ...
    async def current(self) -> Listing[T]: ...
    def watch(
        self, revision: str, seconds: float, stall: float
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[T]]]: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait for what, in seconds.

    :param watch: how long one watch lasts. Each end proves that the server is still there, also one that sends no
        bookmarks; five minutes cost twelve requests an hour.
    :param watch_jitter: the share of *watch* by which it is shortened at random, so that the watches of many nodes do
        not end together after a server's restart.
    :param silence: after how long without a sign of life a connection counts as dead, where the last watch had
        bookmarks. They come every minute: two may get lost.
    :param grace: the same where it had none: so much longer than the watch.
    :param steady: a watch that lasted this long did its job: when it ends in good order the next one begins at once.
    """

    watch: float = 300
    watch_jitter: float = 0.2
    silence: float = 150
    grace: float = 30
    steady: float = 10


DEFAULT_PACE: Final = Pace()

# etcd's revisions are 64 bits wide.
_DECIMAL: Final = re.compile(r"[0-9]{1,20}")


@asynccontextmanager
async def follow(
    source: Source[T],
    on_health: SourceHealth,
    *,
    random: Callable[[], float],
    pace: Pace = DEFAULT_PACE,
    pause: Callable[[float], Awaitable[None]] = trio.sleep,
) -> AsyncIterator[AsyncIterator[T | None]]:
    """The states of *source*'s object, while the block runs: the present one first, then each that differs from it.

    None stands for no such object. The iterator never ends and raises no :class:`TorcxdError`. Nothing is queued here:
    while the caller is busy with one state the server waits, or ends the watch. Cancellation closes the connection, and
    ends the iterator: to wait for the next state only so long, leave that to a task of its own.

    :param random: random numbers in [0, 1).
    :param pause: waits for so many seconds.
    """
    async with aclosing(_Reflector(source, on_health, random, pace, pause).states()) as states:
        yield states


@dataclass(slots=True)
class _Reflector(Generic[T]):
    """One :func:`follow`: what it remembers from one watch to the next."""

    source: Source[T]
    on_health: SourceHealth
    random: Callable[[], float]
    pace: Pace
    pause: Callable[[float], Awaitable[None]]
    # From where to watch, and of what version the object is that was handed out last: empty for none, None at first.
    revision: str = field(default="", init=False)
    handed_out: str | None = field(default=None, init=False)
    bookmarks: bool = field(default=False, init=False)
    attempt: int = field(default=0, init=False)

    async def states(self) -> AsyncGenerator[T | None, None]:
        while True:
            begun, wait = math.inf, 0.0
            try:
                listing = await self.source.current()
                self.revision = listing.revision
                self._well()
                if self.handed_out != listing.object_revision:
                    self.handed_out = listing.object_revision
                    yield listing.object
                while True:
                    begun = trio.current_time()
                    async with self._watch() as events:
                        self._well()
                        async for event in events:
                            self._well()
                            if self._is_news(event):
                                yield event.object if self.handed_out else None
                    if not self._was_steady(begun):
                        raise TransientError("the API server ended the watch as soon as it had begun")
                    self.attempt = 0
            except TorcxdError as error:
                self.on_health(False, f"{self.source.what}: {error}")
                wait = error.retry_after or 0.0
            self.attempt = 1 if self._was_steady(begun) else self.attempt + 1
            # Even where every watch fails the object is listed, every two minutes in the end.
            await self.pause(max(retry.delay(self.attempt, self.random()), min(wait, retry.LONGEST_DELAY)))

    def _was_steady(self, begun: float) -> bool:
        return trio.current_time() - begun >= self.pace.steady

    def _watch(self) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[T]]]:
        seconds = self.pace.watch * (1 - self.pace.watch_jitter * self.random())
        stall = self.pace.silence if self.bookmarks else seconds + self.pace.grace
        # Of each watch anew: the next one may be served by an older server.
        self.bookmarks = False
        return self.source.watch(self.revision, seconds, stall)

    def _is_news(self, event: WatchEvent[T]) -> bool:
        """Take note of *event*: whether the object is another one now.

        :raises Expired: the server counts from an earlier version than it did.
        """
        if event.change is Change.BOOKMARK:
            self.bookmarks = True
            if _is_older(event.revision, self.revision):
                raise Expired(f"the API server is at the resource version {event.revision}, and was at {self.revision}")
            self.revision = event.revision
            return False
        if event.revision == self.revision or _is_older(event.revision, self.revision):
            return False
        self.revision = event.revision
        # A change has come through, so whatever went wrong before is over.
        self.attempt = 0
        state = "" if event.change is Change.DELETED else event.revision
        changed = state != self.handed_out
        self.handed_out = state
        return changed

    def _well(self) -> None:
        self.on_health(True, f"{self.source.what}: watched")


def _is_older(revision: str, than: str) -> bool:
    """Whether it is certain that *revision* is older."""
    comparable = all(_DECIMAL.fullmatch(each) for each in (revision, than))
    return comparable and int(revision) < int(than)
