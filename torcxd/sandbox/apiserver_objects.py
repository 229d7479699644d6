"""What the API server stand-in keeps: objects, the revision of the whole, and the changes that a watch can ask for."""

from __future__ import annotations

import copy
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import trio

# How many changes are kept for watches; etcd keeps those of the last five minutes. A test makes fewer, and a demo or a
# soak may run for long.
_KEPT_CHANGES: Final = 1000
# All that is made here is of the same moment, so that each run looks the same.
_MOMENT: Final = "2017-12-06T00:00:00Z"
# The kinds that are served, with the API's names for their collections.
KINDS: Final = {"nodes": "Node", "configmaps": "ConfigMap", "events": "Event"}
# What the writer of a ConfigMap or an event owns of it, apart from its metadata.
_OWNABLE: Final = frozenset(
    {"data", "count", "firstTimestamp", "involvedObject", "lastTimestamp", "message", "reason", "source", "type"}
)
_MAPS: Final = ("annotations", "labels")


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Where an object is: ``("configmaps", "tectonic-system", "tectonic-torcx-runtime-mappings")``.

    The namespace of a node is empty.
    """

    resource: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """One change: ``ADDED``, ``MODIFIED`` or ``DELETED``, and the object with the revision of the change."""

    type: str
    revision: int
    key: ObjectKey
    object: dict[str, Any]


class ObjectStore:
    """The objects of a cluster, complete with metadata.

    :ivar objects: all of them, in order of creation. Not to be changed from outside.
    :ivar changes: the latest ones, oldest first.
    :ivar revision: of the latest change.
    :ivar compacted: changes up to this revision are forgotten.
    :ivar listeners: called with each change at the moment at which it is made.
    """

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, dict[str, Any]] = {}
        self.changes: deque[Change] = deque()
        self.revision = 0
        self.compacted = 0
        self.listeners: list[Callable[[Change], None]] = []
        self._changed = trio.Event()

    @property
    def changed(self) -> trio.Event:
        """Is set at the next change, or by :meth:`wake`. Take it before looking at what is, and wait for it after."""
        return self._changed

    def wake(self) -> None:
        """Make everybody who waits for a change look again."""
        self._changed.set()
        self._changed = trio.Event()

    def put(self, key: ObjectKey, document: Mapping[str, Any], manager: str = "kubectl-create") -> dict[str, Any]:
        """Create or replace an object; without a difference nothing happens.

        :param document: with ``metadata`` as its creator gives it.
        :param manager: who does it, for ``managedFields``.
        :returns: the object as it is then.
        """
        old = self.objects.get(key)
        metadata = dict(document.get("metadata", {}))
        content = {name: each for name, each in document.items() if name not in {"kind", "apiVersion", "metadata"}}
        for name in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
            metadata.pop(name, None)
        if old is not None and _without_own(old) == _cleaned(KINDS[key.resource], key, metadata, content):
            return old
        self.revision += 1
        new = _cleaned(KINDS[key.resource], key, metadata, content)
        identity = {
            # A real one is random; this one is the same in each run, yet another for an object that is made anew.
            "uid": old["metadata"]["uid"] if old else str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key}/{self.revision}")),
            "resourceVersion": str(self.revision),
            "creationTimestamp": _MOMENT,
        }
        given = new["metadata"]
        names = {name: given.pop(name) for name in ("name", "generateName", "namespace") if name in given}
        managed = _managed(manager, _owned(key.resource, document, given))
        new["metadata"] = {**names, **identity, **given, "managedFields": [managed]}
        self.objects[key] = new
        self._record(Change("MODIFIED" if old else "ADDED", self.revision, key, new))
        return new

    def delete(self, key: ObjectKey) -> dict[str, Any]:
        """Remove an object. :raises KeyError: there is none."""
        gone = copy.deepcopy(self.objects.pop(key))
        self.revision += 1
        gone["metadata"]["resourceVersion"] = str(self.revision)
        self._record(Change("DELETED", self.revision, key, gone))
        return gone

    def compact(self) -> None:
        """Forget all changes so far, as etcd does every five minutes: a watch from before them gets 410."""
        self.changes.clear()
        self.compacted = self.revision
        self.wake()

    def since(self, revision: int) -> list[Change]:
        """The changes after *revision*."""
        return [each for each in self.changes if each.revision > revision]

    def select(self, resource: str, namespace: str, name: str | None) -> list[dict[str, Any]]:
        """The objects of a collection; *namespace* is empty for nodes, *name* None for all."""
        return [
            each
            for key, each in self.objects.items()
            if (key.resource, key.namespace) == (resource, namespace) and name in (None, key.name)
        ]

    def _record(self, change: Change) -> None:
        self.changes.append(change)
        if len(self.changes) > _KEPT_CHANGES:
            self.compacted = self.changes.popleft().revision
        for each in self.listeners:
            each(change)
        self.wake()


def _cleaned(kind: str, key: ObjectKey, metadata: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """The object as its creator gave it, in the order of the API, without what is empty."""
    own = {"name": key.name}
    for name in ("generateName", "labels", "annotations"):
        if metadata.get(name):
            own[name] = metadata[name]
    if key.namespace:
        own["namespace"] = key.namespace
    return {"kind": kind, "apiVersion": "v1", "metadata": own, **copy.deepcopy(dict(content))}


def _without_own(document: Mapping[str, Any]) -> dict[str, Any]:
    """The object without what the server adds to it."""
    added = {"uid", "resourceVersion", "creationTimestamp", "managedFields"}
    metadata = {name: each for name, each in document["metadata"].items() if name not in added}
    return {**document, "metadata": metadata}


def _owned(resource: str, document: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Which fields the writer owns, in the words of ``managedFields``. There is one writer here: the latest."""
    # A node's spec and status are not what its creator gave.
    given = {} if resource == "nodes" else {name: each for name, each in document.items() if name in _OWNABLE}
    owned = {f"f:{name}": _fields(each, is_map=name == "data") for name, each in given.items()}
    if resource == "events":
        owned["f:metadata"] = {"f:generateName": {}}
    elif maps := {f"f:{name}": _fields(metadata[name], is_map=True) for name in _MAPS if name in metadata}:
        owned["f:metadata"] = maps
    return owned


def _fields(value: Any, *, is_map: bool) -> dict[str, Any]:
    members: dict[str, Any] = {f"f:{each}": {} for each in sorted(value)} if isinstance(value, dict) else {}
    # A map is owned besides its members, a struct is not.
    return {".": {}, **members} if is_map else members


def _managed(manager: str, owned: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": _MOMENT,
        "fieldsType": "FieldsV1",
        "fieldsV1": dict(owned),
    }
