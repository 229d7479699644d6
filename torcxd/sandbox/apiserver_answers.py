"""What the API server stand-in says: objects, and ``Status`` objects in the words of the real one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from torcxd.sandbox.http_server import Request, Response

# The identity of a kubelet, by which the node authorizer knows it.
USER: Final = "system:node:node-1"
# Nodes live in no namespace; everything else here does. Without a name it is the whole collection.
PATH: Final = re.compile(
    r"/api/v1/(?:(?P<cluster>nodes)|namespaces/(?P<namespace>[^/]+)/(?P<resource>configmaps|events))(?:/(?P<name>[^/]+))?"
)
VERBS: Final = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


def json_answer(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """*value* as an answer."""
    common = {"Cache-Control": "no-cache, private", "Content-Type": "application/json", **(headers or {})}
    return Response(status, common, json.dumps(value, indent=2).encode())


def status_answer(code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> Response:
    """A ``Status`` object; *details* None leaves them out, as for 401."""
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        **({} if details is None else {"details": details}),
        "code": code,
    }
    return json_answer(code, status, {"X-Content-Type-Options": "nosniff"} if code == 403 else None)


def forbidden(request: Request) -> Response:
    """The refusal of *request* to :data:`USER`."""
    match = PATH.fullmatch(request.path)
    verb = VERBS.get(request.method, "get")
    if match is None:
        return status_answer(403, "Forbidden", f'forbidden: User "{USER}" cannot {verb} path "{request.path}"', {})
    resource, name, namespace = match["cluster"] or match["resource"], match["name"], match["namespace"]
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    if name is None and verb == "get":
        verb = "watch" if request.query.get("watch") in {"1", "true"} else "list"
    subject = f'{resource} "{name}"' if name else resource
    message = f'{subject} is forbidden: User "{USER}" cannot {verb} resource "{resource}" in API group "" {scope}'
    return status_answer(403, "Forbidden", message, {**({"name": name} if name else {}), "kind": resource})
