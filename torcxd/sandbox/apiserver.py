"""A stand-in for the Kubernetes API server: the objects of a cluster, read over HTTPS by those who may.

Its answers have the shape of a real kube-apiserver's, which the tests compare with recorded ones. It differs in this:
anonymous requests are refused everywhere, and where client certificates are asked for, a client without one fails in
the TLS handshake instead of with status 401.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import yaml

from torcxd.sandbox.http_faults import Ending, cut_short, endless_body, send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Server, serve
from torcxd.sandbox.tls import Authority

DEFAULT_VERSION: Final = "v1.8.4+coreos.0"
# The identity of a kubelet, by which the node authorizer knows it.
USER: Final = "system:node:node-1"

_OBJECT: Final = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/(?P<resource>[^/]+)/(?P<name>[^/]+)")
_HTML: Final = b"<html><head><title>502</title></head><body>no healthy upstream</body></html>\n"


class Fault(StrEnum):
    """What a request gets instead of its answer."""

    HANG = "hang"
    RESET = "reset"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    TOO_MANY = "429"
    INTERNAL = "500"
    UNAVAILABLE = "503"
    HTML = "html"
    HTML_ERROR = "html-502"
    HALF_JSON = "half-json"
    CUT_SHORT = "cut-short"
    WRONG_SHAPE = "wrong-shape"
    ENDLESS = "endless"


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Where an object is: ``("configmaps", "tectonic-system", "tectonic-torcx-runtime-mappings")``."""

    resource: str
    namespace: str
    name: str


