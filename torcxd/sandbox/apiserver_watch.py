"""The watches of the API server stand-in: what a real one sends, and the ways in which a watch goes wrong."""

from __future__ import annotations

import json
import math
import socket
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import trio

from torcxd.sandbox.apiserver_objects import KINDS, ObjectStore
from torcxd.sandbox.http_faults import endless_body, head
from torcxd.sandbox.http_server import RawBehaviour, Response, Wire

# As the real one's: about one a minute.
BOOKMARK_SECONDS: Final = 60.0
_HEADERS: Final = {"Cache-Control": "no-cache, private", "Content-Type": "application/json"}


class WatchFault(StrEnum):
    """What a watch does instead of what it should."""

    # At once.
    GONE = "410"
    EXPIRED = "in-band 410"
    ERROR = "in-band 500"
    END = "end"
    STALL = "stall"
    HALF_CLOSE = "half-close"
    NOT_JSON = "not-json"
    ENDLESS_LINE = "endless-line"
    # At the first event.
    CUT_MID_LINE = "cut-mid-line"
    # With every event; reordering takes them two by two.
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    SLOW = "slow"


class Watches:
    """All watches of one server.

    :ivar faults: what the next watches do, one each.
    :ivar bookmark_seconds: how often a watch that may have bookmarks gets one, and one before its end.
    :ivar supports_bookmarks: Kubernetes before 1.15 sends none.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.faults: deque[WatchFault] = deque()
        self.bookmark_seconds = BOOKMARK_SECONDS
        self.supports_bookmarks = True
        self.store = store
        self.ended = 0

    def end_all(self) -> None:
        """End the running watches in good order, as a server does that is about to stop."""
        self.ended += 1
        self.store.wake()

    def answer(
        self, resource: str, namespace: str, name: str | None, query: Mapping[str, str]
    ) -> Response | RawBehaviour:
        """The answer to a watch of a collection, or of one object in it.

        :param query: the request's; *timeoutSeconds*, *resourceVersion* and *allowWatchBookmarks* count.
        """
        fault = self.faults.popleft() if self.faults else None
        watch = _Watch(self, resource, namespace, name, query, fault)
        match fault:
            case WatchFault.GONE:
                return Response(410, _HEADERS, json.dumps(expired(0, self.store.compacted)).encode())
            case WatchFault.ENDLESS_LINE:
                return endless_body
            case WatchFault.CUT_MID_LINE:
                return _cut_mid_line(watch)
            case WatchFault.HALF_CLOSE:
                return _half_close
        return Response(200, _HEADERS, watch)


class _Watch:
    """One watch: an iterator over the pieces of the answer's body."""

    def __init__(
        self,
        watches: Watches,
        resource: str,
        namespace: str,
        name: str | None,
        query: Mapping[str, str],
        fault: WatchFault | None,
    ) -> None:
        self._watches = watches
        self._store = watches.store
        self._selection = resource, namespace, name
        self._fault = fault
        self._ended = watches.ended
        self._bookmarks = watches.supports_bookmarks and query.get("allowWatchBookmarks") == "true"
        now = trio.current_time()
        self._end = now + float(query.get("timeoutSeconds", "inf"))
        self._next_mark = now + watches.bookmark_seconds if self._bookmarks else math.inf
        self._pieces: deque[bytes] = deque()
        self._held: list[bytes] = []
        self._over = False
        self._begin(int(query.get("resourceVersion") or "0"))

    def __aiter__(self) -> _Watch:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._over:
                raise StopAsyncIteration
            await self._wait()
        return self._pieces.popleft()

    def _begin(self, revision: int) -> None:
        self._revision = revision
        if revision == 0:
            # Without a version, or with 0: what there is comes as if it were created just now.
            self._revision = self._store.revision
            self._send(*(_line("ADDED", each) for each in self._store.select(*self._selection)))
        elif revision < self._store.compacted:
            self._last(_line("ERROR", expired(revision, self._store.compacted)))
        match self._fault:
            case WatchFault.EXPIRED:
                self._last(_line("ERROR", expired(revision, self._store.compacted)))
            case WatchFault.ERROR:
                self._last(_line("ERROR", _STORAGE_ERROR))
            case WatchFault.NOT_JSON:
                self._last(b"upstream connect error or disconnect/reset before headers\n")
            case WatchFault.END:
                self._over = True

    async def _wait(self) -> None:
        """Until there is something to send, or the end has come."""
        if self._fault is WatchFault.STALL:
            await trio.sleep_forever()
        changed = self._store.changed
        changes = self._store.since(self._revision)
        if changes:
            self._revision = changes[-1].revision
            resource, namespace, name = self._selection
            self._send(
                *(
                    _line(each.type, each.object)
                    for each in changes
                    if (each.key.resource, each.key.namespace) == (resource, namespace)
                    and name in (None, each.key.name)
                )
            )
            return
        now = trio.current_time()
        if self._ended != self._watches.ended:
            self._over = True
        elif now >= self._end:
            if self._bookmarks:
                self._mark()
            self._over = True
        elif self._bookmarks and now >= self._next_mark:
            self._next_mark = now + self._watches.bookmark_seconds
            self._mark()
        else:
            with trio.move_on_at(min(self._end, self._next_mark)):
                await changed.wait()

    def _send(self, *lines: bytes) -> None:
        match self._fault:
            case WatchFault.DUPLICATE:
                self._pieces.extend(line for each in lines for line in (each, each))
            case WatchFault.REORDER:
                self._held += lines
                while len(self._held) > 1:
                    self._pieces.extend((self._held[1], self._held[0]))
                    del self._held[:2]
            case WatchFault.SLOW:
                self._pieces.extend(bytes([each]) for line in lines for each in line)
            case _:
                self._pieces.extend(lines)

    def _last(self, line: bytes) -> None:
        self._pieces.append(line)
        self._over = True

    def _mark(self) -> None:
        # Whoever has a bookmark never asks again for what was before it: what is held back comes first.
        self._pieces += *self._held, _line("BOOKMARK", self._bookmark())
        self._held.clear()

    def _bookmark(self) -> dict[str, Any]:
        # All changes so far have been sent, also those of other objects, so the watch can go on from the latest.
        metadata = {"resourceVersion": str(self._store.revision), "creationTimestamp": None}
        return {"kind": KINDS[self._selection[0]], "apiVersion": "v1", "metadata": metadata}


