"""Requests to the Kubernetes API on the project's own HTTP client; the answers are judged in :mod:`.answers`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode

import trio

from torcxd.errors import PermanentError
from torcxd.http import HttpClient, Proxies, Response, StreamedResponse, Timeouts, redact
from torcxd.kube.access import ClusterAccess
from torcxd.kube.answers import check_status, read_object, wrong_shape
from torcxd.kube.loaded import LoadedAccess
from torcxd.lifecycle.versions import KubeVersion

# What an API server takes as the body of a request is at most 3 MiB, but what it says of an object can be more: it adds
# who owns which field, and a string of control characters grows sixfold in JSON.
LARGEST: Final = 16 * 1024 * 1024
# A Status object is a sentence or two and some causes; the rest of a longer answer says nothing that would be shown.
_LARGEST_STATUS: Final = 64 * 1024


class KubeClient:
    """One cluster's API.

    Every request reads the credentials anew, since tokens are renewed in place. The methods raise
    :class:`TorcxdError`: transient where the server cannot be reached or is not well, permanent where it refuses, or
    what answers is no API server. *rule* is the RBAC rule that allows the request, for the hint of a refusal.

    :param access: the server and the credentials.
    :param http: made for *access*: with its authorities, client certificate and proxy. See :func:`open_client`.
    """

    def __init__(self, access: ClusterAccess, http: HttpClient) -> None:
        self._access = access
        self._http = http

    async def version(self) -> str:
        """The cluster's version as its ``/version`` says, e.g. ``"v1.8.4+coreos.0"``."""
        rule = 'a ClusterRole with nonResourceURLs ["/version"] and verbs ["get"]'
        document = await self.get("/version", rule)
        version = document.get("gitVersion")
        try:
            if not isinstance(version, str):
                raise ValueError("it is missing, or is no text")
            KubeVersion.parse(version)
        except ValueError as error:
            raise self.wrong_shape("/version", f"gitVersion: {error}") from error
        return version

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str]:
        """The ``data`` of a ConfigMap; empty if it has none.

        :raises TorcxdError: permanent, with status 404, where there is no such ConfigMap.
        """
        rule = (
            f'a Role in the namespace {namespace} with apiGroups [""], resources ["configmaps"], '
            f'resourceNames ["{name}"] and verbs ["get"]'
        )
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/{quote(name, safe='')}"
        document = await self.get(path, rule)
        if document.get("kind") != "ConfigMap":
            raise self.wrong_shape(path, "its kind is not ConfigMap")
        try:
            return config_map_data(document)
        except ValueError as error:
            raise self.wrong_shape(path, str(error)) from error

    async def get(self, path: str, rule: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at *path*."""
        response = await self._http.get(self._url(path, query), headers=await self._headers(), max_bytes=LARGEST)
        return self.read(response, rule)

    async def send(self, method: str, path: str, document: Any, content_type: str = "application/json") -> Response:
        """Send *document* as JSON. The answer is returned whatever its status; see :meth:`read`.

        Cancellation closes the connection; whether the server acted on the request is then unknown.
        """
        return await self._http.request(
            method,
            self._url(path),
            headers={**await self._headers(), "Content-Type": content_type},
            body=json.dumps(document).encode(),
            max_bytes=LARGEST,
            # A redirected POST or PATCH would arrive as a GET (RFC 9110, section 15.4).
            follow_redirects=False,
        )

    @asynccontextmanager
    async def stream(
        self, path: str, rule: str, query: Mapping[str, str], stall: float
    ) -> AsyncIterator[StreamedResponse]:
        """A good answer to a GET whose body is read as it arrives, for a watch.

        :param stall: seconds to wait for the next piece of the body.
        """
        async with self._http.stream("GET", self._url(path, query), headers=await self._headers(), stall=stall) as body:
            if body.status >= 400:
                check_status(await _whole(body), rule, self._access.where)
            yield body

    def read(self, response: Response, rule: str) -> dict[str, Any]:
        """The JSON object in *response*, if it is a good one."""
        check_status(response, rule, self._access.where)
        return read_object(response, self._access.where)

    def wrong_shape(self, path: str, what: str) -> PermanentError:
        """The error for an answer from *path* that is JSON, but not what was asked for."""
        return wrong_shape(redact(self._url(path)), what, self._access.where)

    def _url(self, path: str, query: Mapping[str, str] | None = None) -> str:
        return f"{self._access.server}{path}{f'?{urlencode(query)}' if query else ''}"

    async def _headers(self) -> dict[str, str]:
        # Worker thread: the token file may lie on a volume that hangs.
        credentials = await trio.to_thread.run_sync(self._access.headers, abandon_on_cancel=True)
        return {"Accept": "application/json", **credentials}


@asynccontextmanager
async def open_client(
    loaded: LoadedAccess, environment: Proxies, timeouts: Timeouts | None = None
) -> AsyncIterator[KubeClient]:
    """A client for one cluster while the block runs. Cancellation closes its connections.

    :param environment: the proxies in force where the access names none of its own.
    """
    access = loaded.access
    http = HttpClient(
        timeouts=timeouts,
        proxies=access.proxies(environment),
        ssl_context=loaded.tls,
        server_hostname=access.server_hostname,
    )
    try:
        yield KubeClient(access, http)
    finally:
        with trio.CancelScope(shield=True):
            await http.aclose()


def config_map_data(document: Mapping[str, Any]) -> Mapping[str, str]:
    """The ``data`` of the ConfigMap in *document*; empty if it has none.

    :raises ValueError: it is of the wrong shape.
    """
    data = document.get("data") or {}
    if not isinstance(data, dict) or not all(isinstance(each, str) for each in data.values()):
        raise ValueError("its data is not a mapping of texts")
    return data


async def _whole(body: StreamedResponse) -> Response:
    """An error's answer, as far as it is of interest."""
    content = bytearray()
    async for piece in body:
        content += piece
        if len(content) > _LARGEST_STATUS:
            break
    return Response(body.status, body.headers, bytes(content), body.url)