class ApiServer:
    """The cluster. Everything can be changed while it serves.

    :param version: what ``/version`` says.
    :param token: the bearer token that is accepted; None where a client certificate is what counts.
    :ivar objects: all objects, complete with metadata.
    :ivar fault: what every request gets, None for its answer.
    :ivar faults: what the next requests get, one each, before :attr:`fault` counts.
    """

    def __init__(self, *, version: str = DEFAULT_VERSION, token: str | None = None) -> None:
        self.version = version
        self.token = token
        self.objects: dict[ObjectKey, dict[str, Any]] = {}
        self.fault: Fault | None = None
        self.faults: deque[Fault] = deque()
        self._authority = Authority()
        self._client = self._authority.client_certificate(USER)
        self._revision = 0

    def put_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Create or replace a ConfigMap."""
        self._revision += 1
        key = ObjectKey("configmaps", namespace, name)
        owned: dict[str, Any] = {f"f:{each}": {} for each in data}
        self.objects[key] = {
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "namespace": namespace,
                # A real one is random; this one is the same in each run.
                "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{namespace}/{name}")),
                "resourceVersion": str(self._revision),
                "creationTimestamp": "2017-12-06T00:00:00Z",
                "managedFields": [
                    {
                        "manager": "kubectl-create",
                        "operation": "Update",
                        "apiVersion": "v1",
                        "time": "2017-12-06T00:00:00Z",
                        "fieldsType": "FieldsV1",
                        "fieldsV1": {"f:data": {".": {}, **owned}},
                    }
                ],
            },
            "data": dict(data),
        }

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[Server]:
        """Serve on 127.0.0.1 while the block runs.

        :param port: 0 for any free one; a fixed one lets it come back where it was.
        """
        context = self._authority.server_context()
        if self.token is None:
            self._authority.require_clients(context)
        async with serve(self._handle, ssl_context=context, port=port) as server:
            yield server

    def kubeconfig(self, server_url: str) -> str:
        """A kubeconfig that is accepted here, as the installer writes it: everything inline."""
        user: dict[str, str] = (
            {"token": self.token}
            if self.token is not None
            else {
                "client-certificate-data": base64.b64encode(self._client[0]).decode(),
                "client-key-data": base64.b64encode(self._client[1]).decode(),
            }
        )
        authority = base64.b64encode(self._authority.pem).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": {"server": server_url, "certificate-authority-data": authority}}],
            "users": [{"name": "kubelet", "user": user}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": "kubelet"}}],
            "current-context": "local",
        }
        return yaml.safe_dump(document, sort_keys=False)

    @property
    def authority(self) -> Authority:
        """Who signs the server's and the client's certificates."""
        return self._authority

    @property
    def client_certificate(self) -> tuple[bytes, bytes]:
        """The accepted client certificate and its key, both PEM."""
        return self._client

    async def _handle(self, request: Request) -> Response | RawBehaviour:
        fault = self.faults.popleft() if self.faults else self.fault
        answer = self._answer(request)
        return _faulty(fault, request, answer) if fault else answer

    def _answer(self, request: Request) -> Response:
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        if request.method != "GET":
            return _status(
                405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
            )
        if request.path == "/version":
            return _json(200, _version(self.version))
        match = _OBJECT.fullmatch(request.path)
        if match is None:
            return _status(404, "NotFound", "the server could not find the requested resource", {})
        key = ObjectKey(match["resource"], match["namespace"], match["name"])
        if key not in self.objects:
            details = {"name": key.name, "kind": key.resource}
            return _status(404, "NotFound", f'{key.resource} "{key.name}" not found', details)
        return _json(200, self.objects[key])


def _version(version: str) -> dict[str, str]:
    major, _, rest = version.removeprefix("v").partition(".")
    return {
        "major": major,
        "minor": rest.partition(".")[0],
        "gitVersion": version,
        "gitCommit": "faecb196815e248d3ecfb03c680a4507229c2a56",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.8.3",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def _json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    common = {"Cache-Control": "no-cache, private", "Content-Type": "application/json", **(headers or {})}
    return Response(status, common, json.dumps(value, indent=2).encode())


def _status(code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> Response:
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
    return _json(code, status, {"X-Content-Type-Options": "nosniff"} if code == 403 else None)


def _forbidden(request: Request) -> Response:
    match = _OBJECT.fullmatch(request.path)
    if match is None:
        return _status(403, "Forbidden", f'forbidden: User "{USER}" cannot get path "{request.path}"', {})
    resource, name, namespace = match["resource"], match["name"], match["namespace"]
    message = (
        f'{resource} "{name}" is forbidden: User "{USER}" cannot get resource "{resource}" in API group "" '
        f'in the namespace "{namespace}"'
    )
    return _status(403, "Forbidden", message, {"name": name, "kind": resource})


def _faulty(fault: Fault, request: Request, answer: Response) -> Response | RawBehaviour:
    """What *request* gets instead of *answer*."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    half = body[: len(body) // 2]
    answers: dict[Fault, Response | RawBehaviour] = {
        Fault.HANG: send_then(b"", Ending.STALL),
        Fault.RESET: send_then(b"", Ending.RESET),
        Fault.UNAUTHORIZED: _status(401, "Unauthorized", "Unauthorized"),
        Fault.FORBIDDEN: _forbidden(request),
        Fault.NOT_FOUND: _status(404, "NotFound", "the server could not find the requested resource", {}),
        # Written by a filter before the API machinery, hence no Status.
        Fault.TOO_MANY: Response(
            429, {"Content-Type": "text/plain", "Retry-After": "1"}, b"Too many requests, please try again later.\n"
        ),
        Fault.INTERNAL: _status(500, "InternalError", "Internal error occurred: etcdserver: request timed out", {}),
        Fault.UNAVAILABLE: _status(
            503, "ServiceUnavailable", "the server is currently unable to handle the request", {}
        ),
        Fault.HTML: Response(200, {"Content-Type": "text/html"}, _HTML),
        Fault.HTML_ERROR: Response(502, {"Content-Type": "text/html"}, _HTML),
        Fault.HALF_JSON: Response(200, answer.headers, half),
        Fault.CUT_SHORT: cut_short(half, len(body) - len(half), headers=answer.headers),
        Fault.WRONG_SHAPE: _json(200, {"kind": "Pod", "gitVersion": 1.8}),
        Fault.ENDLESS: endless_body,
    }
    return answers[fault]
