"""Nodes: what torcxd reads of one, and the change of its annotations that holds only under conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from torcxd.errors import TransientError
from torcxd.http import Response, redact
from torcxd.kube.answers import status_message, status_object
from torcxd.kube.client import KubeClient

# RFC 6902, section 6.
JSON_PATCH: Final = "application/json-patch+json"

_NONE: Final[Mapping[str, str | None]] = {}


class PreconditionFailed(TransientError):
    """The node is no longer what the caller took it for, and was left as it is: look at it again, then decide."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node, as far as torcxd reads it.

    :param resource_version: the API server's version of the object, opaque.
    """

    name: str
    uid: str
    resource_version: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Node:
        """The node in *document*, an object of the API or an item of a list.

        :raises ValueError: it is none; says which field is wrong.
        """
        # The items of a list have no kind.
        if document.get("kind", "Node") != "Node":
            raise ValueError("its kind is not Node")
        metadata = document.get("metadata")
        if not isinstance(metadata, dict):
            raise ValueError("metadata: it is missing, or is no object")
        return cls(
            name=_text(metadata, "name"),
            uid=_text(metadata, "uid"),
            resource_version=_text(metadata, "resourceVersion"),
            labels=_texts(metadata, "labels"),
            annotations=_texts(metadata, "annotations"),
        )


async def get_node(client: KubeClient, name: str) -> Node:
    """The node *name* as it is now.

    :raises TorcxdError: as :class:`KubeClient`; permanent, with status 404, where there is no such node.
    """
    path = _path(name)
    document = await client.get(path, _rule(name, "get"))
    return _parsed(client, path, document)


async def patch_annotations(
    client: KubeClient,
    node: Node,
    changes: Mapping[str, str | None],
    *,
    expect_labels: Mapping[str, str | None] = _NONE,
    expect_annotations: Mapping[str, str | None] = _NONE,
) -> Node:
    """Change annotations of *node* while it has what is expected of it; all of it happens, or nothing.

    It is one JSON Patch (RFC 6902) whose ``test`` operations the API server checks with the write, so that no other
    writer can come in between. In any case it must still be the same node, not one created anew under its name.

    :param node: the node as last seen.
    :param changes: annotations and their new values; None removes. What is None and not there is left alone.
    :param expect_labels, expect_annotations: values that must be there; None: it must not be there.
    :returns: the node as it is then; *node* itself where there is nothing to change.
    :raises PreconditionFailed: transient: an expectation does not hold, or somebody else changed what it rests on.
    :raises TorcxdError: as :class:`KubeClient`. Whether the change took place is unknown after a transient one, and
        after a cancellation.
    """
    operations = patch_operations(node, changes, expect_labels, expect_annotations)
    if not operations:
        return node
    path = _path(node.name)
    response = await client.send("PATCH", path, operations, JSON_PATCH)
    if _is_precondition(response):
        raise PreconditionFailed(
            f"{redact(response.url)}: the node has changed meanwhile, so its annotations were left as they are "
            f"(status {response.status})"
        )
    return _parsed(client, path, client.read(response, _rule(node.name, "patch")))


def patch_operations(
    node: Node,
    changes: Mapping[str, str | None],
    expect_labels: Mapping[str, str | None],
    expect_annotations: Mapping[str, str | None],
) -> list[dict[str, Any]]:
    """The JSON Patch for :func:`patch_annotations`; empty where nothing is to be changed."""
    edits: list[dict[str, Any]] = []
    for name, value in changes.items():
        pointer = f"/metadata/annotations/{_escape(name)}"
        if value is not None:
            edits.append({"op": "add", "path": pointer, "value": value})
        elif name in node.annotations:
            edits.append({"op": "remove", "path": pointer})
    if not edits:
        return []
    tests = [_test("/metadata/uid", node.uid)]
    expected = [("labels", expect_labels), ("annotations", expect_annotations)]
    absence = any(value is None for _, wanted in expected for value in wanted.values())
    # Without any annotation the map itself is missing and has to be made, which would wipe one made meanwhile.
    makes_map = not node.annotations
    if absence or makes_map:
        # That something is missing cannot be tested for by its path: API servers differ in what they make of it.
        tests.append(_test("/metadata/resourceVersion", node.resource_version))
    for field, wanted in expected:
        held = node.labels if field == "labels" else node.annotations
        for name, value in wanted.items():
            # What must be absent and is not can only fail: no value is None.
            if value is not None or name in held:
                tests.append(_test(f"/metadata/{field}/{_escape(name)}", value))
    if makes_map:
        edits.insert(0, {"op": "add", "path": "/metadata/annotations", "value": {}})
    return [*tests, *edits]


def _test(path: str, value: str | None) -> dict[str, Any]:
    return {"op": "test", "path": path, "value": value}


def _escape(name: str) -> str:
    """*name* as a part of a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def _is_precondition(response: Response) -> bool:
    """Whether the API server refused because of a condition, which it says in three ways.

    409 is a conflict with another writer. A failed ``test`` is 422 without a cause, where an invalid value has causes;
    early API servers make it a 500 with the words of their JSON Patch library.
    """
    if response.status == 409:
        return True
    status = status_object(response.body)
    if status is None:
        return False
    if response.status == 422:
        details = status.get("details")
        return not (isinstance(details, dict) and details.get("causes"))
    return response.status == 500 and status_message(status).lower().startswith(("testing value", "jsonpatch "))


def _parsed(client: KubeClient, path: str, document: Mapping[str, Any]) -> Node:
    try:
        return Node.parse(document)
    except ValueError as error:
        raise client.wrong_shape(path, str(error)) from error


def _path(name: str) -> str:
    return f"/api/v1/nodes/{quote(name, safe='')}"


def _rule(name: str, verb: str) -> str:
    return (
        f'a ClusterRole with apiGroups [""], resources ["nodes"], resourceNames ["{name}"] and verbs ["{verb}"], '
        "or the node's own credentials"
    )


def _text(metadata: Mapping[str, Any], field: str) -> str:
    value = metadata.get(field)
    if not isinstance(value, str) or not value:
        raise ValueError(f"metadata.{field}: it is missing, or is no text")
    return value


def _texts(metadata: Mapping[str, Any], field: str) -> Mapping[str, str]:
    value = metadata.get(field) or {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError(f"metadata.{field}: it is not a mapping of texts")
    return value
