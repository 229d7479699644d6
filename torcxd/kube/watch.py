"""Lists and watches of one named object; the protocol's own failures as typed errors. See :mod:`.reflector` for use.

A watch is an endless answer: one JSON object a line, each an event. The protocol is in Kubernetes's documentation,
"Kubernetes API Concepts", "Efficient detection of changes".
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from torcxd.errors import PermanentError, TransientError
from torcxd.http import HttpError, StreamedResponse
from torcxd.kube.answers import parse_json, status_message
from torcxd.kube.client import LARGEST, KubeClient, config_map_data
from torcxd.kube.nodes import Node

T = TypeVar("T")


class Change(StrEnum):
    """What a watch tells."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class Expired(TransientError):
    """The API server no longer has the changes since the resource version that was asked for: list again (410)."""


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """One event.

    :param revision: the resource version of the object, after which the watch can go on.
    :param object: the object after the change, before it for :attr:`Change.DELETED`; None for a bookmark.
    """

    change: Change
    revision: str
    object: T | None


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """The object as it was at one moment.

    :param revision: the resource version of that moment, from which a watch misses nothing. It is the list's, not the
        object's: the latter can be so old that the server has forgotten what followed.
    :param object: None where there is no such object.
    :param object_revision: the object's own resource version; empty where there is none.
    """

    revision: str
    object: T | None
    object_revision: str


class NamedObject(Generic[T]):
    """One object, by its name, in one collection of the API.

    :param what: what it is, for people: ``"the node node-1"``.
    :param path: the path of the collection.
    :param rule: the RBAC rule that allows the list and the watch.
    :param parse: reads the object; raises ``ValueError``.
    """

    def __init__(
        self, client: KubeClient, what: str, path: str, name: str, rule: str, parse: Callable[[Mapping[str, Any]], T]
    ) -> None:
        self.what = what
        self._client = client
        self._path = path
        self._name = name
        self._rule = rule
        self._parse = parse

    async def current(self) -> Listing[T]:
        """The object as it is now.

        :raises TorcxdError: as :class:`KubeClient`; permanent too for an object of the wrong shape.
        """
        # Without a resource version the answer comes from etcd itself, not from a server's cache that may lag behind.
        document = await self._client.get(self._path, self._rule, self._selector())
        try:
            revision = _revision(document)
            items = document.get("items") or []
            if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
                raise ValueError("items: it is not a list of objects")
            if len(items) > 1:
                raise ValueError(f"items: there are {len(items)} of one name")
            if not items:
                return Listing(revision, None, "")
            return Listing(revision, self._parse(items[0]), _revision(items[0]))
        except ValueError as error:
            raise self._client.wrong_shape(self._path, str(error)) from error

    @asynccontextmanager
    async def watch(self, revision: str, seconds: float, stall: float) -> AsyncIterator[AsyncIterator[WatchEvent[T]]]:
        """The changes of the object since *revision*, while the block runs.

        The iterator ends when the server ends the watch in good order. Cancellation closes the connection.

        :param seconds: after how long the server shall end the watch; made whole, at least 1.
        :param stall: seconds without anything from the server after which the connection counts as dead.
        :raises Expired: on entering the block or while iterating.
        :raises TorcxdError: likewise: as :class:`KubeClient`, and for a stalled, cut or malformed watch.
        """
        query = {
            **self._selector(),
            "watch": "true",
            "resourceVersion": revision,
            # Old servers know no bookmarks and ignore it.
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        try:
            async with self._client.stream(self._path, self._rule, query, stall) as body:
                yield _Events(body, self._event)
        except HttpError as error:
            if error.status == 410:
                raise Expired(error.message) from error
            raise

    def _event(self, line: bytes) -> WatchEvent[T]:
        try:
            event = parse_json(line)
            if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                raise ValueError("it is no object with an object")
            document = event["object"]
            if event.get("type") == "ERROR":
                raise _error(self.what, document)
            change = Change(str(event.get("type")))
            parsed = None if change is Change.BOOKMARK else self._parse(document)
            return WatchEvent(change, _revision(document), parsed)
        except ValueError as error:
            raise self._client.wrong_shape(self._path, f"a watch event: {error}") from error

    def _selector(self) -> dict[str, str]:
        return {"fieldSelector": f"metadata.name={self._name}"}


def watched_node(client: KubeClient, name: str) -> NamedObject[Node]:
    """The node *name*."""
    rule = (
        f'a ClusterRole with apiGroups [""], resources ["nodes"], resourceNames ["{name}"] and verbs ["list", "watch"]'
    )
    return NamedObject(client, f"the node {name}", "/api/v1/nodes", name, rule, Node.parse)


def watched_config_map(client: KubeClient, namespace: str, name: str) -> NamedObject[Mapping[str, str]]:
    """The ``data`` of the ConfigMap *name* in *namespace*."""
    rule = (
        f'a Role in the namespace {namespace} with apiGroups [""], resources ["configmaps"], '
        f'resourceNames ["{name}"] and verbs ["list", "watch"]'
    )
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps"
    return NamedObject(client, f"the ConfigMap {namespace}/{name}", path, name, rule, config_map_data)


class Lines:
    """Cuts pieces that begin and end anywhere into lines; keeps no more than the longest line and one piece.

    :param longest: the longest acceptable line, in bytes.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = bytearray()

    def feed(self, piece: bytes | bytearray) -> list[bytes]:
        """The lines that *piece* completes, without their ends and without empty ones.

        :raises PermanentError: a line is too long.
        """
        # Only the new piece is searched, or a long line would be searched again with each of its pieces.
        head, *tails = piece.split(b"\n")
        found = []
        self._extend(head)
        for tail in tails:
            found.append(bytes(self._rest))
            self._rest.clear()
            self._extend(tail)
        return [each for each in found if each.strip()]

    def end(self) -> None:
        """Nothing more comes. :raises TransientError: the last line has no end: it was cut off."""
        if self._rest.strip():
            raise TransientError("a watch of the API server ended in the middle of a line")

    def _extend(self, data: bytes | bytearray) -> None:
        self._rest += data
        if len(self._rest) > self._longest:
            raise PermanentError(
                f"a watch of the API server has a line of more than {self._longest} bytes",
                hint="check that the server URL is that of an API server",
            )


class _Events(Generic[T]):
    """The events of one watch. No generator: those need closing, and this may be left behind anywhere."""

    def __init__(self, body: StreamedResponse, read: Callable[[bytes], WatchEvent[T]]) -> None:
        self._body = body
        self._read = read
        self._lines = Lines(LARGEST)
        self._waiting: deque[bytes] = deque()

    def __aiter__(self) -> _Events[T]:
        return self

    async def __anext__(self) -> WatchEvent[T]:
        while not self._waiting:
            try:
                piece = await anext(self._body)
            except StopAsyncIteration:
                self._lines.end()
                raise
            self._waiting.extend(self._lines.feed(piece))
        return self._read(self._waiting.popleft())


def _error(what: str, status: Mapping[str, Any]) -> TransientError:
    """An ERROR event. All of them end the watch, and none says that a new one must fail."""
    message = f"the watch of {what} ended with status {str(status.get('code'))[:10]}: {status_message(status)}"
    return Expired(message) if status.get("code") == 410 else TransientError(message)


def _revision(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    revision = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(revision, str) or not revision:
        raise ValueError("metadata.resourceVersion: it is missing, or is no text")
    return revision
