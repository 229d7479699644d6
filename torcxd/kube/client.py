"""The few calls to the Kubernetes API that torcxd makes, on the project's own HTTP client.

Answers are judged by who can have given them. What no API server says by itself (HTML with status 200, half a JSON)
came from something before it, a balancer without a backend or a connection cut by a proxy, and passes: transient. A
JSON object of the wrong shape is what the server at that address does say: permanent. So are 401, 403 and 404, which
hold until somebody changes credentials, RBAC or the address.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import trio

from torcxd.errors import EX_DATAERR, PermanentError, TransientError
from torcxd.http import HttpClient, HttpError, Proxies, Response, Timeouts, raise_for_status, redact
from torcxd.kube.access import ClusterAccess
from torcxd.lifecycle.versions import KubeVersion

# What an API server takes as the body of a request is at most 3 MiB, so no object is larger.
_LARGEST: Final = 3 * 1024 * 1024
# So much of what the server says goes into an error; its messages are one sentence.
_LONGEST_MESSAGE: Final = 300


class KubeClient:
    """One cluster's API.

    :param access: the server and the credentials.
    :param http: made for *access*: with its authorities, client certificate and proxy. See :func:`open_client`.
    """

    def __init__(self, access: ClusterAccess, http: HttpClient) -> None:
        self._access = access
        self._http = http

    async def version(self) -> str:
        """The cluster's version as its ``/version`` says, e.g. ``"v1.8.4+coreos.0"``.

        :raises TorcxdError: transient: the server cannot be reached or is not well; permanent: it refuses, or what
            answers is no API server.
        """
        rule = 'a ClusterRole with nonResourceURLs ["/version"] and verbs ["get"]'
        document, url = await self._get("/version", rule)
        version = document.get("gitVersion")
        try:
            if not isinstance(version, str):
                raise ValueError("it is missing, or is no text")
            KubeVersion.parse(version)
        except ValueError as error:
            raise self._wrong_shape(url, f"gitVersion: {error}") from error
        return version

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str]:
        """The ``data`` of a ConfigMap; empty if it has none.

        :raises TorcxdError: as :meth:`version`; permanent, with status 404, where there is no such ConfigMap.
        """
        rule = (
            f'a Role in the namespace {namespace} with apiGroups [""], resources ["configmaps"], '
            f'resourceNames ["{name}"] and verbs ["get"]'
        )
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/{quote(name, safe='')}"
        document, url = await self._get(path, rule)
        if document.get("kind") != "ConfigMap":
            raise self._wrong_shape(url, "its kind is not ConfigMap")
        data = document.get("data") or {}
        if not isinstance(data, dict) or not all(isinstance(each, str) for each in data.values()):
            raise self._wrong_shape(url, "its data is not a mapping of texts")
        return data

    async def _get(self, path: str, rule: str) -> tuple[dict[str, Any], str]:
        """The JSON object at *path*, and its URL for messages.

        :param rule: the RBAC rule that allows this, for the hint.
        """
        # Worker thread: the token file may lie on a volume that hangs.
        credentials = await trio.to_thread.run_sync(self._access.headers, abandon_on_cancel=True)
        response = await self._http.get(
            f"{self._access.server}{path}",
            headers={"Accept": "application/json", **credentials},
            max_bytes=_LARGEST,
        )
        self._raise_for_status(response, rule)
        url = redact(response.url)
        document = _json(response.body)
        if document is None:
            raise TransientError(
                f"{url}: the answer is not JSON, or half of it ({_content_type(response)}, {len(response.body)} bytes)",
                hint=f"if this stays so, something else than the API server answers: check the server URL in "
                f"{self._access.where}",
            )
        if not isinstance(document, dict):
            raise self._wrong_shape(url, "not an object")
        return document, url

    def _raise_for_status(self, response: Response, rule: str) -> None:
        try:
            raise_for_status(response)
        except HttpError as error:
            raise HttpError(
                f"the API server answered with status {response.status}{_said(response)}",
                reason=error.reason,
                kind=error.kind,
                url=error.url,
                hint={
                    401: f"renew the credentials in {self._access.where}",
                    403: f"it takes {rule}, bound to this user",
                    404: f"create it, or check the server URL in {self._access.where}",
                }.get(response.status, ""),
                status=error.status,
                retry_after=error.retry_after,
            ) from error

    def _wrong_shape(self, url: str, what: str) -> PermanentError:
        return PermanentError(
            f"{url}: the answer is not what an API server says: {what}",
            hint=f"check the server URL in {self._access.where}",
            exit_code=EX_DATAERR,
        )


@asynccontextmanager
async def open_client(
    access: ClusterAccess, environment: Proxies, timeouts: Timeouts | None = None
) -> AsyncIterator[KubeClient]:
    """A client for *access* while the block runs. Cancellation closes its connections.

    :param environment: the proxies in force where *access* names none of its own.
    :raises TorcxdError: a certificate or key cannot be read or used.
    """
    http = HttpClient(
        timeouts=timeouts,
        proxies=access.proxies(environment),
        ssl_context=await trio.to_thread.run_sync(access.ssl_context),
        server_hostname=access.server_hostname,
    )
    try:
        yield KubeClient(access, http)
    finally:
        with trio.CancelScope(shield=True):
            await http.aclose()


def _json(body: bytes) -> Any:
    """The document in *body*, or None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _content_type(response: Response) -> str:
    return ascii(response.headers.get("content-type", "no content type")[:100])


def _said(response: Response) -> str:
    """What the answer says about itself, if it is an API server's ``Status`` object."""
    status = _json(response.body)
    if not isinstance(status, dict) or status.get("kind") != "Status":
        return f", and not in the words of one ({_content_type(response)})"
    message = str(status.get("message") or status.get("reason") or "no message")
    return f": {''.join(each if each.isprintable() else '?' for each in message[:_LONGEST_MESSAGE])}"