def expired(revision: int, oldest: int) -> dict[str, Any]:
    """The ``Status`` that a watch gets for a revision that is forgotten."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"too old resource version: {revision} ({oldest})",
        "reason": "Expired",
        "code": 410,
    }


_STORAGE_ERROR: Final = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "etcdserver: no leader",
    "reason": "InternalError",
    "code": 500,
}


def _line(type_: str, document: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": type_, "object": document}, separators=(",", ":")).encode() + b"\n"


def _cut_mid_line(watch: _Watch) -> RawBehaviour:
    async def behave(wire: Wire) -> None:
        await wire.send(head(200, {**_HEADERS, "Transfer-Encoding": "chunked"}))
        # One that ends without an event is cut before it.
        line = await anext(watch, b"")
        half = line[: len(line) // 2]
        await wire.send(b"%x\r\n%s\r\n" % (len(half), half))
        await wire.abort()

    return behave


async def _half_close(wire: Wire) -> None:
    """Close the server's side of the connection, and go on listening."""
    await wire.send(head(200, {**_HEADERS, "Transfer-Encoding": "chunked"}))
    bare = wire.stream.transport_stream if isinstance(wire.stream, trio.SSLStream) else wire.stream
    bare.socket.shutdown(socket.SHUT_WR)
    await wire.until_client_leaves()
