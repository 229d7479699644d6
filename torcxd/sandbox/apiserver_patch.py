"""The two kinds of patch that the API server stand-in takes: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386)."""

from __future__ import annotations

import copy
from typing import Any, Final

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"


class PatchRefused(Exception):
    """A test failed, or an operation does not fit the document."""


def apply_json_patch(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """*document* after ``add``, ``replace``, ``remove`` and ``test`` operations on the members of objects.

    :raises PatchRefused: nothing is applied.
    """
    document = copy.deepcopy(document)
    for operation in operations:
        *parents, name = (each.replace("~1", "/").replace("~0", "~") for each in operation["path"].split("/")[1:])
        target: Any = document
        for parent in parents:
            target = target.get(parent) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise PatchRefused(f"missing path: {operation['path']}")
        match operation["op"]:
            case "test":
                # As in the real one's library, what is not there equals null.
                if target.get(name) != operation["value"]:
                    raise PatchRefused(f"testing path {operation['path']} failed")
            case "add":
                target[name] = operation["value"]
            case "replace" | "remove" if name not in target:
                raise PatchRefused(f"missing path: {operation['path']}")
            case "replace":
                target[name] = operation["value"]
            case "remove":
                del target[name]
            case other:
                raise PatchRefused(f"unexpected kind: {other}")
    return document


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """*document* after *patch*: what is null is removed, objects are merged, everything else is replaced."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = apply_merge_patch(merged.get(name), value)
    return merged
