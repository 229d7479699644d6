"""A stand-in for the Kubernetes API server: the objects of a cluster, read over HTTPS by those who may.

Its answers have the shape of a real kube-apiserver's, which the tests compare with recorded ones. It differs in this:
anonymous requests are refused everywhere, and where client certificates are asked for, a client without one fails in
the TLS handshake instead of with status 401.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import yaml

from torcxd.sandbox import apiserver_patch
from torcxd.sandbox.apiserver_answers import PATH, USER, VERBS, forbidden, json_answer, status_answer
from torcxd.sandbox.apiserver_faults import LOST_ANSWERS, Fault, faulty
from torcxd.sandbox.apiserver_objects import KINDS, ObjectKey, ObjectStore
from torcxd.sandbox.apiserver_patch import PatchRefused, apply_json_patch, apply_merge_patch
from torcxd.sandbox.apiserver_watch import Watches
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Server, serve
from torcxd.sandbox.tls import Authority

__all__ = ["USER", "ApiServer", "Fault", "ObjectKey"]

DEFAULT_VERSION: Final = "v1.8.4+coreos.0"

_NAME_RULE: Final = "name part must be no more than 63 characters"
_SELECTED: Final = "metadata.name="
# A kubelet's node before its first heartbeat, as the API server fills it in.
_NODE_SPEC: Final = {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}
_NODE_STATUS: Final = {
    "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    "nodeInfo": dict.fromkeys(
        (
            *("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion"),
            *("kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture"),
        ),
        "",
    ),
}


class ApiServer:
    """The cluster. Everything can be changed while it serves.

    :param version: what ``/version`` says.
    :param token: the bearer token that is accepted; None where a client certificate is what counts.
    :ivar store: all objects, complete with metadata, and their changes.
    :ivar watches: the running watches, and how the next ones go wrong.
    :ivar early: whether it answers a failed JSON Patch as Kubernetes 1.6 does, by an internal error.
    :ivar forbidden: verbs and resources that nobody may use: ``("create", "events")``.
    :ivar fault: what every request gets, None for its answer.
    :ivar faults: what the next requests get, one each, before :attr:`fault` counts; None for the answer.
    """

    def __init__(self, *, version: str = DEFAULT_VERSION, token: str | None = None) -> None:
        self.version = version
        self.token = token
        self.store = ObjectStore()
        self.watches = Watches(self.store)
        self.early = False
        self.forbidden: set[tuple[str, str]] = set()
        self.fault: Fault | None = None
        self.faults: deque[Fault | None] = deque()
        self._authority = Authority()
        self._client = self._authority.client_certificate(USER)

    def put_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Create or replace a ConfigMap."""
        self.store.put(ObjectKey("configmaps", namespace, name), {"data": dict(data)})

    def put_node(
        self, name: str, *, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
    ) -> None:
        """Create a node, or replace its labels and annotations."""
        metadata = {"labels": dict(labels or {}), "annotations": dict(annotations or {})}
        self.store.put(_node_key(name), {"metadata": metadata, "spec": _NODE_SPEC, "status": _NODE_STATUS})

    def patch_node(
        self,
        name: str,
        *,
        labels: Mapping[str, str | None] | None = None,
        annotations: Mapping[str, str | None] | None = None,
    ) -> None:
        """Change some of a node's labels and annotations, None removes; without a difference nothing happens."""
        patch = {"metadata": {"labels": labels or {}, "annotations": annotations or {}}}
        key = _node_key(name)
        self.store.put(key, apply_merge_patch(self.store.objects[key], patch), "update-operator")

    def node(self, name: str) -> dict[str, Any]:
        """A node as it is now. :raises KeyError: there is none."""
        return self.store.objects[_node_key(name)]

    def events(self) -> list[dict[str, Any]]:
        """The events, in order of creation."""
        return self.store.select("events", "default", None)

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
        if fault is None:
            return self.answer(request)
        lost = self.answer(request) if request.method == "GET" or fault in LOST_ANSWERS else Response()
        return faulty(fault, request, lost)

    def answer(self, request: Request) -> Response | RawBehaviour:
        """Carry *request* out now, whatever goes wrong with others: also one that arrived long ago."""
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return status_answer(401, "Unauthorized", "Unauthorized")
        if request.path == "/version" and request.method == "GET":
            return json_answer(200, _version(self.version))
        match = PATH.fullmatch(request.path)
        if match is None:
            return status_answer(404, "NotFound", "the server could not find the requested resource", {})
        resource, namespace, name = match["cluster"] or match["resource"], match["namespace"] or "", match["name"]
        if (VERBS.get(request.method, ""), resource) in self.forbidden:
            return forbidden(request)
        match request.method, name:
            case "GET", None:
                return self._collection(resource, namespace, request.query)
            case "POST", None:
                return self._create(resource, namespace, request)
            case "GET" | "PATCH" | "DELETE", str():
                return self._object(ObjectKey(resource, namespace, name), request)
        return status_answer(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
        )

    def _collection(self, resource: str, namespace: str, query: Mapping[str, str]) -> Response | RawBehaviour:
        selector = query.get("fieldSelector", "")
        if selector and not selector.startswith(_SELECTED):
            return status_answer(400, "BadRequest", f'field label not supported: "{selector}"')
        name = selector.removeprefix(_SELECTED) or None
        if query.get("watch") in {"1", "true"}:
            return self.watches.answer(resource, namespace, name, query)
        # Items have no kind of their own.
        items = [
            {field: each for field, each in found.items() if field not in {"kind", "apiVersion"}}
            for found in self.store.select(resource, namespace, name)
        ]
        metadata = {"resourceVersion": str(self.store.revision)}
        return json_answer(
            200, {"kind": f"{KINDS[resource]}List", "apiVersion": "v1", "metadata": metadata, "items": items}
        )

    def _create(self, resource: str, namespace: str, request: Request) -> Response:
        document = json.loads(request.body)
        metadata = document["metadata"]
        # A real one adds five random letters; these say which in order it was.
        name = metadata.get("name") or f"{metadata['generateName']}{self.store.revision:05}"
        key = ObjectKey(resource, namespace, name)
        if key in self.store.objects:
            details = {"name": name, "kind": resource}
            return status_answer(409, "AlreadyExists", f'{resource} "{name}" already exists', details)
        if resource == "nodes":
            document = {**document, "spec": _NODE_SPEC, "status": _NODE_STATUS}
        elif resource == "events":
            document = {**document, "eventTime": None, "reportingComponent": "", "reportingInstance": ""}
        return json_answer(201, self.store.put(key, document, _manager(request)))

    def _object(self, key: ObjectKey, request: Request) -> Response:
        details = {"name": key.name, "kind": key.resource}
        if key not in self.store.objects:
            return status_answer(404, "NotFound", f'{key.resource} "{key.name}" not found', details)
        if request.method == "GET":
            return json_answer(200, self.store.objects[key])
        if request.method == "DELETE":
            self.store.delete(key)
            success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
            return json_answer(200, success)
        old = self.store.objects[key]
        patch = json.loads(request.body)
        match request.headers.get("content-type"):
            case apiserver_patch.JSON_PATCH:
                try:
                    new = apply_json_patch(old, patch)
                except PatchRefused as error:
                    if self.early:
                        return status_answer(500, "InternalError", f"Testing value {error} failed", {})
                    message = "the server rejected our request due to an error in our request"
                    return status_answer(422, "Invalid", message, {})
            case apiserver_patch.MERGE_PATCH:
                new = apply_merge_patch(old, patch)
            case other:
                return status_answer(
                    415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {other}"
                )
        if new["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
            message = (
                f'Operation cannot be fulfilled on {key.resource} "{key.name}": the object has been modified; '
                "please apply your changes to the latest version and try again"
            )
            return status_answer(409, "Conflict", message, details)
        if too_long := next((each for each in new["metadata"].get("annotations", {}) if not _is_name(each)), None):
            message = f'Node "{key.name}" is invalid: metadata.annotations: Invalid value: "{too_long}": {_NAME_RULE}'
            cause = {"reason": "FieldValueInvalid", "message": _NAME_RULE, "field": "metadata.annotations"}
            return status_answer(422, "Invalid", message, {**details, "kind": "Node", "causes": [cause]})
        return json_answer(200, self.store.put(key, new, _manager(request)))


def _is_name(annotation: str) -> bool:
    """Whether the part after the prefix is of acceptable length; nothing else is checked."""
    return 0 < len(annotation.rpartition("/")[2]) <= 63


def _node_key(name: str) -> ObjectKey:
    return ObjectKey("nodes", "", name)


def _manager(request: Request) -> str:
    """Who writes, for ``managedFields``: as the real one does, from the User-Agent."""
    return request.headers.get("user-agent", "unknown").partition("/")[0]


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
